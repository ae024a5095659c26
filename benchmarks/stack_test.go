package benchmarks

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// What these numbers mean: wall-clock time and allocations of server and client
// together, in one process, over loopback. Half of each row, and with TLS more, is
// the client; the scheduler has both ends on the same cores. Rows of one run compare
// stacks with each other: pipe/raw/none has no socket and is the upper bound. They
// say nothing about the server alone, which is what BenchmarkCost* measure.

// BenchmarkStack is one echo at a time, named by transport, sub-protocol, codec and
// size: the latency of a round trip.
func BenchmarkStack(b *testing.B) {
	for _, st := range handlertest.Stacks() {
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			b.Run(fmt.Sprintf("%s/%dB", st.Name, size), func(b *testing.B) {
				s := st.Start(b, handler.HandlerFunc(handlertest.Echo))
				back := make(chan int, 1)
				c, err := s.DialWith(&handlertest.DialOptions{
					OnMessage: func(m *subprotocol.Message) { back <- len(m.Body) },
				})
				require.NoError(b, err)
				// Text, which no wire format has to escape.
				m := &subprotocol.Message{Body: bytes.Repeat([]byte("x"), size)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := c.Send(m); err != nil {
						b.Fatal(err)
					}
					select {
					case n := <-back:
						if n != size {
							b.Fatalf("%d bytes came back", n)
						}
					case <-c.Done():
						b.Fatal(c.Closed())
					}
				}
			})
		}
	}
}

// fanoutBody is 128 bytes of text.
var fanoutBody = bytes.Repeat([]byte("weft "), 26)[:128]

// BenchmarkFanout is one publication at a time to a number of sessions, until the
// last one has it. ns/op is for all of them together; the metric ns/delivery
// divides by them.
func BenchmarkFanout(b *testing.B) {
	for _, st := range handlertest.Stacks() {
		for _, n := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/%dsubscribers", st.Name, n), func(b *testing.B) {
				s, arrived := subscribers(b, st, n)
				all := slices.Collect(s.Endpoint.Sessions().All())
				b.ReportAllocs()
				for b.Loop() {
					publish(b, all)
					<-arrived
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
			})
		}
	}
}

// subscribers connects n clients. arrived gets a value each time n more messages have
// come.
func subscribers(tb testing.TB, st handlertest.Stack, n int) (s *handlertest.Server, arrived <-chan struct{}) {
	done := make(chan struct{}, 1)
	var came atomic.Int64
	s = st.Start(tb, handler.HandlerFunc(handlertest.Echo))
	for range n {
		c, err := s.DialWith(&handlertest.DialOptions{OnMessage: func(*subprotocol.Message) {
			if came.Add(1)%int64(n) == 0 {
				done <- struct{}{}
			}
		}})
		require.NoError(tb, err)
		// What was echoed comes from a session that is connected.
		require.NoError(tb, c.Send(&subprotocol.Message{Body: []byte("connected")}))
	}
	<-done
	require.Equal(tb, n, s.Endpoint.Sessions().Len())
	return s, done
}

func publish(tb testing.TB, all []*handler.Session) {
	p := handler.NewPublication(&subprotocol.Message{Type: transport.MessageText, Body: fanoutBody})
	for _, ses := range all {
		if _, err := ses.Publish(p, "", ""); err != nil {
			tb.Fatal(err)
		}
	}
}
