package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func TestPublishAndSubscribe(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		require.Equal(t, client.Connected, c.State())
		require.NotEmpty(t, c.Greeting().ID)
		sub, err := c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, c.Send(t.Context(), text("/topic/a", strconv.Itoa(i))))
		}
		n := 0
		for d, err := range sub.Messages(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(n), string(d.Body))
			require.Equal(t, "/topic/a", d.Destination)
			require.Same(t, sub, d.Subscription())
			if n++; n == 3 {
				break
			}
		}
		require.NoError(t, sub.Unsubscribe(t.Context()))
		require.NoError(t, sub.Err())
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/a", "late")))
		for range sub.Messages(t.Context()) {
			t.Fatal("nothing comes after Unsubscribe")
		}
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, client.Closed, c.State())
		require.ErrorIs(t, c.Send(t.Context(), text("/topic/a", "x")), net.ErrClosed)
	})
}

func TestReconnect(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		var states []client.State
		c := s.dial(sp, &client.Options{Hooks: client.Hooks{
			State: func(ch client.StateChange) { states = append(states, ch.State) },
		}})
		var got []string
		for _, destination := range []string{"/topic/a", "/topic/b"} {
			_, err := c.Subscribe(t.Context(), destination, nil, func(_ context.Context, d *client.Delivery) {
				got = append(got, string(d.Body))
			})
			require.NoError(t, err)
		}
		s.dialer.refuse(errors.New("not now"))
		s.dialer.latest().Cut()
		synctest.Wait()
		require.Equal(t, client.Waiting, c.State())
		require.ErrorIs(t, c.Err(), net.ErrClosed)
		for _, b := range []string{"1", "2", "3"} {
			require.NoError(t, c.Send(t.Context(), text("/topic/a", b)))
		}
		time.Sleep(10 * time.Second)
		require.NotEqual(t, client.Connected, c.State())
		s.dialer.refuse(nil)
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/b", "4")))
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3", "4"}, s.bodies(), "in order")
		require.ElementsMatch(t, []string{"1", "2", "3", "4"}, got, "after the subscriptions")
		require.Equal(t, client.Connected, states[len(states)-1])
		require.NoError(t, c.Err())
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		_, err := client.Dial(t.Context(), url, s.dialer, jsonEnvelope, &client.Options{
			Reconnect: client.Reconnect{First: true},
			Connect: func(_ context.Context, _ http.Header, m *subprotocol.Message) error {
				m.Header.Add("login", "wrong")
				return nil
			},
		})
		var refused *client.ServerError
		require.ErrorAs(t, err, &refused)
		require.True(t, refused.Refused)
		require.Equal(t, "unauthorized", refused.Message.Error.Code)

		s.dialer.refuse(&transport.Refusal{Status: 403, Text: "no"})
		_, err = client.Dial(t.Context(), url, s.dialer, jsonEnvelope, &client.Options{Reconnect: client.Reconnect{First: true}})
		var refusal *transport.Refusal
		require.ErrorAs(t, err, &refusal)

		s.dialer.refuse(&transport.Refusal{Status: 503, Text: "later"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = client.Dial(ctx, url, s.dialer, jsonEnvelope, &client.Options{Reconnect: client.Reconnect{First: true}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorAs(t, err, &refusal)
		_, err = client.Dial(t.Context(), url, s.dialer, jsonEnvelope, nil)
		require.ErrorAs(t, err, &refusal, "the first attempt is the only one")
	})
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		c := s.dial(jsonEnvelope, nil)
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/a", "x")))
		err := c.SendReceipt(t.Context(), text("/refuse", "x"))
		var refused *client.ServerError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "refused", refused.Message.Error.Code)
		require.Equal(t, client.Connected, c.State())

		reply, err := c.Request(t.Context(), text("/echo", "hello"))
		require.NoError(t, err)
		require.Equal(t, "hello", string(reply.Body))
		_, err = c.Request(t.Context(), text("/topic/a", "hello"))
		require.ErrorIs(t, err, client.ErrNoReply)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.SendReceipt(ctx, text("/silent", "x")), context.DeadlineExceeded)
	})
}

func TestLostCallsAreNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		lost := make(chan error, 1)
		go func() { lost <- c.SendReceipt(t.Context(), text("/silent", "x")) }()
		synctest.Wait()
		s.dialer.latest().Cut()
		err := <-lost
		require.ErrorIs(t, err, client.ErrConnectionLost)
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, c.Connect(t.Context()))
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/a", "y")))
		require.Equal(t, []string{"x", "y"}, s.bodies())
	})
}
