package broker

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// FuzzHandle has a client say anything: the broker refuses or obeys, its sums stay right, and
// nothing is left when the client has gone.
func FuzzHandle(f *testing.F) {
	f.Add([]byte{6, 3, 8, 9, 0x56, 3, 0x48, 0x49, 0x66, 7}, "/queue/a", "prefetch-count", "1", "1")
	f.Add([]byte{6, 0x56, 3, 3, 0x48, 0x49, 0x47, 3}, "/topic/**", "retain", "true", "2")
	f.Add([]byte{6, 0x56, 0xa6, 3, 3, 0x48, 0x89}, "/user/ann/queue/x", "ttl", "1000", "1")
	f.Add([]byte{3, 3, 6, 8}, "/user/%zz/x", "expires", "99999999999999999", "01")
	f.Add([]byte{0x26, 3, 3, 9, 8}, "/topic/a*/**/**/**/**/**", "selector", "a = 1", "18446744073709551616")
	f.Fuzz(func(t *testing.T, says []byte, destination, name, value, id string) {
		synctest.Test(t, func(t *testing.T) {
			b := New(&Options{
				Selectors: true, MaxDestinations: 4, MaxQueueMessages: 4, MaxBacklog: 2, MaxDeliveries: 2, DeadLetter: "/queue/dead", MaxRetained: 1,
			})
			s := serve(t, named(b))
			c := s.join("ann")
			session := s.session()
			for _, op := range says[:min(len(says), 100)] {
				// The low four bits are the kind, then come the mode and the subscription.
				m := &subprotocol.Message{
					Kind: subprotocol.Kind(op & 15), AckMode: subprotocol.AckMode(op >> 4 & 3 % 3), Subscription: string(rune('a' + op>>6)),
					Destination: destination, ID: id, Header: subprotocol.Header{{Name: name, Value: value}}, Body: []byte(value),
				}
				_ = code(t, b.Handle(t.Context(), handler.Request{Session: session, Message: m}))
			}
			var bytes int64
			for q := range b.Queues() {
				bytes += q.Bytes
				require.LessOrEqual(t, q.Ready+q.Unsettled, 4)
			}
			require.Equal(t, bytes, b.Stats().QueueBytes)
			c.leave()
			synctest.Wait()
			require.Zero(t, b.Stats().Subscriptions)
			require.Zero(t, b.Stats().BacklogBytes)
			require.EqualValues(t, b.queues.len()+len(b.retained.topics), b.destinations.Load())
			b.Close()
		})
	})
}
