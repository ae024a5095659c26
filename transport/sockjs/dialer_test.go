package sockjs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

// serveEcho serves at /echo, behind front.
func serveEcho(t *testing.T, o *Options, a *app, front func(http.Handler) http.Handler) *httptest.Server {
	h := Mount("/echo", endpoint(New(gobwas.New(nil), o), a), nil)
	if front != nil {
		h = front(h)
	}
	hs := httptest.NewServer(h)
	t.Cleanup(hs.Close)
	return hs
}

// Each transport is the one that is left when those before it are not there.
func TestDialerFallsBack(t *testing.T) {
	t.Parallel()
	order := []string{nameWebSocket, nameXHRStreaming, nameEventSource, nameXHRPolling}
	for i, want := range order {
		for _, told := range []bool{true, false} { // by info that there is no WebSocket
			t.Run(fmt.Sprintf("%s/%v", want, told), func(t *testing.T) {
				t.Parallel()
				o := &Options{NoWebSocket: i > 0 && told, NoXHRStreaming: i > 1, NoEventSource: i > 2}
				hs := serveEcho(t, o, &app{}, func(h http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if i > 0 && strings.HasSuffix(r.URL.Path, "/websocket") {
							http.Error(w, "no upgrades here", http.StatusNotImplemented)
							return
						}
						h.ServeHTTP(w, r)
					})
				})
				var failed, opened []string
				d := NewDialer(gobwas.New(nil), &DialerOptions{
					AttemptTimeout: time.Minute,
					Failed: func(name string, err error) {
						failed = append(failed, name)
						if name != nameWebSocket || !told {
							_, ok := errors.AsType[*transport.Refusal](err)
							require.True(t, ok, "%s: %v", name, err)
						}
					},
					Opened: func(name string) { opened = append(opened, name) },
				})
				l := dial(t, d, hs.URL+"/echo", nil)
				require.Equal(t, want, nameOf(t, l.conn))
				require.Equal(t, []string{want}, opened)
				require.Equal(t, order[:i], append([]string{}, failed...))
				// 100%25 would be another text for whoever decodes too much or too little.
				for _, s := range append(texts[:9:9], "100%25 %41 %E2%82%AC %", strings.Repeat("x", 60_000)) {
					if s != "" && strings.ToValidUTF8(s, "") == s {
						l.send(s)
						l.takes(s)
					}
				}
				l.close()
			})
		}
	}
}

// What the server says reaches the client in words on every transport.
func TestDialerIsClosed(t *testing.T) {
	t.Parallel()
	hs := serveEcho(t, nil, &app{receive: func(p *peer, _ transport.Message) {
		_ = p.conn.Close(4321, "Grüße")
	}}, nil)
	for name := range legsOf(gobwas.New(nil)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := dial(t, NewDialer(gobwas.New(nil), &DialerOptions{Transports: []string{name}}), hs.URL+"/echo", nil)
			l.send("x")
			require.Equal(t, &transport.CloseError{Code: 4321, Reason: "Grüße"}, l.ended())
			_, err := l.conn.Write([]transport.Message{{Type: transport.MessageText}})
			require.ErrorIs(t, err, errOver)
			require.ErrorIs(t, l.conn.Close(1000, ""), errOver)
		})
	}
}

// legsOf are all transports of a Dialer.
func legsOf(ws transport.Dialer) map[string]bool {
	m := make(map[string]bool)
	for _, name := range NewDialer(ws, nil).opts.Transports {
		m[name] = true
	}
	return m
}

// Cookies that come with any answer go with all that follows, and so do the header and the
// query, also to a WebSocket.
func TestDialerSendsHeaderQueryAndCookies(t *testing.T) {
	t.Parallel()
	for name := range legsOf(gobwas.New(nil)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			seen := make(map[string]string)
			hs := serveEcho(t, nil, &app{}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					leg := r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]
					mu.Lock()
					seen[leg] = fmt.Sprintf("%s %s %s", r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Cookie"))
					mu.Unlock()
					http.SetCookie(w, &http.Cookie{Name: "node", Value: "7", Path: "/"})
					h.ServeHTTP(w, r)
				})
			})
			d := NewDialer(gobwas.New(nil), &DialerOptions{Transports: []string{name}})
			l := dial(t, d, hs.URL+"/echo?token=t", &transport.DialConfig{Header: http.Header{"Authorization": {"Bearer b"}, "Cookie": {"own=1"}}})
			l.send("x")
			l.takes("x")
			l.close()
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, "token=t Bearer b own=1", seen["/info"])
			delete(seen, "/info")
			require.NotEmpty(t, seen)
			for leg, got := range seen {
				require.Equal(t, "token=t Bearer b own=1; node=7", got, leg)
			}
		})
	}
}

// base_url is followed, and what is secret stays with the host that was dialed.
func TestDialerFollowsBaseURL(t *testing.T) {
	t.Parallel()
	const secrets = "token=t b own"
	for _, tt := range []struct{ url, base, want, sent string }{
		{"http://h.example/a", "", "http://h.example/a", secrets},
		{"http://h.example/a", "http://h.example:81/b/", "http://h.example:81/b", secrets},
		{"ws://h.example/a/", "https://X.H.example/b", "https://X.H.example/b", secrets},
		{"http://h.example/a", "/c", "http://h.example/c", secrets},
		{"https://h.example/a", "//cdn.example", "https://cdn.example", "  "},
		{"http://h.example/a", "http://xh.example/a", "http://xh.example/a", "  "},
		{"https://h.example/a", "http://h.example/a", "", ""},
		{"https://h.example/a", "ftp://h.example/a", "", ""},
		{"https://h.example/a", "https://u:p@h.example/a", "", ""},
		{"https://h.example/a", "https://h.example/a?b", "", ""},
		{"https://h.example/a", "https:///a", "", ""},
		{"https://h.example/a", "javascript:alert(1)", "", ""},
		{"https://h.example/a", "%zz", "", ""},
	} {
		t.Run(tt.base, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var at, sent string
				w := script{"xhr": inTurn(func(r *http.Request) *reply {
					u := *r.URL
					sent = fmt.Sprintf("%s %s %s", u.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Cookie"))
					u.RawQuery = ""
					at = u.String()
					return says(200, "o\n")(r)
				})}
				d := NewDialer(nil, &DialerOptions{RoundTripper: w.with(fmt.Sprintf(`{"base_url":%q}`, tt.base), 0), Transports: []string{nameXHRPolling}})
				cfg := &transport.DialConfig{Header: http.Header{"Authorization": {"b"}, "Cookie": {"own"}}}
				l := newListener(t)
				_, err := d.Dial(t.Context(), tt.url+"?token=t", cfg, l.open)
				if tt.want == "" {
					require.ErrorContains(t, err, "base_url")
					return
				}
				require.NoError(t, err)
				require.Regexp(t, `^`+strings.ReplaceAll(tt.want, ".", `\.`)+`/[0-9]{3}/[A-Z2-7]{26}/xhr$`, at)
				require.Equal(t, tt.sent, sent)
				l.close()
				require.Equal(t, http.Header{"Authorization": {"b"}, "Cookie": {"own"}}, cfg.Header, "the caller's")
			})
		})
	}
}

// A proxy is the RoundTripper's.
func TestDialerThroughProxy(t *testing.T) {
	t.Parallel()
	hs := serveEcho(t, nil, &app{}, nil)
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path[strings.LastIndex(r.URL.Path, "/"):])
		mu.Unlock()
		r.RequestURI = ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(proxy.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	at, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	tr := &http.Transport{Proxy: http.ProxyURL(at)}
	t.Cleanup(tr.CloseIdleConnections)
	d := NewDialer(nil, &DialerOptions{RoundTripper: tr, Transports: []string{nameXHRPolling}})
	l := dial(t, d, strings.Replace(hs.URL, "127.0.0.1", "localhost", 1)+"/echo", nil)
	l.send("x")
	l.takes("x")
	l.close()
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(asked)
	require.Equal(t, []string{"/info", "/xhr", "/xhr_send"}, slices.Compact(asked))
}

// Over TLS all transports use DialConfig.TLS, and HTTP/2 where there is no WebSocket.
func TestDialerOverTLS(t *testing.T) {
	t.Parallel()
	for name := range legsOf(gobwas.New(nil)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var proto sync.Map
			h := Mount("/echo", endpoint(New(gobwas.New(nil), nil), &app{}), nil)
			hs := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				proto.Store(r.Proto, true)
				h.ServeHTTP(w, r)
			}))
			hs.EnableHTTP2 = true
			hs.Config.ErrorLog = log.New(io.Discard, "", 0)
			hs.StartTLS()
			t.Cleanup(hs.Close)
			config := hs.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			config.NextProtos = nil
			d := NewDialer(gobwas.New(nil), &DialerOptions{Transports: []string{name}})
			require.ErrorContains(t, refuses(t, d, hs.URL+"/echo"), "certificate")
			l := dial(t, d, strings.Replace(hs.URL, "https", "wss", 1)+"/echo", &transport.DialConfig{TLS: config})
			l.send("x")
			l.takes("x")
			l.close()
			_, old := proto.Load("HTTP/1.1")
			_, ok := proto.Load("HTTP/2.0")
			require.True(t, ok)
			require.Equal(t, name == nameWebSocket, old)
		})
	}
}

// How long an attempt may take follows from how long info took.
func TestDialerTimesOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ least, trip, want time.Duration }{
		{0, 10 * time.Millisecond, 2 * time.Second},
		{time.Millisecond, 10 * time.Millisecond, 620 * time.Millisecond},
		{time.Millisecond, 100 * time.Millisecond, 800 * time.Millisecond},
		{0, 500 * time.Millisecond, 4 * time.Second},
		{5 * time.Second, 500 * time.Millisecond, 5 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.least, tt.trip), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var took []time.Duration
				w := script{
					"xhr_streaming": func(*http.Request) *reply { return nil },
					"eventsource":   func(r *http.Request) *reply { pr, _ := io.Pipe(); return flows(pr)(r) },
					"xhr":           inTurn(says(200, "o\n")),
				}
				d := NewDialer(swallow{}, &DialerOptions{RoundTripper: w.with(plainInfo, tt.trip), AttemptTimeout: tt.least})
				began := time.Now()
				d.opts.Failed = func(name string, err error) {
					require.ErrorIs(t, err, transport.ErrTimeout, name)
					took = append(took, time.Since(began))
				}
				l := dial(t, d, "http://h/a", nil)
				require.Equal(t, nameXHRPolling, nameOf(t, l.conn))
				require.Equal(t, []time.Duration{tt.trip + tt.want, tt.trip + 2*tt.want, tt.trip + 3*tt.want}, took)
				l.close()
			})
		})
	}
}

// swallow is a Dialer whose handshakes have no answer.
type swallow struct{}

func (swallow) Dial(ctx context.Context, _ string, _ *transport.DialConfig, _ func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A WebSocket that opens is no session yet.
func TestDialerOverStrangeWebSocket(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		says  []string
		typ   transport.MessageType
		close bool
		want  string
	}{
		{"nothing", nil, transport.MessageText, false, "no session within"},
		{"heartbeats only", []string{"h"}, transport.MessageText, false, "no session within"},
		{"the end", nil, transport.MessageText, true, "status 4000"},
		{"close frame", []string{`c[3000,"full"]`}, transport.MessageText, false, `status 3000: "full"`},
		{"message first", []string{`a["x"]`}, transport.MessageText, false, "before the open frame"},
		{"garbage", []string{"<html>"}, transport.MessageText, false, "broken framing"},
		{"binary", []string{"o"}, transport.MessageBinary, false, "broken framing"},
		{"another protocol", []string{"oo"}, transport.MessageText, false, "broken framing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := pipe.New(nil)
				p.Bind(&app{open: func(s *peer) {
					for _, text := range tt.says {
						_, _ = s.conn.Write([]transport.Message{{Type: tt.typ, Data: []byte(text)}})
					}
					if tt.close {
						_ = s.conn.Close(4000, "")
					}
				}, receive: func(*peer, transport.Message) {}})
				d := NewDialer(overPipe{p}, &DialerOptions{RoundTripper: script{}.with(plainInfo, 0), Transports: []string{nameWebSocket}})
				require.ErrorContains(t, refuses(t, d, "http://h/a"), tt.want)
			})
		})
	}
}

// overPipe has pipes for WebSockets.
type overPipe struct{ *pipe.Transport }

func (p overPipe) Dial(ctx context.Context, _ string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	return p.Transport.Dial(ctx, "pipe://h", cfg, open)
}

// Of the errors of all transports the last one's refusal counts: it is the server's.
func TestDialerJoinsErrors(t *testing.T) {
	t.Parallel()
	w := script{
		"xhr_streaming": says(502, "bad gateway"),
		"xhr":           says(401, "log in\n", "WWW-Authenticate", "Basic"),
	}
	d := NewDialer(nil, &DialerOptions{RoundTripper: w.with(plainInfo, 0), Transports: []string{nameXHRStreaming, nameXHRPolling}})
	err := refuses(t, d, "http://h:1/a?token=secret")
	require.Regexp(t, `^sockjs: dial h:1: xhr-streaming: .*502.*bad gateway.*\nxhr-polling: .*401.*log in`, err.Error())
	r, ok := errors.AsType[*transport.Refusal](err)
	require.True(t, ok)
	require.Equal(t, 401, r.Status)
	require.Equal(t, "Basic", r.Header.Get("WWW-Authenticate"))

	d = NewDialer(swallow{}, &DialerOptions{RoundTripper: script{}.with(`{"websocket":false}`, 0), Transports: []string{nameWebSocket}})
	require.ErrorContains(t, refuses(t, d, "http://h/a"), "websocket: server has none")
}

func TestDialerSetUp(t *testing.T) {
	t.Parallel()
	require.Equal(t, map[string]bool{nameXHRStreaming: true, nameEventSource: true, nameXHRPolling: true}, legsOf(nil))
	for _, name := range []string{"jsonp-polling", "xhr", ""} {
		require.PanicsWithValue(t, "sockjs: there is no transport "+name, func() { NewDialer(swallow{}, &DialerOptions{Transports: []string{name}}) })
	}
	require.Panics(t, func() { NewDialer(nil, &DialerOptions{Transports: []string{nameWebSocket}}) })
	d := NewDialer(nil, &DialerOptions{RoundTripper: script{}})
	for _, u := range []string{"", "tcp://h", "http://", "http://u@h", "http://h#f", "http://%zz"} {
		require.ErrorContains(t, refuses(t, d, u), "sockjs: dial: ", u)
	}
	for _, cfg := range []transport.DialConfig{
		{Header: http.Header{"Upgrade": {"x"}}}, {Header: http.Header{"A": {"b\r\nc"}}}, {SubProtocols: []string{"a b"}},
	} {
		_, err := d.Dial(t.Context(), "http://h", &cfg, nil)
		require.ErrorContains(t, err, "sockjs: dial: ")
	}
}

// ctx ends Dial wherever it is, and not what Dial has returned.
func TestDialerContext(t *testing.T) {
	t.Parallel()
	silent := func(*http.Request) *reply { return nil }
	for name, w := range map[string]script{
		"info":          {"info": silent},
		"body of info":  {"info": func(r *http.Request) *reply { pr, _ := io.Pipe(); return flows(pr)(r) }},
		"websocket":     script{}.with(plainInfo, 0),
		"xhr-streaming": script{"xhr_streaming": silent}.with(`{"websocket":false}`, 0),
		"xhr-streaming, body": script{"xhr_streaming": func(r *http.Request) *reply { pr, _ := io.Pipe(); return flows(pr)(r) }}.
			with(`{"websocket":false}`, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cause := errors.New("enough")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(cause) })
				began := time.Now()
				_, err := NewDialer(swallow{}, &DialerOptions{RoundTripper: w}).Dial(ctx, "http://h", nil, nil)
				require.ErrorIs(t, err, cause)
				require.Equal(t, time.Second, time.Since(began))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := script{"xhr": inTurn(says(200, "o\n"), says(200, "a[\"x\"]\n"))}
		ctx, cancel := context.WithCancel(t.Context())
		l := newListener(t)
		d := NewDialer(nil, &DialerOptions{RoundTripper: w.with(plainInfo, 0), Transports: []string{nameXHRPolling}})
		_, err := d.Dial(ctx, "http://h", nil, l.open)
		require.NoError(t, err)
		cancel()
		l.takes("x")
		l.close()
	})
}
