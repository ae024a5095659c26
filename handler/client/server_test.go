package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
)

func TestAnswerToSubscribe(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		sub, err := c.Subscribe(t.Context(), "/once", &client.SubscribeOptions{ID: "mine"}, nil)
		require.NoError(t, err)
		require.Equal(t, "mine", sub.ID())
		require.Equal(t, "/once", sub.Destination())
		require.Equal(t, "the answer", string(take(t, sub, 1)[0].Body))
		_, err = c.Subscribe(t.Context(), "/topic/a", &client.SubscribeOptions{ID: "mine"}, nil)
		require.ErrorContains(t, err, `"mine"`)
		require.NoError(t, sub.Unsubscribe(t.Context()))
		require.NoError(t, sub.Unsubscribe(t.Context()), "twice")
	})
}

// The words of a server that STOMP does not have.
func TestServerTakesTheFloor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		var lost []error
		c := s.dial(jsonEnvelope, &client.Options{Hooks: client.Hooks{State: func(ch client.StateChange) {
			if ch.State == client.Waiting {
				lost = append(lost, ch.Err)
			}
		}}})
		sub, err := c.Subscribe(t.Context(), "/ends", nil, nil)
		require.NoError(t, err)
		called := make(chan context.Context, 1)
		other, err := c.Subscribe(t.Context(), "/ends", nil, func(ctx context.Context, _ *client.Delivery) { called <- ctx })
		require.NoError(t, err)
		for _, s := range []*client.Subscription{sub, other} {
			require.NoError(t, c.SendReceipt(t.Context(), text("/ends", s.ID())))
			<-s.Done()
			require.ErrorIs(t, s.Err(), client.ErrEnded)
			require.NoError(t, s.Unsubscribe(t.Context()))
		}
		for d, err := range sub.Messages(t.Context()) {
			require.Nil(t, d)
			require.ErrorIs(t, err, client.ErrEnded)
		}

		require.NoError(t, c.SendReceipt(t.Context(), text("/ask", "x")))
		require.Equal(t, client.Connected, c.State())
		require.NoError(t, c.Send(t.Context(), text("/bye", "x")))
		synctest.Wait()
		require.Equal(t, client.Waiting, c.State())
		require.Len(t, lost, 1)
		require.ErrorContains(t, lost[0], "the server disconnects")
		require.NoError(t, c.Connect(t.Context()))
		require.Len(t, s.of(subprotocol.KindSubscribe), 2, "they are not made again")
	})
}

// An Error that names nothing goes to the hook, and a fatal one says why the connection ended.
func TestErrorsOfNoCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		var told []error
		c := s.dial(jsonEnvelope, &client.Options{Hooks: client.Hooks{Error: func(err error) { told = append(told, err) }}})
		require.NoError(t, c.Send(t.Context(), text("/refuse", "x")))
		synctest.Wait()
		require.Len(t, told, 1)
		var said *client.ServerError
		require.ErrorAs(t, told[0], &said)
		require.Equal(t, "refused", said.Message.Error.Code)

		err := c.SendReceipt(t.Context(), text("/fatal", "x"))
		require.ErrorAs(t, err, &said)
		require.Equal(t, "fatal", said.Message.Error.Code)
		require.ErrorAs(t, c.Err(), &said)
		require.NoError(t, c.Connect(t.Context()))

		require.Error(t, c.Send(t.Context(), &subprotocol.Message{Destination: "\xff"}), "it can't be expressed")
		s.dialer.latest().SetFull(true)
		require.NoError(t, c.Send(t.Context(), text("/topic/a", "first")))
		require.NoError(t, c.Send(t.Context(), &subprotocol.Message{Destination: "\xff"}))
		require.NoError(t, c.Send(t.Context(), text("/topic/a", "last")))
		s.dialer.latest().SetFull(false)
		synctest.Wait()
		require.Len(t, told, 2, "nothing is lost silently")
		require.Equal(t, []string{"x", "x", "first", "last"}, s.bodies())
	})
}

func TestGivenUpSubscribe(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Subscribe(ctx, "/silent", &client.SubscribeOptions{ID: "a"}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.dialer.latest().Cut()
		synctest.Wait()
		_, err = c.Subscribe(t.Context(), "/topic/a", &client.SubscribeOptions{ID: "a"}, nil)
		require.NoError(t, err)
		require.Len(t, s.of(subprotocol.KindSubscribe), 2)
	})
}
