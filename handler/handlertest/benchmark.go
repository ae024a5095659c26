package handlertest

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Benchmark measures what it costs how a row is served: the round trip of a message, a
// handshake with the end of its connection, and what an idle connection holds that has
// echoed one message. The client is in the same process and counts too, so that the figures
// of two rows are there to be compared.
func Benchmark(b *testing.B, st Stack) {
	body := bytes.Repeat([]byte("x"), 64)
	echo := func(b *testing.B, c *Client) {
		if err := c.Send(&subprotocol.Message{Body: body}); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Receive(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("message", func(b *testing.B) {
		s := st.Start(b, handler.HandlerFunc(Echo))
		c := s.Dial(b)
		b.ReportAllocs()
		for b.Loop() {
			echo(b, c)
		}
	})
	b.Run("handshake", func(b *testing.B) {
		s := st.Start(b, handler.HandlerFunc(Echo))
		b.ReportAllocs()
		for b.Loop() {
			s.Dial(b)
			s.leave(b)
		}
	})
	b.Run("idle", func(b *testing.B) {
		const n = 500
		s := st.Start(b, handler.HandlerFunc(Echo))
		echo(b, s.Dial(b))
		s.leave(b)
		for b.Loop() {
			before, goroutines := held()
			for range n {
				echo(b, s.Dial(b))
			}
			after, more := held()
			b.ReportMetric(float64(after-before)/n, "B/conn")
			b.ReportMetric(float64(more-goroutines)/n, "goroutines/conn")
			s.leave(b)
		}
	})
}

// leave closes all clients.
func (s *Server) leave(b *testing.B) {
	for _, c := range s.clients {
		if err := c.Close(transport.StatusNormalClosure, ""); err != nil {
			b.Fatal(err)
		}
		_ = c.Closed() // is what was asked for
	}
	s.clients = nil
}

// held is the memory and the number of goroutines that are in use.
func held() (bytes int64, goroutines int) {
	for range 3 { // pools are emptied by the second one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
}
