package sockjs

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/transporttest"
)

// both is a transport with its dialer.
type both interface {
	transport.Transport
	transport.Dialer
}

// kit makes servers, and dialers of one transport of the protocol. engine carries the
// WebSockets.
func kit(name string, engine func(size int, closeTimeout time.Duration) both) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		// The engine counts quoted bytes of whole arrays.
		size := 6*s.MaxMessageSize + maxFrame
		o := &Options{MaxMessageSize: s.MaxMessageSize, MaxBodyBytes: size, CloseTimeout: s.CloseTimeout}
		do := &DialerOptions{
			Transports: []string{name}, MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout, AttemptTimeout: time.Minute,
		}
		var ws both
		if engine != nil {
			ws = engine(size, s.CloseTimeout)
		} else {
			// That the client has gone away between two polls is noticed only by these. A
			// delay that is short is short for a client on a slow machine too.
			o.CloseTimeout = cmp.Or(s.CloseTimeout, 300*time.Millisecond)
			if name == nameXHRPolling {
				o.DisconnectDelay = 3 * time.Second
			}
		}
		tr := New(ws, o)
		ep := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, s.Acceptor) })
		hs := httptest.NewServer(Mount("/base", ep, nil))
		server := &transporttest.Server{Dialer: NewDialer(ws, do), URL: hs.URL + "/base", Stop: hs.Close}
		if engine != nil {
			server.Cut = func(c transport.Conn) {
				if inner, ok := transport.As[interface{ Cut() }](c); ok {
					inner.Cut()
				}
			}
		}
		return server, nil
	}
}

func onGobwas(size int, closeTimeout time.Duration) both {
	return gobwas.New(&gobwas.Options{MaxMessageSize: size, CloseTimeout: closeTimeout})
}

func onGorilla(size int, closeTimeout time.Duration) both {
	return gorilla.New(&gorilla.Options{MaxMessageSize: size, CloseTimeout: closeTimeout})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, engine := range map[string]func(int, time.Duration) both{"gobwas": onGobwas, "gorilla": onGorilla} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, kit(nameWebSocket, engine), transporttest.Features{
				Boundaries: true, Text: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
				Stall: true, Limit: true, SubProtocols: true, Header: true,
			})
		})
	}
	for name := range receivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, kit(name, nil), transporttest.Features{
				Boundaries: true, Text: true, Yield: true, Pause: true, Stall: true, Limit: true, Header: true,
			})
		})
	}
}

func BenchmarkConformance(b *testing.B) { transporttest.Benchmark(b, kit(nameWebSocket, onGobwas)) }
