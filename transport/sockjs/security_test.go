package sockjs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// ask makes a request without a network, which is answered at once.
func ask(h http.Handler, method, url string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// wrapper hides all of an acceptor but the contract.
type wrapper struct{ transport.Acceptor }

func (w wrapper) Unwrap() transport.Acceptor { return w.Acceptor }

func TestOrigins(t *testing.T) {
	t.Parallel()
	only := func(a transport.Acceptor) http.Handler {
		tr := New(nil, &Options{ClientURL: clientURL})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, a) })
	}
	own := only(acceptor(nil))
	checker := &app{origin: func(h *transport.Handshake) error {
		if o := h.Header.Get("Origin"); o == "" || o == "https://good.example" {
			return nil
		}
		return &transport.Refusal{Status: 403, Text: "no"}
	}}
	listed, wrapped := only(checker), only(wrapper{checker})
	for _, tt := range []struct {
		name    string
		h       http.Handler
		headers []string
		ok      bool
	}{
		{"no browser", own, nil, true},
		{"the server's own", own, []string{"Origin", "http://example.com"}, true},
		{"the server's own, behind a proxy that ends TLS", own, []string{"Origin", "https://example.com"}, true},
		{"another host", own, []string{"Origin", "http://evil.example"}, false},
		{"another port", own, []string{"Origin", "http://example.com:81"}, false},
		{"none", own, []string{"Origin", "null"}, false},
		{"two", own, []string{"Origin", "http://example.com", "Origin", "http://evil.example"}, false},
		{"listed", listed, []string{"Origin", "https://good.example"}, true},
		{"not listed", listed, []string{"Origin", "https://evil.example"}, false},
		{"listed, behind a wrapper", wrapped, []string{"Origin", "https://good.example"}, true},
		{"not listed, behind a wrapper", wrapped, []string{"Origin", "http://example.com"}, false},
		{"script of this page", listed, []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"typed", listed, []string{"Sec-Fetch-Site", "none"}, true},
		{"script of a listed page", listed, []string{"Sec-Fetch-Site", "cross-site", "Referer", "https://good.example/a"}, true},
		{"script of another page", listed, []string{"Sec-Fetch-Site", "cross-site", "Referer", "https://evil.example/a"}, false},
		{"script of a neighbour", listed, []string{"Sec-Fetch-Site", "same-site", "Referer", "https://evil.example/a"}, false},
		{"script of a page that hides", listed, []string{"Sec-Fetch-Site", "cross-site"}, false},
	} {
		for _, path := range []string{"/info", "/iframe.html"} {
			t.Run(tt.name+path, func(t *testing.T) {
				w := ask(tt.h, "GET", path, tt.headers...)
				if tt.ok {
					require.Equal(t, 200, w.Code)
					return
				}
				require.Equal(t, 403, w.Code)
				require.Empty(t, w.Header().Values("Access-Control-Allow-Origin"))
				require.Empty(t, w.Header().Values("Access-Control-Allow-Credentials"))
			})
		}
		if !tt.ok {
			for _, path := range []string{"/0/a/xhr", "/0/a/xhr_send", "/0/a/xhr_streaming"} {
				for _, method := range []string{"POST", "OPTIONS"} {
					w := ask(tt.h, method, path, tt.headers...)
					require.Equal(t, 403, w.Code, path)
					require.Empty(t, w.Header().Values("Access-Control-Allow-Origin"))
				}
			}
			for _, path := range []string{"/0/a/jsonp?c=x", "/0/a/eventsource", "/0/a/htmlfile?c=x"} {
				require.Equal(t, 403, ask(tt.h, "GET", path, tt.headers...).Code, path)
			}
		}
	}
	require.Equal(t, 200, ask(own, "GET", "/", "Origin", "http://evil.example").Code)
}

// A session is known to its owner alone.
func TestOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := New(nil, nil)
		a := &app{receive: func(*peer, transport.Message) {}, peers: make(chan *peer, 2)}
		h := endpoint(tr, a)
		post := func(path, user, body string) int {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Authorization", user)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, 200, post("/0/a/xhr", "me", ""))
		require.Equal(t, 204, post("/0/a/xhr_send", "me", "[]"))
		require.Equal(t, 404, post("/0/a/xhr_send", "you", "[]"))
		require.Equal(t, 200, post("/0/a/xhr", "you", "")) // another one
		require.Equal(t, 2, tr.Stats().Sessions)

		// The same transport on another path, or for another acceptor, has others.
		r := httptest.NewRequest("POST", "/0/a/xhr_send", strings.NewReader("[]"))
		r.Header.Set("Authorization", "me")
		r.RequestURI = "/base/0/a/xhr_send"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 404, w.Code)
		w = httptest.NewRecorder()
		tr.ServeHTTP(w, httptest.NewRequest("POST", "/0/a/xhr_send", strings.NewReader("[]")), &app{})
		require.Equal(t, 404, w.Code)
		<-(<-a.peers).closed
		<-(<-a.peers).closed
	})
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := New(nil, &Options{MaxSessions: 2})
		h := endpoint(tr, &app{})
		require.Equal(t, 200, ask(h, "POST", "/0/a/xhr").Code)
		require.Equal(t, 200, ask(h, "GET", "/0/b/jsonp?c=x").Code)
		w := ask(h, "POST", "/0/c/xhr")
		require.Equal(t, 503, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Zero(t, tr.Stats().Sessions)
		require.Zero(t, tr.Stats().Legs["xhr"].Open)
		require.Equal(t, 200, ask(h, "POST", "/0/c/xhr").Code)
		time.Sleep(5 * time.Second)
	})
}

func TestMessageTooBig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, &Options{MaxMessageSize: 3, MaxBodyBytes: 20})
		var got []string
		b.app.receive = func(_ *peer, m transport.Message) { got = append(got, string(m.Data)) }
		p := b.open("/0/a")
		w, _, done := b.call("/0/a/xhr_send", `["abc","abcd","x"]`)
		<-done
		require.Equal(t, 413, w.status)
		require.Equal(t, []string{"abc"}, got)
		require.Equal(t, "c[1009,\"message too big\"]\n", b.poll("/0/a"))
		require.ErrorIs(t, <-p.closed, transport.ErrMessageTooBig)

		p = b.open("/0/b")
		w, _, done = b.call("/0/b/xhr_send", `["abc","abc","abc","abc"]`)
		<-done
		require.Equal(t, 413, w.status)
		<-p.closed
	})
}

func TestSocketMessageTooBig(t *testing.T) {
	t.Parallel()
	a := &app{peers: make(chan *peer, 1)}
	hs := httptest.NewServer(endpoint(New(engines["gobwas"](), &Options{MaxMessageSize: 3}), a))
	defer hs.Close()
	ws := (&service{hs, t}).socket("/0/a/websocket")
	require.Equal(t, "o", ws.recv())
	ws.send(`["abc","abcd"]`)
	require.Equal(t, `a["abc"]`, ws.recv())
	require.Equal(t, `c[1009,"message too big"]`, ws.recv())
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, 1009), err)
	require.ErrorIs(t, (<-a.peers).ended(t), transport.ErrMessageTooBig)
}

// Frames are text: no other message is looked into.
func TestSocketBinary(t *testing.T) {
	t.Parallel()
	a := &app{peers: make(chan *peer, 1)}
	hs := httptest.NewServer(endpoint(New(engines["gobwas"](), nil), a))
	defer hs.Close()
	ws := (&service{hs, t}).socket("/0/a/websocket")
	require.Equal(t, "o", ws.recv())
	require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, []byte("[\"\xff\"]")))
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, 1002), err)
	require.ErrorIs(t, (<-a.peers).ended(t), errBroken)
}

// A body that does not come is not waited for.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	a := &app{peers: make(chan *peer, 1)}
	hs := httptest.NewServer(endpoint(New(nil, &Options{BodyTimeout: 20 * time.Millisecond, DisconnectDelay: time.Hour}), a))
	defer hs.Close()
	s := &service{hs, t}
	s.gives(s.post("/0/a/xhr", ""), 200, "o\n")
	for _, path := range []string{"/0/a/xhr_send", "/0/a/xhr"} {
		r := s.stream("1.1", "GET", "/") // a connection
		r.bytes(19)
		_, err := io.WriteString(r, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n[")
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 408 ", r.bytes(13))
	}
	require.NoError(t, (<-a.peers).conn.Close(1000, ""))
	s.post("/0/a/xhr", "")
}

// The acceptor sees where the transport is mounted, and no id.
func TestHandshake(t *testing.T) {
	t.Parallel()
	seen := make(chan transport.Handshake, 1)
	a := &app{accept: func(h *transport.Handshake) error {
		seen <- *h
		return &transport.Refusal{Status: 401, Text: "who are you?"}
	}}
	hs := httptest.NewServer(Mount("/a b", endpoint(New(engines["gobwas"](), nil), a), nil))
	defer hs.Close()
	s := &service{hs, t}
	for _, r := range []struct {
		method, path string
		headers      []string
	}{
		{"POST", "/0/secret/xhr?t=1", nil},
		{"GET", "/0/secret/eventsource?t=1", nil},
		{"GET", "/0/secret/websocket?t=1", upgradeHeaders},
		{"GET", "/websocket?t=1", upgradeHeaders},
	} {
		st := s.stream("1.1", r.method, "/a%20b"+r.path, append(r.headers, "X-Token", "abc")...)
		require.Equal(t, "401", st.status)
		h := <-seen
		require.Equal(t, "/a b", h.Path)
		require.Equal(t, "t=1", h.Query)
		require.Equal(t, "sockjs", h.Transport)
		require.Equal(t, "abc", h.Header.Get("x-token"))
		require.NotNil(t, h.RemoteAddr)
	}
	require.Zero(t, strings.Count(s.post("/a%20b/0/secret/xhr_send", "[]").body, "secret"))
}

func TestMount(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := Mount("/base/x", endpoint(New(nil, nil), &app{}), next)
	for path, want := range map[string]int{
		"/base/x": 200, "/base/x/": 200, "/base/x//": 404, "/base/x///": 404, "/base/x/info": 200,
		"/base/xy": 418, "/base": 418, "/": 418, "/base/X": 418, "/b%61se/x/a%2fb": 404,
		"/base/x/0/a%2Fb/xhr": 404, "/base/x/0/%2e%2e/xhr": 404, "/base/x/0/a%00/xhr": 404, "/base/x/0/../xhr": 404, "/base/x/%2e/a/xhr": 404,
	} {
		require.Equal(t, want, ask(h, "GET", path).Code, path)
	}
	require.Equal(t, 404, ask(Mount("/x", h, nil), "GET", "/y").Code)
	require.Equal(t, 200, ask(http.StripPrefix("/y", endpoint(New(nil, nil), &app{})), "GET", "/y/info").Code)
	require.Panics(t, func() { Mount("/x/", h, nil) })
	require.Panics(t, func() { Mount("x", h, nil) })
	require.Panics(t, func() { Mount("/x", nil, nil) })
}

func TestSwitches(t *testing.T) {
	t.Parallel()
	off := New(engines["gobwas"](), &Options{
		NoWebSocket: true, NoRawWebSocket: true, NoXHR: true, NoXHRStreaming: true, NoEventSource: true, NoHTMLFile: true, NoJSONP: true,
	})
	for _, tr := range []*Transport{off, New(nil, nil)} {
		h := endpoint(tr, &app{})
		for _, path := range []string{"/0/a/websocket", "/websocket", "/iframe.html"} {
			require.Equal(t, 404, ask(h, "GET", path).Code, path)
		}
		require.Contains(t, ask(h, "GET", "/info").Body.String(), `"websocket":false`)
	}
	h := endpoint(off, &app{})
	for _, leg := range []string{"xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp", "xhr_send", "jsonp_send"} {
		require.Equal(t, 404, ask(h, "PUT", "/0/a/"+leg).Code, leg)
		require.Equal(t, 405, ask(endpoint(New(nil, nil), &app{}), "PUT", "/0/a/"+leg).Code, leg)
	}
	require.Contains(t, ask(endpoint(New(nil, &Options{BaseURL: "https://a.example/b"}), &app{}), "GET", "/info").Body.String(),
		`"base_url":"https://a.example/b"`)
}

// No message can end the script that it stands in.
func TestScriptInjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := endpoint(New(nil, &Options{ResponseLimit: 60}), &app{open: func(p *peer) { p.send("</script><script>alert(1)</script>") }})
		got := ""
		for _, path := range []string{"/0/a/htmlfile?c=x", "/0/b/jsonp?c=x", "/0/b/jsonp?c=x"} {
			got += ask(h, "GET", path).Body.String()
		}
		require.Equal(t, 2, strings.Count(got, `\u003c/script>\u003cscript>alert(1)\u003c/script>`))
		time.Sleep(time.Minute)
	})
}
