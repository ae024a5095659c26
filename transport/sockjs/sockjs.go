// Package sockjs is SockJS 0.3, server and client: sessions over WebSocket, and over HTTP
// requests where WebSocket does not get through.
//
// # Use
//
// [New] makes a transport on top of a WebSocket transport, and [Mount] puts its
// endpoint in front of a router:
//
//	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), h, handler.WithSubProtocols(raw.New(nil)))
//	http.ListenAndServe("127.0.0.1:8080", sockjs.Mount("/sockjs", ep, http.DefaultServeMux))
//
// In a browser that is new SockJS("/sockjs"). In Go a [Dialer] is the client of this server
// and of others:
//
//	c, err := client.Dial(ctx, "http://127.0.0.1:8080/sockjs", sockjs.NewDialer(gobwas.New(nil), nil), stomp.New(nil), nil)
//
// # Options
//
// [Options] has a switch for each of the protocol's transports, and the limits;
// [DialerOptions] the order in which a client tries them, and its limits. nil and zero fields
// mean the defaults.
//
// # Semantics
//
// There are the transports websocket, xhr, xhr_streaming, eventsource, htmlfile and jsonp, the
// raw WebSocket at /websocket, and what belongs to them: xhr_send, jsonp_send, info, the greeting
// and the page for iframes. HTTP/1.0, HTTP/1.1 and HTTP/2 do, except that a WebSocket needs HTTP/1.1.
//
// A session over requests is one transport.Conn, which outlives each of them. Write takes
// messages while a receive request waits, as many as go into one array of 64
// KiB; without one it takes nothing, and the sender's queue holds what comes. One array waits
// here besides the one that is being written. If a client breaks off a poll before the
// answer to it has begun, the array goes to the next one; a receive request that is
// broken off at any other time ends the session, as the protocol has it,
// with status 1006 here and "Connection interrupted" for whoever comes. The
// protocol has no acknowledgements: what was written to a request that breaks off may be lost.
//
// That Conn is one process's. Where there are several, a balancer keeps each client on
// one of them, by the cookie or the address, or Options.Cluster has the others forward to it.
//
// Send requests are answered when their messages were received, or their last Receive has
// yielded; while the Conn is paused they wait. Close gives the close frame to the
// request that waits, or to the next one within CloseTimeout, and repeats it to
// later ones until the session is forgotten. A client over HTTP can't say
// that it closes: its sessions end when no receive request came for DisconnectDelay, or
// when one was broken off.
//
// WebSocket sessions live and die with their WebSocket, whose pings are their
// heartbeats. The others have the protocol's, after silence: one whose sub-protocol sends
// heartbeats more often has none. On a raw WebSocket the Conn is that of the
// transport below.
//
// Messages are text. Sub-protocols that need binary messages are refused when
// the endpoint is made.
//
// # Client
//
// Dial asks the server for info, and tries websocket, xhr-streaming, eventsource and
// xhr-polling, each with a session of its own, until one has sent the open frame in time;
// DialerOptions.Opened and [TransportNamer] tell which. Write takes 32 KiB of messages
// besides those that are being sent, in one request at a time. Close sends what was taken,
// then breaks off the request that waits: over requests the server learns neither code nor
// reason, and not at once if it happens between two polls.
//
// What comes is read as far as DialerOptions.Window. A close frame gives a CloseError, with the
// protocol's own codes among them, such as 2010. An answer that breaks off, a refusal, silence
// and a second open frame, which means that the server has lost the session, give an EndError
// with status 1006. Nothing is sent twice: whoever needs to know what has arrived
// asks for receipts.
//
// # Proxies
//
// A proxy must pass on the Host that the page was asked for, with its port: else every page
// is of another origin. It must wait for longer than HeartbeatInterval, and end the request of a
// client that has gone. Where it does not upgrade, or holds responses back, the client falls back, at
// once or after a time-out. Streams ask nginx not to hold them back; its location, of which the
// last three lines are for WebSocket, is
//
//	proxy_pass http://127.0.0.1:8080;
//	proxy_set_header Host $http_host;
//	proxy_read_timeout 60s;
//	proxy_http_version 1.1;
//	proxy_set_header Upgrade $http_upgrade;
//	proxy_set_header Connection $connection_upgrade; # map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
//
// and haproxy, which upgrades by itself, has
//
//	timeout client 60s
//	timeout server 60s
//	timeout tunnel 1h
//	option abortonclose
//
// # Security
//
// Each request's origin is checked before an answer is made, by the acceptor if it is a
// transport.OriginChecker, else for being the server's own. Where a
// browser sends no Origin (scripts, frames), Sec-Fetch-Site and Referer stand for it; browsers
// that have neither, of before 2023, can be made to ask from any page. The answers allow the page to send
// cookies with its requests; cross-origin requests can't be made otherwise with this protocol's client.
//
// A session belongs to whoever opened it: see Options.Owner. Its id is chosen by
// the client, and is not shown to the application.
//
// A Dialer follows no redirects, and takes from info only what Dial says. It bounds what it
// reads: info by 64 KiB, frames and messages by its options.
//
// # Limits
//
// All are in Options and on by default. How many sessions there are, in all and for each
// key, is also what the endpoint limits, but it does not see those that
// are closed and not forgotten; these hold half a KiB and a timer. A session
// without requests has no goroutine.
package sockjs

import (
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
)

const name = "sockjs"

// Options are the settings of a Transport. For each duration and size 0 means the
// default; a negative one means no limit, where the comment says so.
type Options struct {
	// NoWebSocket and the like switch one of the protocol's transports off: its paths
	// do not exist. info tells clients about websocket; about the others they find out
	// by themselves.
	NoWebSocket, NoRawWebSocket, NoXHR, NoXHRStreaming, NoEventSource, NoHTMLFile, NoJSONP bool

	// ClientURL is where browsers get sockjs-client from, for the page that is loaded
	// into iframes. It must be the version that the application's own pages use. The
	// default, "", means that there is no such page, and no iframe transport.
	ClientURL string

	// BaseURL, if not "", is where info sends clients for all else.
	BaseURL string

	// Cluster, if not nil, lets any of several nodes answer for a session. The default is
	// that a balancer must keep a client on one of them.
	Cluster *Cluster

	// CookieNeeded makes the answers of all transports but WebSocket carry the
	// cookie JSESSIONID, by which balancers keep a client on one server. The default is
	// not to: a client is then not known by anything between two requests.
	CookieNeeded bool

	// Owner tells who makes a request. A session opened by one owner does not exist
	// for another one, who can open his own with the same id. It must be the same for
	// all requests of a session: an address is not, behind proxies. The default
	// is the Authorization header and the certificate of the client; where users are
	// known by a cookie, Owner should return what it stands for. In a Cluster the node that
	// the client reaches asks.
	Owner func(r *http.Request) string

	// ResponseLimit is how many bytes of frames a streaming response has before it ends
	// and the client asks for the next one. Browsers keep all of a response in
	// memory. The default is 128 KiB.
	ResponseLimit int

	// HeartbeatInterval is how long a receive request is silent before it gets a
	// heartbeat. The default is 25 s, negative means none: proxies then end requests
	// that wait.
	HeartbeatInterval time.Duration

	// DisconnectDelay is how long a session lives without a receive request, and how
	// long its close frame is repeated after its end. The default is 5 s.
	DisconnectDelay time.Duration

	// CloseTimeout is how long Close waits for a request, or for room in a WebSocket, that
	// takes the close frame. The default is 5 s.
	CloseTimeout time.Duration

	// HandshakeTimeout bounds the acceptor. The default is 10 s.
	HandshakeTimeout time.Duration

	// WriteTimeout bounds each write of a response; a client that is slower is
	// interrupted. The default is 10 s, negative means no limit: such a client
	// holds a goroutine and two arrays.
	WriteTimeout time.Duration

	// BodyTimeout is how long a request's body may take. The default is 10 s.
	BodyTimeout time.Duration

	// MaxBodyBytes bounds a request's body. The default is 256 KiB.
	MaxBodyBytes int

	// MaxMessageSize bounds an incoming message in bytes, after it is unquoted. A longer
	// one ends the session with StatusMessageTooBig. The default is 64 KiB, negative
	// means no limit of its own: MaxBodyBytes and the WebSocket transport's limit, which
	// counts quoted bytes of whole arrays, are left.
	MaxMessageSize int

	// MaxSessions bounds the sessions that are not on a WebSocket, with those that are
	// closed and not forgotten; further ones get 503. The default is 65536, negative
	// means no limit: whoever can send requests can then use all memory.
	MaxSessions int
}

// options are Options with values in all fields.
type options struct{ Options }

func withDefaults(o *Options) options {
	var c options
	if o != nil {
		c.Options = *o
	}
	if c.Owner == nil {
		c.Owner = ownerByCredentials
	}
	set(&c.ResponseLimit, 128<<10, 128<<10)
	set(&c.HeartbeatInterval, 25*time.Second, math.MaxInt64)
	set(&c.DisconnectDelay, 5*time.Second, 5*time.Second)
	set(&c.CloseTimeout, 5*time.Second, 5*time.Second)
	set(&c.HandshakeTimeout, 10*time.Second, 10*time.Second)
	set(&c.WriteTimeout, 10*time.Second, 0)
	set(&c.BodyTimeout, 10*time.Second, 10*time.Second)
	set(&c.MaxBodyBytes, 256<<10, 256<<10)
	set(&c.MaxMessageSize, 64<<10, math.MaxInt)
	set(&c.MaxSessions, 1<<16, math.MaxInt)
	return c
}

// set replaces 0 and what is negative.
func set[T int | time.Duration](v *T, byDefault, negative T) {
	switch {
	case *v == 0:
		*v = byDefault
	case *v < 0:
		*v = negative
	}
}

// cut returns the messages in front of the first one that is too big.
func cut(list [][]byte, limit int) (_ [][]byte, big bool) {
	for i, m := range list {
		if len(m) > limit {
			return list[:i], true
		}
	}
	return list, false
}

// Transport is the SockJS transport. It is safe for concurrent use.
type Transport struct {
	opts    options
	ws      transport.Transport
	page    *page
	cluster *cluster          // nil: this node is alone
	legs    map[string]*route // by the last part of the path
	buffers buffers
	stats   stats

	mu       sync.Mutex
	sessions map[key]*session
}

var _ transport.Transport = (*Transport)(nil)

// New returns a transport with a copy of o; nil means the defaults. ws carries the
// protocol's WebSockets; nil means that there are none. It panics if ws does not keep the
// boundaries of messages or does not carry text, and for a Cluster that lacks something.
func New(ws transport.Transport, o *Options) *Transport {
	if ws != nil && !(ws.Features().Boundaries && ws.Features().Text) {
		panic("sockjs: transport " + ws.Name() + " can't carry WebSockets")
	}
	t := &Transport{
		opts: withDefaults(o), ws: ws, legs: make(map[string]*route), sessions: make(map[key]*session),
	}
	t.page = newPage(t.opts.ClientURL)
	t.cluster = newCluster(t.opts.Cluster)
	sends := false
	for _, l := range []struct {
		name  string
		off   bool
		route *route
	}{
		{"xhr", t.opts.NoXHR, xhrRoute},
		{"xhr_streaming", t.opts.NoXHRStreaming, xhrStreamingRoute},
		{"eventsource", t.opts.NoEventSource, eventSourceRoute},
		{"htmlfile", t.opts.NoHTMLFile, htmlFileRoute},
	} {
		if !l.off {
			t.legs[l.name] = l.route
			sends = true
		}
	}
	if sends {
		t.legs["xhr_send"] = xhrSendRoute
	}
	if !t.opts.NoJSONP {
		t.legs["jsonp"], t.legs["jsonp_send"] = jsonpRoute, jsonpSendRoute
	}
	if ws != nil && !t.opts.NoWebSocket {
		t.legs["websocket"] = webSocketRoute
	}
	return t
}

// Name returns "sockjs".
func (t *Transport) Name() string { return name }

// Features reports text messages with boundaries.
func (t *Transport) Features() transport.Features {
	return transport.Features{Boundaries: true, Text: true}
}

// session returns the session of that key, a new one if there is none, nil if there are too
// many.
func (t *Transport) session(k key, opener legID) (s *session, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[k]; s != nil {
		return s, false
	}
	if len(t.sessions) >= t.opts.MaxSessions {
		return nil, false
	}
	s = &session{t: t, key: k, opener: opener}
	t.sessions[k] = s
	return s, true
}

func (t *Transport) lookup(k key) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[k]
}

// forget lets the key of s be used again.
func (t *Transport) forget(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.key] == s {
		delete(t.sessions, s.key)
	}
}
