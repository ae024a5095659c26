package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
)

// What belongs to a connection does not go over the next one, also if it was only queued.
func TestQueuedForAnotherConnection(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub := individual(t, c, "/queue/a")
		require.NoError(t, c.Send(t.Context(), text("/queue/a", "1")))
		d := take(t, sub, 1)[0]
		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		s.dialer.latest().SetFull(true)
		require.NoError(t, d.Ack(t.Context()))
		require.NoError(t, tx.Send(t.Context(), text("/queue/b", "of a transaction")))
		require.NoError(t, c.Send(t.Context(), text("/topic/b", "alone")))
		done := make(chan error, 1)
		go func() { done <- tx.Commit(t.Context()) }()
		synctest.Wait()
		s.dialer.latest().Cut()
		require.ErrorIs(t, <-done, client.ErrStale, "it was not sent")

		again := take(t, sub, 1)[0]
		require.Equal(t, "1", string(again.Body))
		require.ErrorIs(t, tx.Ack(t.Context(), again), client.ErrStale)
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/b", "last")))
		require.Equal(t, []string{"1", "alone", "last"}, s.bodies())
		require.Empty(t, s.of(subprotocol.KindAck))
	})
}

func TestAckAfterUnsubscribe(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub := individual(t, c, "/queue/a")
		require.NoError(t, c.Send(t.Context(), text("/queue/a", "1")))
		d := take(t, sub, 1)[0]
		require.NoError(t, sub.Unsubscribe(t.Context()))
		require.ErrorIs(t, d.Ack(t.Context()), client.ErrStale)
		synctest.Wait()
		require.Equal(t, client.Connected, c.State())
	})
}

// A call that waits for its answer has more read, but not without end.
func TestBackPressureWhileACallWaits(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp, handler.WithQueue(handler.Limits{Messages: 100000, Bytes: 64 << 20}))
		c := s.dial(sp, &client.Options{BufferMessages: 8})
		sub, err := c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- c.SendReceipt(ctx, text("/silent", "x")) }()
		synctest.Wait()
		const n = 5000
		body := string(make([]byte, 100))
		for range n {
			require.NoError(t, s.broker.Publish(t.Context(), "/topic/a", text("", body)))
		}
		synctest.Wait()
		require.Greater(t, s.endpoint.Stats().QueuedBytes, int64(n*100/2))
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
		take(t, sub, n)
	})
}
