package sockjs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

var clusterKey = bytes.Repeat([]byte("k"), minKey)

// node is a process of a cluster, as far as they share nothing.
type node struct {
	*Transport
	app *app
	hs  *httptest.Server
}

// nodes starts two. Clients know them as sockjs.example alone.
func nodes(t *testing.T, o Options) []*node {
	t.Helper()
	return nodesWith(t, o, (*httptest.Server).Start)
}

// startTLS has HTTP/2 too.
func startTLS(hs *httptest.Server) {
	hs.EnableHTTP2 = true
	hs.StartTLS()
}

func nodesWith(t *testing.T, o Options, start func(*httptest.Server)) []*node {
	t.Helper()
	all := make([]*node, 2)
	for i := range all {
		own := o
		own.Cluster = &Cluster{Node: string(rune('a' + i)), Key: clusterKey, Peer: func(name string) *url.URL {
			if name != "a" && name != "b" {
				return nil
			}
			u, err := url.Parse(all[name[0]-'a'].hs.URL)
			require.NoError(t, err)
			return u
		}}
		n := &node{Transport: New(engines["gobwas"](), &own), app: &app{peers: make(chan *peer, 100)}}
		n.hs = httptest.NewUnstartedServer(Mount("/base", endpoint(n.Transport, n.app), nil))
		start(n.hs)
		rt, ok := n.cluster.RoundTripper.(*http.Transport)
		require.True(t, ok)
		if n.hs.TLS != nil { // all have the same certificate
			rt.TLSClientConfig = n.hs.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		}
		t.Cleanup(func() { rt.CloseIdleConnections(); n.hs.Close() })
		all[i] = n
	}
	return all
}

// request is one of this node, for the path that an URL has.
func (n *node) request(ctx context.Context, t *testing.T, method, rawURL, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, rawURL, strings.NewReader(body))
	require.NoError(t, err)
	r.Host, r.URL.Host = "sockjs.example", n.hs.Listener.Addr().String()
	r.URL.Scheme, _, _ = strings.Cut(n.hs.URL, ":")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func (n *node) do(t *testing.T, method, rawURL, body string, headers ...string) *answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	resp, err := n.hs.Client().Do(n.request(ctx, t, method, rawURL, body, headers...))
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return &answer{Response: resp}
}

// gets makes a request and returns the whole answer.
func (n *node) gets(t *testing.T, method, rawURL, body string, headers ...string) (int, string) {
	t.Helper()
	resp := n.do(t, method, rawURL, body, headers...)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(got)
}

// base asks for info and returns base_url.
func (n *node) base(t *testing.T) string {
	t.Helper()
	_, body := n.gets(t, "GET", "http://h/base/info", "")
	var i struct {
		BaseURL string `json:"base_url"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &i))
	scheme, _, _ := strings.Cut(n.hs.URL, ":")
	require.True(t, strings.HasPrefix(i.BaseURL, scheme+"://sockjs.example/base/"), i.BaseURL)
	return i.BaseURL
}

// until reads a stream up to the end of text.
func until(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var got []byte
	for p := make([]byte, 1); !bytes.HasSuffix(got, []byte(text)); got = append(got, p[0]) {
		_, err := io.ReadFull(r, p)
		require.NoError(t, err, "%q", got)
	}
	return string(got)
}

// waysToReceive are the protocol's, with what a frame looks like.
type wayToReceive struct {
	leg, method, query string
	poll               bool
	prelude            string
	wrap               func(frame string) string
	send, sendType     string
}

var waysToReceive = []wayToReceive{
	{"xhr", "POST", "", true, "", func(f string) string { return f + "\n" }, "xhr_send", "text/plain"},
	{"xhr_streaming", "POST", "", false, strings.Repeat("h", 2048) + "\n", func(f string) string { return f + "\n" }, "xhr_send", "text/plain"},
	{"eventsource", "GET", "", false, "\r\n", func(f string) string { return "data: " + f + "\r\n\r\n" }, "xhr_send", "text/plain"},
	{"htmlfile", "GET", "?c=cb", false, htmlPage("cb"), func(f string) string { return "<script>\np(" + quoteFrame(f) + ");\n</script>\r\n" }, "jsonp_send", "text/plain"},
	{"jsonp", "GET", "?c=cb", true, "", func(f string) string { return "/**/cb(" + quoteFrame(f) + ");\r\n" }, "jsonp_send", "text/plain"},
}

func quoteFrame(f string) string { return string(appendScript(nil, []byte(f))) }

const interruptedFrame = `c[1002,"Connection interrupted"]`

// TestClusterForwards: whatever node gets a request, the session's own answers, over every
// transport, and what one node says of origin and cookie is not said twice.
func TestClusterForwards(t *testing.T) {
	t.Parallel()
	for _, way := range waysToReceive {
		for proto, start := range map[string]func(*httptest.Server){"HTTP/1.1": (*httptest.Server).Start, "HTTP/2.0": startTLS} {
			t.Run(way.leg+" over "+proto, func(t *testing.T) {
				t.Parallel()
				clusterForwards(t, way, proto, start)
			})
		}
	}
}

func clusterForwards(t *testing.T, way wayToReceive, proto string, start func(*httptest.Server)) {
	all := nodesWith(t, Options{CookieNeeded: true}, start)
	for owner, n := range all {
		other := all[1-owner]
		session := n.base(t) + "/000/s"
		var resp *answer
		// receive reads a frame from that node's answer, or from the one that there is.
		receive := func(at *node, frame string) {
			t.Helper()
			if resp == nil || way.poll {
				resp = at.do(t, way.method, session+"/"+way.leg+way.query, "", "Origin", "https://page.example")
				require.Equal(t, 200, resp.StatusCode)
				require.Equal(t, proto, resp.Proto)
				for name, want := range map[string]string{
					"Access-Control-Allow-Origin": "https://page.example", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
					"Cache-Control": notCached, "X-Content-Type-Options": "nosniff", "Set-Cookie": "JSESSIONID=dummy; Path=/",
				} {
					require.Equal(t, []string{want}, resp.Header.Values(name))
				}
				require.NotEmpty(t, resp.Header.Get("Content-Type"))
				require.Empty(t, resp.Header.Get(forwardedHeader))
			}
			until(t, resp.Body, way.wrap(frame))
			if way.poll {
				rest, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Empty(t, rest)
			}
		}
		receive(other, "o")
		p := <-n.app.peers
		for i, at := range []*node{n, other, other, n} {
			status, body := at.gets(t, "POST", session+"/"+way.send, `["grüße"]`, "Content-Type", way.sendType)
			require.Contains(t, []int{200, 204}, status, body)
			receive(all[i%2], `a["grüße"]`)
		}
		require.EqualValues(t, 1, n.Stats().Legs[way.leg].Opened)
		require.EqualValues(t, owner, other.Stats().Legs[way.leg].Opened) // as the first owner
		require.NoError(t, p.conn.Close(3000, "Go away!"))
		receive(other, `c[3000,"Go away!"]`)
		require.ErrorIs(t, p.ended(t), transport.ErrLocalClose)
		status, _ := other.gets(t, "POST", session+"/"+way.send, `["x"]`)
		require.Equal(t, 404, status)
		n.quiet(t)
	}
	for _, n := range all {
		f := n.Stats().Forwards
		require.GreaterOrEqual(t, f.Requests, uint64(4))
		require.Zero(t, f.Failed)
	}
}

// quiet waits until no request is forwarded.
func (n *node) quiet(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return n.Stats().Forwards.Waiting == 0 }, 10*time.Second, time.Millisecond)
}

// TestClusterRoundRobin: a client whose every request goes to the next node.
func TestClusterRoundRobin(t *testing.T) {
	t.Parallel()
	all := nodes(t, Options{})
	for n, owner := range all {
		session := owner.base(t) + "/00%300/s%41%20/"
		turn := n
		post := func(leg, body string) string {
			turn++
			status, got := all[turn%2].gets(t, "POST", session+leg+"/?t=1", body)
			require.Less(t, status, 300, got)
			return got
		}
		require.Equal(t, "o\n", post("xhr", ""))
		for range 20 {
			post("xhr_send", `["a"]`)
			require.Equal(t, "a[\"a\"]\n", post("xhr", ""))
			post("xhr_send", `["b"]`)
			post("xhr_send", `["c"]`)
			got := post("xhr", "")
			if got == "a[\"b\"]\n" { // the echo of c came later
				got = got[:5] + "," + post("xhr", "")[2:]
			}
			require.Equal(t, "a[\"b\",\"c\"]\n", got)
		}
		require.NoError(t, (<-owner.app.peers).conn.Close(1000, ""))
		require.Equal(t, "c[1000,\"\"]\n", post("xhr", ""))
	}
}

// TestClusterTokens: what no node of the cluster has made names no session.
func TestClusterTokens(t *testing.T) {
	t.Parallel()
	all := nodes(t, Options{ClientURL: clientURL})
	n := all[0]
	good := strings.TrimPrefix(n.base(t), "http://sockjs.example/base/")
	require.NotEqual(t, good, strings.TrimPrefix(n.base(t), "http://sockjs.example/base/")) // nobody guesses it
	foreign := newCluster(&Cluster{Node: "a", Key: bytes.Repeat([]byte("x"), minKey), Peer: n.cluster.Peer})
	changed := []byte(good)
	changed[30] ^= 1
	for name, token := range map[string]string{
		"another key": foreign.token("/base"), "another path": n.cluster.token("/other"), "changed": string(changed), "cut": good[:len(good)-2],
		"longer": good + "AA", "encoded": "%" + strings.ToUpper(encodeHex(good[0])) + good[1:], "padded": good + "=", "none": "000", "empty": "",
		"twice": good + "/" + good, "dots": "..", "long": strings.Repeat("A", 200),
	} {
		for _, path := range []string{"/000/s/xhr", "/000/s/xhr_send", "/000/s/xhr_streaming"} {
			for _, at := range all {
				status, body := at.gets(t, "POST", "http://h/base/"+token+path, "")
				require.Equal(t, 404, status, "%s: %s", name, body)
			}
		}
		status, _ := n.gets(t, "GET", "http://h/base/"+token+"/iframe.html", "")
		require.Equal(t, 404, status, name)
	}
	for _, at := range all {
		status, _ := at.gets(t, "GET", "http://h/base/"+good+"/iframe-1.html", "")
		require.Equal(t, 200, status)
		for _, path := range []string{"", "/", "/info", "/websocket", "/000", "/000/s", "/000/s/t/xhr", "/000/%2e%2e/xhr", "/000/a%2fb/xhr", "//s/xhr"} {
			status, _ := at.gets(t, "POST", "http://h/base/"+good+path, "")
			require.Equal(t, 404, status, path)
		}
	}
	require.Zero(t, all[1].Stats().Forwards)
	require.Zero(t, n.Stats().Sessions)

	// A session belongs to its token: the same id behind another one is another one.
	session := n.base(t) + "/000/s"
	_, body := all[1].gets(t, "POST", session+"/xhr", "")
	require.Equal(t, "o\n", body)
	for _, base := range []string{n.base(t), all[1].base(t), "http://h/base"} {
		status, _ := n.gets(t, "POST", base+"/000/s/xhr_send", "[]")
		require.Equal(t, 404, status)
	}
	require.NoError(t, (<-n.app.peers).conn.Close(1000, ""))
	_, body = all[1].gets(t, "POST", session+"/xhr", "")
	require.Equal(t, "c[1000,\"\"]\n", body)
}

func encodeHex(c byte) string { return string([]byte{hexDigits[c>>4], hexDigits[c&15]}) }

// A WebSocket is a session of the node that gets it.
func TestClusterWebSocket(t *testing.T) {
	t.Parallel()
	all := nodes(t, Options{})
	path := strings.TrimPrefix(all[0].base(t), "http://sockjs.example")
	ws := (&service{all[1].hs, t}).socket(path + "/000/s/websocket")
	require.Equal(t, "o", ws.recv())
	ws.send(`["x"]`)
	require.Equal(t, `a["x"]`, ws.recv())
	require.Equal(t, 1, all[1].Stats().Legs["websocket"].Open)
	require.Zero(t, all[1].Stats().Forwards)
	p := <-all[1].app.peers
	ws.Close()
	p.ended(t)
}

// TestClusterHandshake: the acceptor of the owner sees what that of the first node would.
func TestClusterHandshake(t *testing.T) {
	t.Parallel()
	all := nodes(t, Options{})
	seen := make(chan *transport.Handshake, 1)
	all[0].app.accept = func(h *transport.Handshake) error {
		seen <- h
		return &transport.Refusal{Status: 401, Text: "who are you?", Header: http.Header{"Www-Authenticate": {"Basic"}}}
	}
	session := all[0].base(t) + "/000/s"
	forged := all[1].cluster.mark(&request{Request: &http.Request{Method: "POST", RemoteAddr: "203.0.113.9:1"}, base: "/base", path: "/other"})
	for _, mark := range []string{"", "x", forged} {
		headers := []string{"X-Forwarded-For", "192.0.2.1", "X-Token", "abc", "Connection", "X-Token, X-Forwarded-For, " + forwardedHeader, "User-Agent", ""}
		if mark != "" {
			headers = append(headers, forwardedHeader, mark)
		}
		for i, at := range all {
			resp := at.do(t, "POST", session+"/xhr?t=1", "", headers...)
			require.Equal(t, 401, resp.StatusCode)
			require.Equal(t, "Basic", resp.Header.Get("WWW-Authenticate"))
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Contains(t, string(text), "who are you?")
			h := <-seen
			require.Equal(t, "sockjs.example", h.Host)
			require.Equal(t, "/base", h.Path)
			require.Equal(t, "t=1", h.Query)
			require.False(t, h.Secure)
			require.Equal(t, "abc", h.Header.Get("X-Token"))
			require.Empty(t, h.Header.Get(forwardedHeader))
			require.NotEqual(t, "203.0.113.9:1", h.RemoteAddr.String())
			if i == 0 {
				require.Equal(t, "192.0.2.1", h.Header.Get("X-Forwarded-For"))
				continue
			}
			require.Equal(t, "192.0.2.1, 127.0.0.1", h.Header.Get("X-Forwarded-For"))
			require.Empty(t, h.Header.Values("User-Agent"))
		}
	}
}

// TestClusterTarget: the owner gets the path and the query as the client has written them.
func TestClusterTarget(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/0/s/xhr?a=1#b=2", "/%30/%73%3f%23%25/xhr/?a=%zz;b&&=", "/0/s/xhr"} {
		got := ""
		base, n := twoNodes(Options{}, func(r *http.Request) (*http.Response, error) {
			got = r.URL.RequestURI()
			return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
		})
		r := httptest.NewRequest("POST", "/", nil)
		var err error
		r.RequestURI = base + target
		r.URL, err = url.ParseRequestURI(r.RequestURI)
		require.NoError(t, err)
		n.ServeHTTP(httptest.NewRecorder(), r, &app{})
		require.Equal(t, base+target, got)
	}
}

// TestClusterOwner: a session is its owner's on whatever node, also where another node could
// not tell who asks.
func TestClusterOwner(t *testing.T) {
	t.Parallel()
	asked := atomic.Int64{}
	all := nodes(t, Options{Owner: func(r *http.Request) string {
		asked.Add(1)
		return r.Header.Get("X-User") + " " + r.RemoteAddr[:strings.LastIndex(r.RemoteAddr, ":")] // never do that
	}})
	session := all[0].base(t) + "/000/s"
	_, body := all[1].gets(t, "POST", session+"/xhr", "", "X-User", "me")
	require.Equal(t, "o\n", body)
	p := <-all[0].app.peers
	for i, at := range all {
		before := asked.Load()
		status, _ := at.gets(t, "POST", session+"/xhr_send", "[]", "X-User", "me")
		require.Equal(t, 204, status)
		require.Equal(t, before+1, asked.Load(), i)
		status, _ = at.gets(t, "POST", session+"/xhr_send", "[]", "X-User", "you")
		require.Equal(t, 404, status)
	}
	require.NoError(t, p.conn.Close(1000, ""))
	_, body = all[1].gets(t, "POST", session+"/xhr", "", "X-User", "me")
	require.Equal(t, "c[1000,\"\"]\n", body)
}

// A page that may not ask is refused where it asks, and a request that is not one of the
// session's is answered there.
func TestClusterRefuses(t *testing.T) {
	t.Parallel()
	all := nodes(t, Options{MaxBodyBytes: 10})
	for _, n := range all {
		n.app.origin = func(h *transport.Handshake) error {
			if h.Header.Get("Origin") != "" {
				return &transport.Refusal{Status: 403, Text: "no"}
			}
			return nil
		}
	}
	session := all[0].base(t) + "/000/s"
	for _, r := range []struct {
		method, leg, body string
		headers           []string
		status            int
	}{
		{"POST", "xhr", "", []string{"Origin", "http://evil.example"}, 403},
		{"PUT", "xhr", "", nil, 405},
		{"OPTIONS", "xhr", "", nil, 204},
		{"GET", "jsonp?c=%28", "", nil, 500},
		{"GET", "htmlfile", "", nil, 500},
	} {
		resp := all[1].do(t, r.method, session+"/"+r.leg, r.body, r.headers...)
		require.Equal(t, r.status, resp.StatusCode, r.leg)
	}
	require.Zero(t, all[1].Stats().Forwards.Requests)
	status, _ := all[1].gets(t, "POST", session+"/xhr_send", strings.Repeat("x", 11))
	require.Equal(t, 413, status)
	require.Zero(t, all[0].Stats().Legs["xhr"].Requests)
}

func TestClusterOptions(t *testing.T) {
	t.Parallel()
	peer := func(string) *url.URL { return nil }
	for name, c := range map[string]Cluster{
		"sockjs: Cluster.Node must have 1 to 64 bytes":    {Key: clusterKey, Peer: peer},
		"sockjs: Cluster.Key must have at least 32 bytes": {Node: "a", Key: clusterKey[1:], Peer: peer},
		"sockjs: Cluster without Peer":                    {Node: "a", Key: clusterKey},
	} {
		require.PanicsWithValue(t, name, func() { New(nil, &Options{Cluster: &c}) })
	}
	c := &Cluster{Node: strings.Repeat("n", maxNode), Key: clusterKey, Peer: peer}
	tr := New(nil, &Options{BaseURL: "https://a.example/b/", Cluster: c})
	info := ask(endpoint(tr, &app{}), "GET", "/info").Body.String()
	require.Contains(t, info, `"base_url":"https://a.example/b/`)
	token := info[strings.Index(info, "/b/")+3 : strings.LastIndex(info, `"`)]
	name, ok := tr.cluster.node("", token)
	require.True(t, ok)
	require.Equal(t, c.Node, name)
	require.Equal(t, 204, ask(endpoint(tr, &app{}), "OPTIONS", "/"+token+"/0/s/xhr").Code)

	// Without a Host there is nothing to make it of.
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/info", nil)
	r.Host = ""
	New(nil, &Options{Cluster: c}).ServeHTTP(w, r, &app{})
	require.NotContains(t, w.Body.String(), "base_url")
	require.Contains(t, ask(endpoint(New(nil, &Options{Cluster: c}), &app{}), "GET", "https://h/info").Body.String(), `"base_url":"https://h/`)
}

// FuzzToken: no part of a path is a token but those that nodes have made.
func FuzzToken(f *testing.F) {
	c := newCluster(&Cluster{Node: "a", Key: clusterKey, Peer: func(string) *url.URL { return nil }})
	long := newCluster(&Cluster{Node: strings.Repeat("n", maxNode), Key: clusterKey, Peer: c.Peer})
	for _, s := range []string{c.token("/base"), c.token("/other"), long.token("/base"), "", "000", "AAAA", strings.Repeat("A", maxToken), "%00", "a=", "\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		node, ok := c.node("/base", token)
		if !ok {
			return
		}
		p, err := encoding.DecodeString(token)
		require.NoError(t, err)
		require.True(t, slices.Contains([]string{"a", long.Node}, node), "somebody has found a signature")
		require.Equal(t, p[:tokenMAC], c.sign("session", "/base", string(p[tokenMAC:tokenMAC+tokenSalt]), node)[:tokenMAC])
		first, rest := cutToken("/" + token + "/0/s/xhr")
		require.Equal(t, token, first)
		require.Equal(t, "/0/s/xhr", rest)
	})
}
