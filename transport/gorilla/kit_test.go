package gorilla

import (
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
		if kind != "http" {
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

// TestConformanceCompressed compresses every message. Under the race detector a
// deflate costs a hundred times as much, so there only those over the threshold.
func TestConformanceCompressed(t *testing.T) {
	t.Parallel()
	z, some := &Compression{Threshold: -1}, kinds
	if raceEnabled {
		z, some = &Compression{}, kinds[:1]
	}
	for _, kind := range some {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, kitFactory(kind, z), kitFeatures)
		})
	}
}

func BenchmarkConformance(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) { transporttest.Benchmark(b, kitFactory(kind, nil)) })
	}
}
