package broker

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

func heapSize() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestNothingIsLeft: neither 100,000 subscriptions at a time, of each kind, nor as many one
// after the other hold memory once their sessions are gone.
func TestNothingIsLeft(t *testing.T) {
	// Not parallel: it measures the process's memory.
	n := 100_000
	if raceEnabled {
		n = 10_000
	}
	for _, tt := range []struct {
		name, destination string // with the number of the subscription
		mode              subprotocol.AckMode
		most              int64 // bytes that one may hold
	}{
		{"topics", "/topic/%d", subprotocol.AckAuto, 1000},
		{"one topic", "/topic/a", subprotocol.AckAuto, 500},
		{"windows", "/topic/a", subprotocol.AckClient, 1500},
		{"patterns", "/topic/*/%d", subprotocol.AckAuto, 1100},
		{"queues", "/queue/%d", subprotocol.AckClient, 1500},
		{"one queue", "/queue/a", subprotocol.AckClientIndividual, 900},
		{"users", "/user/queue/%d", subprotocol.AckAuto, 1100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(nil)
				s := serve(t, b)
				c := s.join("")
				session := s.session()
				subscribe := func(id, i int) {
					m := &subprotocol.Message{
						Kind: subprotocol.KindSubscribe, Subscription: fmt.Sprint(id), Destination: tt.destination, AckMode: tt.mode,
					}
					if tt.destination[len(tt.destination)-1] == 'd' {
						m.Destination = fmt.Sprintf(tt.destination, i)
					}
					if err := b.Handle(t.Context(), handler.Request{Session: session, Message: m}); err != nil {
						t.Fatal(err)
					}
				}
				before := heapSize()
				for i := range n {
					subscribe(i, i)
				}
				held := heapSize() - before
				t.Logf("a subscription holds %d bytes", held/int64(n))
				require.Less(t, held/int64(n), tt.most)
				c.leave()
				synctest.Wait()
				b.requireEmpty(t)
				left := heapSize() - before
				t.Logf("%d of %d bytes are left", left, held)
				require.Less(t, left, max(held/100, 64<<10))

				c = s.join("")
				session = s.session()
				before = heapSize()
				for i := range n / 10 {
					subscribe(0, i)
					if err := b.Unsubscribe(session, "0"); err != nil {
						t.Fatal(err)
					}
				}
				require.Less(t, heapSize()-before, int64(1<<20), "ended subscriptions are held until the session ends")
				b.requireEmpty(t)
				c.leave()
				runtime.KeepAlive(b)
			})
		})
	}
}

// TestNeverAcknowledged: 100,000 subscribers that never acknowledge hold no more
// than Options.MaxBytes, and nobody waits for them.
func TestNeverAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, most := 100_000, 128<<20
		if raceEnabled {
			n, most = 10_000, 13<<20
		}
		b := New(&Options{MaxBytes: int64(most), Prefetch: 1})
		s := serve(t, b, handler.WithQueue(handler.Limits{Messages: 1 << 20, Bytes: 1 << 30}), handler.WithOutbound(
			func(handler.Sender) handler.Sender {
				return handler.SenderFunc(func(handler.Outgoing) (handler.Status, error) { return handler.Queued, nil })
			}))
		before := heapSize()
		for range 10 {
			c := s.dial()
			c.say(`{'type':'connect'}`)
			defer c.leave()
		}
		synctest.Wait()
		i := 0
		for session := range s.ep.Sessions().All() {
			for range n / 10 {
				i++
				m := &subprotocol.Message{
					Kind: subprotocol.KindSubscribe, Subscription: fmt.Sprint(i), Destination: "/topic/a", AckMode: subprotocol.AckClient,
				}
				if err := b.Handle(t.Context(), handler.Request{Session: session, Message: m}); err != nil {
					t.Fatal(err)
				}
			}
		}
		require.Equal(t, n, i)
		idle := heapSize() - before
		text := make([]byte, 100)
		for range 10 {
			if err := b.Publish(t.Context(), "/topic/a", &subprotocol.Message{Body: text}); err != nil {
				t.Fatal(err)
			}
		}
		held := heapSize() - before - idle
		st := b.Stats()
		t.Logf("%d bytes are counted, %d held, %d messages dropped", st.BacklogBytes, held, st.Dropped)
		require.LessOrEqual(t, st.BacklogBytes, int64(2*most))
		require.Less(t, held, int64(most))
		require.EqualValues(t, n, st.Delivered)
		require.NotZero(t, st.Dropped)
		runtime.KeepAlive(b)
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, mode := range []string{"auto", "client"} {
		for _, n := range []int{1, 1000} {
			b.Run(fmt.Sprint("ack=", mode, "/subscribers=", n), func(b *testing.B) {
				br := New(&Options{MaxBacklog: 1})
				s := serve(b, br, handler.WithOverflow(handler.DropOldest()))
				cs := make([]*client, n)
				for i := range cs {
					cs[i] = s.join("")
					cs[i].subscribe("1", "/topic/a", mode)
				}
				m := body(`{"text":"hello"}`)
				b.ReportAllocs()
				for b.Loop() {
					if err := br.Publish(context.Background(), "/topic/a", m); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
				for _, c := range cs {
					c.leave()
				}
			})
		}
	}
}

// BenchmarkQueue is what the broker itself takes for a message that is sent to a queue,
// delivered and acknowledged: the session's side is a Sender that takes everything.
func BenchmarkQueue(b *testing.B) {
	for _, prefetch := range []string{"1", "100"} {
		b.Run("prefetch="+prefetch, func(b *testing.B) {
			br := New(nil)
			var ids []string
			s := serve(b, br, handler.WithOutbound(func(next handler.Sender) handler.Sender {
				return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
					if o.Message.Kind == subprotocol.KindDeliver {
						ids = append(ids, o.Message.ID)
						return handler.Queued, nil
					}
					return next.Send(o)
				})
			}))
			c := s.join("")
			c.subscribe("1", "/queue/a", "client-individual", "prefetch-count", prefetch)
			var session *handler.Session
			for x := range s.ep.Sessions().All() {
				session = x
			}
			m := body(`{"text":"hello"}`)
			ack := &subprotocol.Message{Kind: subprotocol.KindAck, Subscription: "1", AckMode: subprotocol.AckClientIndividual}
			b.ReportAllocs()
			for b.Loop() {
				if err := br.Publish(context.Background(), "/queue/a", m); err != nil {
					b.Fatal(err)
				}
				ack.ID, ids = ids[0], ids[:0]
				if err := br.Handle(context.Background(), handler.Request{Session: session, Message: ack}); err != nil {
					b.Fatal(err)
				}
			}
			c.leave()
		})
	}
}
