package sockjs

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVersions: each transport over each version of HTTP that it works with, plain and over
// TLS. Frames of a stream come one by one, while it is open.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, way := range waysToReceive {
		for _, v := range []struct {
			proto string
			tls   bool
		}{{"HTTP/1.0", false}, {"HTTP/1.1", false}, {"HTTP/1.0", true}, {"HTTP/1.1", true}, {"HTTP/2.0", true}} {
			name := way.leg + " over " + v.proto
			if v.tls {
				name += " and TLS"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a := &app{peers: make(chan *peer, 1)}
				hs := httptest.NewUnstartedServer(endpoint(New(nil, nil), a))
				if v.tls {
					startTLS(hs)
				} else {
					hs.Start()
				}
				defer hs.Close()
				path := fresh("") + "/" + way.leg + way.query
				var resp *answer
				frame := func(f string) {
					t.Helper()
					if resp == nil || way.poll {
						resp = askOver(t, hs, v.proto, way.method, path)
						require.Equal(t, 200, resp.StatusCode)
						require.Equal(t, v.proto, resp.Proto)
						require.Equal(t, !way.poll && v.proto == "HTTP/1.1", len(resp.TransferEncoding) == 1)
						require.Equal(t, way.poll, resp.ContentLength >= 0)
					}
					until(t, resp.Body, way.wrap(f))
				}
				frame("o")
				p := <-a.peers
				for range 3 {
					p.send("x")
					frame(`a["x"]`)
				}
				require.NoError(t, p.conn.Close(3000, "Go away!"))
				frame(`c[3000,"Go away!"]`)
				rest, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Empty(t, rest)
				p.ended(t)
			})
		}
	}
}

// askOver makes a request with one version of HTTP.
func askOver(t *testing.T, hs *httptest.Server, proto, method, path string) *answer {
	t.Helper()
	if proto == "HTTP/2.0" {
		req, err := http.NewRequestWithContext(t.Context(), method, hs.URL+path, nil)
		require.NoError(t, err)
		resp, err := hs.Client().Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return &answer{Response: resp}
	}
	nc, err := net.Dial("tcp", hs.Listener.Addr().String())
	require.NoError(t, err)
	if hs.TLS != nil {
		config := hs.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.ServerName, config.NextProtos = "example.com", []string{"http/1.1"}
		nc = tls.Client(nc, config)
	}
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	writeRequest(t, nc, proto[len("HTTP/"):], method, path, "example.com", "")
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: method})
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return &answer{Response: resp}
}
