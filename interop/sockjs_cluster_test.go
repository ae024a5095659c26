package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// roundRobin is a balancer that knows nothing of sessions: each request goes to the next
// server, on a connection of its own, and to the one after that if it is not there.
type roundRobin struct {
	via     http.RoundTripper
	servers []string // their addresses

	mu       sync.Mutex
	next     int
	Owner    int    `json:"owner"`    // where the latest info request went
	Receive  int    `json:"receive"`  // where the latest receive request is, -1 once it has ended
	Requests [2]int `json:"requests"` // how many there were
	At       [2]int `json:"at"`       // receive requests among them
}

func (b *roundRobin) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	var failed error
	for range b.servers {
		b.mu.Lock()
		i := b.next
		b.next = (i + 1) % len(b.servers)
		b.mu.Unlock()
		out := r.Clone(r.Context())
		out.URL.Host = b.servers[i]
		if len(body) > 0 {
			out.Body = io.NopCloser(bytes.NewReader(body))
		}
		b.note(r, i)
		resp, err := b.via.RoundTrip(out)
		if err == nil {
			resp.Body = &watched{resp.Body, func() { b.ended(r) }}
			return resp, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// receives reports whether r is a receive request.
func receives(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/xhr") || strings.HasSuffix(r.URL.Path, "/xhr_streaming")
}

func (b *roundRobin) ended(r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if receives(r) {
		b.Receive = -1
	}
}

// watched tells when it is closed.
type watched struct {
	io.ReadCloser
	closed func()
}

func (w *watched) Close() error {
	w.closed()
	return w.ReadCloser.Close()
}

func (b *roundRobin) note(r *http.Request, i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Requests[i]++
	switch {
	case strings.HasSuffix(r.URL.Path, "/info"):
		b.Owner = i
	case receives(r):
		b.Receive = i
		b.At[i]++
	}
}

// sockjs-client, as it is, behind a balancer without sticky sessions; the owner of its
// session is killed.
func TestInteropSockJSCluster(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, transport := range []string{"xhr-polling", "xhr-streaming"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			var servers []*process
			b := &roundRobin{via: &http.Transport{DisableKeepAlives: true}}
			for range 2 {
				p, u := serverWith(t, "http", "-sockjs-key", "no secret, as all of it is on loopback")
				servers = append(servers, p)
				b.servers = append(b.servers, strings.TrimPrefix(u, "http://"))
			}
			mux := http.NewServeMux()
			mux.Handle("/", &httputil.ReverseProxy{Transport: b, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "http", Host: "any"})
				r.Out.Host = r.In.Host
			}})
			mux.HandleFunc("/where", func(w http.ResponseWriter, _ *http.Request) {
				b.mu.Lock()
				defer b.mu.Unlock()
				_ = json.NewEncoder(w).Encode(b)
			})
			mux.HandleFunc("POST /kill", func(w http.ResponseWriter, _ *http.Request) {
				b.mu.Lock()
				defer b.mu.Unlock()
				if err := servers[b.Owner].cmd.Process.Kill(); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			})
			front := httptest.NewServer(mux)
			t.Cleanup(front.Close)
			script(t, nil, "node", "js/sockjs_cluster.mjs", front.URL, transport)
		})
	}
}

// A key that can be guessed is none.
func TestServerRefusesShortKey(t *testing.T) {
	t.Parallel()
	p := start(t, build(t, "./server"), "-addr", "127.0.0.1:0", "-sockjs-key", "short")
	_, more := <-p.lines
	require.False(t, more)
	require.Error(t, p.stop())
	require.Contains(t, p.errs.String(), "-sockjs-key must have at least 32 characters")
}
