package sockjs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/transporttest"
)

// clientFraming is the client's side of a WebSocket.
var clientFraming = framing{head: "[", decode: parseFrame}

// socketDialer is a client over WebSocket.
type socketDialer struct {
	ws   transport.Dialer
	opts options
}

func (d *socketDialer) Dial(
	ctx context.Context, url string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	var f *framed
	_, err := d.ws.Dial(ctx, url+"/000/kit/websocket", cfg, func(c transport.Conn) transport.Receiver {
		f = &framed{inner: c, framing: &clientFraming, opts: &d.opts, buffers: new(buffers)}
		f.start(open)
		return f
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// socketKit makes servers whose WebSockets an engine carries.
func socketKit(engine string) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		// The engine counts quoted bytes of whole arrays.
		size := 6*s.MaxMessageSize + maxFrame
		var ws interface {
			transport.Transport
			transport.Dialer
		}
		if engine == "gobwas" {
			ws = gobwas.New(&gobwas.Options{MaxMessageSize: size, CloseTimeout: s.CloseTimeout})
		} else {
			ws = gorilla.New(&gorilla.Options{MaxMessageSize: size, CloseTimeout: s.CloseTimeout})
		}
		tr := New(ws, &Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
		ep := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, s.Acceptor) })
		hs := httptest.NewServer(Mount("/base", ep, nil))
		return &transporttest.Server{
			Dialer: &socketDialer{ws, withDefaults(&Options{MaxMessageSize: s.MaxMessageSize})},
			URL:    "ws://" + hs.Listener.Addr().String() + "/base",
			Stop:   hs.Close,
			Cut: func(c transport.Conn) {
				if inner, ok := transport.As[interface{ Cut() }](c); ok {
					inner.Cut()
				}
			},
		}, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, socketKit(engine), transporttest.Features{
				Boundaries: true, Text: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
				Stall: true, Limit: true, SubProtocols: true, Header: true,
			})
		})
	}
}

func BenchmarkConformance(b *testing.B) { transporttest.Benchmark(b, socketKit("gobwas")) }
