package sockjs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClusterAbort: a poll that is broken off at one node ends the session at the other.
func TestClusterAbort(t *testing.T) {
	t.Parallel()
	for i, way := range waysToReceive {
		t.Run(way.leg, func(t *testing.T) {
			t.Parallel()
			all := nodesWith(t, Options{}, map[bool]func(*httptest.Server){false: (*httptest.Server).Start, true: startTLS}[i%2 == 0])
			session := all[0].base(t) + "/000/s"
			_, body := all[1].gets(t, "POST", session+"/xhr", "")
			require.Equal(t, "o\n", body)
			p := <-all[0].app.peers
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := all[1].request(ctx, t, way.method, session+"/"+way.leg+way.query, "")
			go func() {
				resp, err := all[1].hs.Client().Do(r)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			p.waits(t)
			cancel()
			require.ErrorIs(t, p.ended(t), errInterrupted)
			_, body = all[1].gets(t, "POST", session+"/xhr", "")
			require.Equal(t, interruptedFrame+"\n", body)
			all[1].quiet(t)
			require.Zero(t, all[1].Stats().Forwards.Failed)
		})
	}
}

// waits waits until a receive request does so.
func (p *peer) waits(t *testing.T) {
	t.Helper()
	s, ok := p.conn.(*session)
	require.True(t, ok)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.leg != nil
	}, 10*time.Second, time.Millisecond)
}

// TestClusterOwnerDies: clients are told in the protocol's words, at once if they wait, and
// open a new session.
func TestClusterOwnerDies(t *testing.T) {
	t.Parallel()
	for _, way := range waysToReceive {
		t.Run(way.leg, func(t *testing.T) {
			t.Parallel()
			all := nodes(t, Options{})
			session := all[0].base(t) + "/000/s"
			_, body := all[1].gets(t, "POST", session+"/xhr", "")
			require.Equal(t, "o\n", body)
			p := <-all[0].app.peers
			waits := make(chan *answer, 1)
			ask := func() { waits <- all[1].do(t, way.method, session+"/"+way.leg+way.query, "") }
			if way.poll {
				go ask()
			} else {
				ask() // and it begins
			}
			p.waits(t)
			all[0].hs.Listener.Close()
			all[0].hs.CloseClientConnections()
			got := until(t, (<-waits).Body, way.wrap(interruptedFrame))
			require.Equal(t, way.prelude+way.wrap(interruptedFrame), got)

			_, got = all[1].gets(t, way.method, session+"/"+way.leg+way.query, "")
			require.True(t, strings.HasSuffix(got, way.wrap(interruptedFrame)), got)
			status, _ := all[1].gets(t, "POST", session+"/"+way.send, `["x"]`)
			require.Equal(t, 404, status)
			require.EqualValues(t, 3, all[1].Stats().Forwards.Failed)

			_, body = all[1].gets(t, "POST", all[1].base(t)+"/000/s/xhr", "")
			require.Equal(t, "o\n", body)
		})
	}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// twoNodes are nodes whose requests to each other are made by rt, the first one's sessions'
// base, and the second one.
func twoNodes(o Options, rt roundTripper) (base string, second *Transport) {
	first := &Cluster{Node: "a", Key: clusterKey, RoundTripper: rt, Peer: func(string) *url.URL { return &url.URL{Scheme: "http", Host: "a"} }}
	o.Cluster = first
	base = "/" + New(nil, &o).cluster.token("")
	own := *first
	own.Node = "b"
	o.Cluster = &own
	return base, New(nil, &o)
}

// TestClusterCut: an answer that the owner does not end is ended behind a whole frame, and
// broken off inside of one.
func TestClusterCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		leg, body string
		want      string // "" if it is broken off
	}{
		"nothing of a poll":      {"xhr", "", interruptedFrame + "\n"},
		"half a poll":            {"xhr", "a[", ""},
		"a poll":                 {"xhr", "a[\"x\"]\n", ""},
		"nothing of a stream":    {"xhr_streaming", "", strings.Repeat("h", 2048) + "\n" + interruptedFrame + "\n"},
		"the prelude":            {"xhr_streaming", strings.Repeat("h", 2048) + "\n", strings.Repeat("h", 2048) + "\n" + interruptedFrame + "\n"},
		"frames":                 {"xhr_streaming", "o\na[\"x\"]\n", "o\na[\"x\"]\n" + interruptedFrame + "\n"},
		"the page":               {"htmlfile?c=x", htmlPage("x"), htmlPage("x") + "<script>\np(" + quoteFrame(interruptedFrame) + ");\n</script>\r\n"},
		"half the prelude":       {"eventsource", "\r", ""},
		"half a frame":           {"xhr_streaming", "o\na[\"x", ""},
		"half an event":          {"eventsource", "data: a[\"\"]\r\n", ""},
		"events":                 {"eventsource", "\r\ndata: o\r\n\r\n", "\r\ndata: o\r\n\r\ndata: " + interruptedFrame + "\r\n\r\n"},
		"half a script":          {"htmlfile?c=x", "<script>\np(\"o\");\n", ""},
		"many frames in a chunk": {"xhr_streaming", strings.Repeat("a[\"xyz\"]\n", 5000), strings.Repeat("a[\"xyz\"]\n", 5000) + interruptedFrame + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, n := twoNodes(Options{}, func(*http.Request) (*http.Response, error) {
				body := io.MultiReader(strings.NewReader(tt.body), errReader{io.ErrUnexpectedEOF})
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
			})
			w := newWriter()
			method := map[bool]string{true: "POST", false: "GET"}[strings.HasPrefix(tt.leg, "xhr")]
			call := func() { n.ServeHTTP(w, httptest.NewRequest(method, base+"/0/s/"+tt.leg, nil), &app{}) }
			if tt.want == "" {
				require.PanicsWithValue(t, http.ErrAbortHandler, call)
			} else {
				call()
				require.Equal(t, tt.want, w.take())
			}
			require.Equal(t, ForwardStats{Requests: 1, Failed: 1}, n.Stats().Forwards)
		})
	}
}

// A client that does not take its answer is let go of, on both nodes.
func TestClusterClientFails(t *testing.T) {
	t.Parallel()
	var asked context.Context
	base, n := twoNodes(Options{}, func(r *http.Request) (*http.Response, error) {
		asked = r.Context()
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("o\n"))}, nil
	})
	w := newWriter()
	w.err = io.ErrClosedPipe
	n.ServeHTTP(w, httptest.NewRequest("POST", base+"/0/s/xhr_streaming", nil), &app{})
	require.Error(t, asked.Err())
	require.Equal(t, ForwardStats{Requests: 1}, n.Stats().Forwards)
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// TestClusterSilence: an owner that says nothing for longer than heartbeats allow is gone.
func TestClusterSilence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, leg string
		begins    bool
	}{{"answers nothing", "xhr", false}, {"takes nothing", "xhr_send", false}, {"falls silent", "xhr_streaming", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				base, n := twoNodes(Options{}, func(r *http.Request) (*http.Response, error) {
					if !tt.begins {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					pr, pw := io.Pipe()
					go func() {
						for range 3 {
							_, _ = io.WriteString(pw, "h\n")
							time.Sleep(25 * time.Second)
						}
						<-r.Context().Done()
						pw.CloseWithError(r.Context().Err())
					}()
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: pr}, nil
				})
				start := time.Now()
				w := newWriter()
				n.ServeHTTP(w, httptest.NewRequest("POST", base+"/0/s/"+tt.leg, nil), &app{})
				want, after := interruptedFrame+"\n", 35*time.Second
				if tt.leg == "xhr_send" {
					want = "no such session"
				}
				if tt.begins {
					want, after = "h\nh\nh\n"+want, after+50*time.Second
				}
				require.Equal(t, want, w.take())
				require.Equal(t, after, time.Since(start))
			})
		})
	}
}

// TestClusterLoop: a node that is taken for another one does not forward again.
func TestClusterLoop(t *testing.T) {
	t.Parallel()
	var n *Transport
	calls := 0
	var base string
	base, n = twoNodes(Options{}, func(r *http.Request) (*http.Response, error) {
		calls++
		w := httptest.NewRecorder()
		in := httptest.NewRequest(r.Method, r.URL.Path, r.Body)
		in.Header = r.Header
		n.ServeHTTP(w, in, &app{})
		require.Equal(t, http.StatusMisdirectedRequest, w.Code)
		return w.Result(), nil
	})
	require.Equal(t, interruptedFrame+"\n", ask(endpoint(n, &app{}), "POST", base+"/0/s/xhr").Body.String())
	require.Equal(t, 404, ask(endpoint(n, &app{}), "POST", base+"/0/s/xhr_send").Code)
	require.Equal(t, 2, calls)
	require.Equal(t, ForwardStats{Requests: 2, Failed: 2}, n.Stats().Forwards)
}

// TestClusterFails: each way in which a node can't be reached is the same to the client.
func TestClusterFails(t *testing.T) {
	t.Parallel()
	for name, rt := range map[string]roundTripper{
		"refused": func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") },
		"gateway": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 502, Body: http.NoBody}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, n := twoNodes(Options{}, rt)
			require.Equal(t, "/**/x("+quoteFrame(interruptedFrame)+");\r\n", ask(endpoint(n, &app{}), "GET", base+"/0/s/jsonp?c=x").Body.String())
			require.Equal(t, 404, ask(endpoint(n, &app{}), "POST", base+"/0/s/jsonp_send").Code)
		})
	}
	base, n := twoNodes(Options{}, nil)
	n.cluster.Peer = func(string) *url.URL { return nil }
	require.Equal(t, interruptedFrame+"\n", ask(endpoint(n, &app{}), "POST", base+"/0/s/xhr").Body.String())
}

func TestClusterMaxForwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		base, n := twoNodes(Options{}, func(*http.Request) (*http.Response, error) {
			<-hold
			return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
		})
		n.cluster.MaxForwards = 2
		b := &bench{n, t, &app{}}
		_, _, done1 := b.call(base+"/0/s/xhr", "")
		_, _, done2 := b.call(base+"/0/s/xhr_send", "[]")
		synctest.Wait()
		require.Equal(t, 2, n.Stats().Forwards.Waiting)
		require.Equal(t, 503, ask(endpoint(n, b.app), "POST", base+"/0/s/xhr_send").Code)
		close(hold)
		<-done1
		<-done2
		require.Zero(t, n.Stats().Forwards.Waiting)
		require.Equal(t, 204, ask(endpoint(n, b.app), "POST", base+"/0/s/xhr_send").Code)
	})
}

// TestClusterSlowClient: the time that a client needs to take an answer is not the owner's
// silence.
func TestClusterSlowClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		base, n := twoNodes(Options{WriteTimeout: -1}, func(r *http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader("o\n"), ctxReader{r.Context(), strings.NewReader("h\n")})
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		})
		w := newWriter()
		w.stalled = make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(w.stalled) })
		n.ServeHTTP(w, httptest.NewRequest("POST", base+"/0/s/xhr_streaming", nil), &app{})
		require.Equal(t, "o\nh\n", w.take())
	})
}

// ctxReader reads nothing once its context is done.
type ctxReader struct {
	ctx context.Context
	io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
