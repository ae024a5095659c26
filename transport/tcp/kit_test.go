package tcp

import (
	"context"
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/enginetest"
	"github.com/weftws/weft/transport/transporttest"
)

var kitFeatures = transporttest.Features{Text: true, Binary: true, Yield: true, Pause: true, Stall: true}

// kitFactory makes servers of one kind for the kit.
func kitFactory(kind string) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		opts := &Options{CloseTimeout: s.CloseTimeout}
		ln, url, err := listen(kind, opts)
		if err != nil {
			return nil, err
		}
		tr := New(opts)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = tr.Serve(ctx, ln, s.Acceptor) }()
		return &transporttest.Server{
			Dialer:     tr,
			URL:        url,
			DialConfig: transport.DialConfig{TLS: enginetest.ClientTLS},
			Stop:       func() { cancel(); <-done },
			Cut:        func(c transport.Conn) { c.(*conn).Cut() },
		}, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, kitFactory(kind), kitFeatures)
		})
	}
}

func BenchmarkConformance(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) { transporttest.Benchmark(b, kitFactory(kind)) })
	}
}
