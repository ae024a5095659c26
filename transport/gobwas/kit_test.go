package gobwas

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/transporttest"
)

var kitFeatures = transporttest.Features{
	Boundaries: true, Text: true, Binary: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
	Stall: true, Limit: true, SubProtocols: true, Header: true,
}

// kitFactory makes servers of one kind for the kit.
func kitFactory(kind string, z *Compression) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		opts := &Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout, Compression: z}
		if kind == "bare-tls" {
			opts.TLS = serverTLS()
		}
		tr := New(opts)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		server := &transporttest.Server{
			Dialer:     tr,
			URL:        "ws://" + ln.Addr().String() + "/",
			DialConfig: transport.DialConfig{TLS: clientTLS},
			Cut: func(c transport.Conn) {
				cc, _ := transport.As[*conn](c)
				cc.Cut()
			},
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, s.Acceptor) })
		switch kind {
		case "http", "https", "https-own":
			hs := httptest.NewUnstartedServer(h)
			hs.Listener.Close()
			hs.Listener = ln
			switch kind {
			case "https":
				hs.Listener = transport.NewTLSListener(ln, serverTLS())
				hs.Start()
			case "https-own":
				hs.TLS = serverTLS()
				hs.StartTLS()
			default:
				hs.Start()
			}
			server.Stop = hs.Close
		default:
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); _ = tr.Serve(ctx, ln, s.Acceptor) }()
			server.Stop = func() { cancel(); <-done }
		}
		if kind != "http" && kind != "bare" {
			server.URL = "wss://" + ln.Addr().String() + "/"
		}
		return server, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, kitFactory(kind, nil), kitFeatures)
		})
	}
}

func TestConformanceCompressed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind     string
		takeover bool
	}{{"http", false}, {"bare-tls", false}, {"bare", true}, {"https", true}} {
		t.Run(fmt.Sprintf("%s/takeover=%t", c.kind, c.takeover), func(t *testing.T) {
			t.Parallel()
			z := &Compression{Threshold: -1, ContextTakeover: c.takeover}
			transporttest.Run(t, kitFactory(c.kind, z), kitFeatures)
		})
	}
}

func BenchmarkConformance(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) { transporttest.Benchmark(b, kitFactory(kind, nil)) })
	}
}
