package sockjs

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Cluster makes several processes one service: a request for a session of another node is
// answered by that node, through the one that got it, so that no balancer has to keep a client
// on one of them. Every node has the same Key and the same Options otherwise, and is mounted
// at the same path.
//
// The node that answers an info request owns the sessions that come of it: base_url, which
// clients follow for all else, ends in a part that names the node, is different each time,
// and is signed. Where Options.BaseURL is "", base_url is made of the scheme and Host of the
// info request: behind a proxy that ends TLS or changes Host, BaseURL must be set. A client that
// does not follow base_url needs a balancer that keeps it on one node.
//
// What cannot reach the owner of a session is answered as if the session were interrupted: a
// receive request gets the close frame 1002, a send request 404. The same happens to
// requests that wait when the owner dies, or says nothing for longer than HeartbeatInterval
// and HandshakeTimeout together; a stream that is cut inside of a frame breaks off. A node that
// ends breaks off what it forwards, which ends these sessions too. WebSockets are answered
// by any node.
//
// A forwarded request has the Host that the client asked for, and the client's address at the
// end of X-Forwarded-For. The acceptor of the session's node sees what that of the first
// one would, the client's address among it; but it does not see the client's
// certificate, nor what HTTP middleware of the first node attached. HTTP middleware runs
// on both nodes.
type Cluster struct {
	// Node is the name of this process, at most 64 bytes. Its address will do, or one
	// that it has again after a restart; clients can read it.
	Node string

	// Key is the secret of the nodes, at least 32 bytes. Whoever has it can speak for
	// any client.
	Key []byte

	// Peer returns where the server of a node is reached from here: the path of the
	// request is added to that of the URL. It returns nil if there is no such node. The
	// name is one that a node with the same Key has. It is called for each request that is
	// forwarded, from many goroutines. Requests have all that the client has sent, its
	// credentials too.
	Peer func(node string) *url.URL

	// RoundTripper makes the requests to other nodes. The default uses no proxy, HTTP/2
	// over TLS, dials for at most 3 s, and keeps connections for 30 s: the
	// IdleTimeout of the servers must be longer.
	RoundTripper http.RoundTripper

	// MaxForwards bounds the requests that wait for other nodes; further ones get 503. The
	// default is 16384, below the number of ports that Linux has for connections to one
	// address: without one more, a node reads as gone. Over HTTP/2 it may be higher.
	// Negative means no limit.
	MaxForwards int
}

// The sizes of what is in a token and in the mark of a forwarded request, in bytes.
const (
	minKey    = 32
	maxNode   = 64
	tokenMAC  = 16
	tokenSalt = 8
	maxToken  = (tokenMAC + tokenSalt + maxNode + 2) / 3 * 4
)

// cluster is a Cluster with values in all fields.
type cluster struct {
	Cluster
	waiting atomic.Int64 // requests that are being forwarded
}

func newCluster(c *Cluster) *cluster {
	switch {
	case c == nil:
		return nil
	case c.Node == "" || len(c.Node) > maxNode:
		panic(fmt.Sprintf("sockjs: Cluster.Node must have 1 to %d bytes", maxNode))
	case len(c.Key) < minKey:
		panic(fmt.Sprintf("sockjs: Cluster.Key must have at least %d bytes", minKey))
	case c.Peer == nil:
		panic("sockjs: Cluster without Peer")
	}
	own := &cluster{Cluster: *c}
	own.Key = bytes.Clone(c.Key)
	set(&own.MaxForwards, 1<<14, math.MaxInt)
	if own.RoundTripper == nil {
		own.RoundTripper = newRoundTripper()
	}
	return own
}

func newRoundTripper() http.RoundTripper {
	const soon = 3 * time.Second
	d := net.Dialer{
		Timeout:         soon,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return &http.Transport{
		DialContext: d.DialContext, TLSHandshakeTimeout: soon, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
}

var encoding = base64.RawURLEncoding.Strict()

// sign authenticates parts for one purpose: what was signed for another one is not valid.
func (c *cluster) sign(purpose string, parts ...string) []byte {
	mac := hmac.New(sha256.New, c.Key)
	for _, p := range append([]string{"weft sockjs " + purpose}, parts...) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		mac.Write(n[:])
		mac.Write([]byte(p))
	}
	return mac.Sum(nil)
}

// token returns what stands in front of the ids of sessions of this node. The salt makes
// these ids the server's, which nobody guesses.
func (c *cluster) token(base string) string {
	var salt [tokenSalt]byte
	_, _ = rand.Read(salt[:]) // it never fails
	p := c.sign("session", base, string(salt[:]), c.Node)[:tokenMAC]
	p = append(append(p, salt[:]...), c.Node...)
	return encoding.EncodeToString(p)
}

// node returns the name that is in a token, and whether a node of this cluster has made
// it for this path.
func (c *cluster) node(base, token string) (string, bool) {
	if len(token) > maxToken {
		return "", false
	}
	p, err := encoding.DecodeString(token)
	if err != nil || len(p) <= tokenMAC+tokenSalt {
		return "", false
	}
	salt, node := string(p[tokenMAC:tokenMAC+tokenSalt]), string(p[tokenMAC+tokenSalt:])
	return node, hmac.Equal(p[:tokenMAC], c.sign("session", base, salt, node)[:tokenMAC])
}

// cutToken returns the part in front of a path, if the path has one part too many.
func cutToken(path string) (token, rest string) {
	first, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if n := strings.Count(strings.TrimSuffix(rest, "/"), "/"); ok && first != "" && (n == 2 || n == 0 && isIframe(rest)) {
		return first, "/" + rest
	}
	return "", path
}

// forwardedHeader marks requests that come from another node, and says whose they are.
const forwardedHeader = "Weft-Sockjs-Forwarded"

// mark is the value of that header. It is worth nothing with another path.
func (c *cluster) mark(q *request) string {
	secure := byte(0)
	if q.TLS != nil {
		secure = 1
	}
	said := append(append(q.key.owner[:], secure), q.RemoteAddr...)
	return encoding.EncodeToString(append(c.sign("forward", q.Method, q.base, q.path, string(said)), said...))
}

// admit finds out whose session q is about, and whether another node has forwarded it:
// then q becomes the request that this node got.
func (c *cluster) admit(q *request, token string) bool {
	node, ok := c.node(q.base, token)
	if !ok {
		return false
	}
	q.elsewhere = node != c.Node
	q.node = node
	value := q.Header.Get(forwardedHeader)
	if value == "" {
		return true
	}
	own := *q.Request
	own.Header = q.Header.Clone()
	own.Header.Del(forwardedHeader)
	q.Request = &own
	p, err := encoding.DecodeString(value)
	const fixed = 2*sha256.Size + 1
	if err != nil || len(p) < fixed || !hmac.Equal(p[:sha256.Size], c.sign("forward", q.Method, q.base, q.path, string(p[sha256.Size:]))) {
		return true // anybody's words
	}
	q.owner = (*[sha256.Size]byte)(p[sha256.Size:])
	own.RemoteAddr, own.TLS = string(p[fixed:]), nil
	if p[fixed-1] != 0 {
		own.TLS = new(tls.ConnectionState)
	}
	return true
}
