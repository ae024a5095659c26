package pipe_test

import (
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/transporttest"
)

var features = transporttest.Features{
	Boundaries: true, Text: true, Binary: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
	Stall: true, Limit: true, SubProtocols: true, Header: true,
}

func factory(s transporttest.Setup) (*transporttest.Server, error) {
	p := pipe.New(&pipe.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
	p.Bind(s.Acceptor)
	return &transporttest.Server{
		Dialer: p,
		URL:    "pipe://host/",
		Cut: func(c transport.Conn) {
			end, _ := transport.As[*pipe.Conn](c)
			end.Cut()
		},
	}, nil
}

func TestConformance(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, factory, features)
}

func BenchmarkConformance(b *testing.B) { transporttest.Benchmark(b, factory) }
