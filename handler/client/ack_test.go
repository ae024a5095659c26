package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
)

// take returns the next n deliveries.
func take(t *testing.T, s *client.Subscription, n int) (ds []*client.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(ds) < n {
		for d, err := range s.Messages(ctx) {
			require.NoError(t, err)
			ds = append(ds, d)
			break
		}
	}
	return ds
}

// nothing requires that nothing more comes.
func nothing(t *testing.T, s *client.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for d, err := range s.Messages(ctx) {
		require.Nil(t, d)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

func individual(t *testing.T, c *client.Client, destination string) *client.Subscription {
	t.Helper()
	sub, err := c.Subscribe(t.Context(), destination, &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual}, nil)
	require.NoError(t, err)
	return sub
}

func TestAckAndNack(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub := individual(t, c, "/queue/a")
		for _, b := range []string{"1", "2"} {
			require.NoError(t, c.SendReceipt(t.Context(), text("/queue/a", b)))
		}
		ds := take(t, sub, 2)
		require.NoError(t, ds[0].Ack(t.Context()))
		require.NoError(t, ds[1].Nack(t.Context()))
		again := take(t, sub, 1)[0]
		require.Equal(t, "2", string(again.Body))
		require.Equal(t, "true", again.Header.Get("redelivered"))
		require.NoError(t, again.Ack(t.Context()))
		nothing(t, sub)

		auto, err := c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.NoError(t, err)
		require.NoError(t, c.Send(t.Context(), text("/topic/a", "x")))
		require.ErrorIs(t, take(t, auto, 1)[0].Ack(t.Context()), client.ErrNoAck)
	})
}

func TestCumulativeAck(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub, err := c.Subscribe(t.Context(), "/queue/a", &client.SubscribeOptions{AckMode: subprotocol.AckClient}, nil)
		require.NoError(t, err)
		for _, b := range []string{"1", "2", "3"} {
			require.NoError(t, c.Send(t.Context(), text("/queue/a", b)))
		}
		require.NoError(t, take(t, sub, 3)[1].Ack(t.Context()))
		synctest.Wait()
		s.dialer.latest().Cut()
		left := take(t, sub, 1)[0]
		require.Equal(t, "3", string(left.Body), "1 and 2 were acknowledged")
		require.NoError(t, left.Ack(t.Context()))
		nothing(t, sub)
	})
}

// What came over a connection that has ended can't be acknowledged, and what nobody has
// taken of it is not handed out: it comes again.
func TestStaleDeliveries(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub := individual(t, c, "/queue/a")
		for _, b := range []string{"1", "2"} {
			require.NoError(t, c.SendReceipt(t.Context(), text("/queue/a", b)))
		}
		old := take(t, sub, 1)[0]
		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		s.dialer.latest().Cut()
		synctest.Wait()
		require.ErrorIs(t, old.Ack(t.Context()), client.ErrStale)
		require.ErrorIs(t, tx.Send(t.Context(), text("/queue/b", "x")), client.ErrStale)
		require.NoError(t, tx.Abort(t.Context()))
		require.ErrorIs(t, tx.Commit(t.Context()), client.ErrStale)
		for i, d := range take(t, sub, 2) {
			require.Equal(t, []string{"1", "2"}[i], string(d.Body))
			require.Equal(t, "true", d.Header.Get("redelivered"))
			require.NoError(t, d.Ack(t.Context()))
		}
		require.ErrorIs(t, old.Ack(t.Context()), client.ErrStale)
		nothing(t, sub)
	})
}

func TestTransactions(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		in, out := individual(t, c, "/queue/in"), individual(t, c, "/queue/out")
		require.NoError(t, c.Send(t.Context(), text("/queue/in", "job")))
		job := take(t, in, 1)[0]

		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, tx.Ack(t.Context(), job))
		require.NoError(t, tx.Send(t.Context(), text("/queue/out", "wrong")))
		require.NoError(t, tx.Abort(t.Context()))
		nothing(t, out)

		tx, err = c.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, tx.Ack(t.Context(), job))
		require.NoError(t, tx.Send(t.Context(), text("/queue/out", "right")))
		nothing(t, out)
		require.NoError(t, tx.Commit(t.Context()))
		require.Equal(t, "right", string(take(t, out, 1)[0].Body))
		s.dialer.latest().Cut()
		require.Equal(t, "right", string(take(t, out, 1)[0].Body), "it was not acknowledged")
		nothing(t, in)
	})
}

// A Commit whose answer did not come is neither done again nor taken for done.
func TestCommitInDoubt(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, tx.Send(t.Context(), text("/silent", "x")))
		done := make(chan error, 1)
		go func() { done <- tx.Commit(t.Context()) }()
		synctest.Wait()
		s.dialer.latest().Cut()
		require.ErrorIs(t, <-done, client.ErrConnectionLost)
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		require.Len(t, s.bodies(), 1)
	})
}

func TestRefusedCommit(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub := individual(t, c, "/queue/out")
		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, tx.Send(t.Context(), text("/queue/out", "x")))
		require.NoError(t, tx.Send(t.Context(), text("/refuse", "x")))
		err = tx.Commit(t.Context())
		var said *client.ServerError
		if !errors.As(err, &said) {
			// STOMP's ERROR is about the part, and ends the connection.
			require.ErrorIs(t, err, client.ErrConnectionLost)
			require.ErrorAs(t, err, &said)
		}
		nothing(t, sub)
	})
}

func TestRequests(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		reply, err := c.Request(t.Context(), text("/echo", "hello"))
		require.NoError(t, err)
		require.Equal(t, "hello", string(reply.Body))
		_, err = c.Request(t.Context(), text("/topic/a", "hello"))
		require.ErrorIs(t, err, client.ErrNoReply)
		_, err = c.Request(t.Context(), text("/refuse", "hello"))
		var said *client.ServerError
		require.ErrorAs(t, err, &said)
		require.Contains(t, said.Error(), "not here")
	})
}

// A subscription that the server refuses is not made again with every connection.
func TestRefusedSubscription(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		_, err := c.Subscribe(t.Context(), "/refuse", nil, nil)
		var said *client.ServerError
		require.ErrorAs(t, err, &said)
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		s.dialer.latest().Cut()
		synctest.Wait()
		require.NoError(t, c.Connect(t.Context()))
		time.Sleep(time.Minute)
		require.Equal(t, client.Connected, c.State())
		require.Len(t, s.of(subprotocol.KindSubscribe), 1)
	})
}
