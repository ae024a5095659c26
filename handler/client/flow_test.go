package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

func TestQueueWhileAway(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := client.New(url, s.dialer, sp, &client.Options{QueueMessages: 3})
		defer c.Close(t.Context())
		for i := range 2 {
			require.NoError(t, c.Send(t.Context(), text("/topic/a", strconv.Itoa(i))))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.SendReceipt(ctx, text("/topic/a", "given up")), context.DeadlineExceeded)
		done := make(chan error, 1)
		go func() { done <- c.SendReceipt(t.Context(), text("/topic/a", "2")) }()
		synctest.Wait()
		require.ErrorIs(t, c.Send(t.Context(), text("/topic/a", "too many")), client.ErrQueueFull)
		require.NoError(t, c.Connect(t.Context()))
		require.NoError(t, <-done)
		require.Equal(t, []string{"0", "1", "2"}, s.bodies())
	})
}

func TestQueueBytes(t *testing.T) {
	t.Parallel()
	s := serve(t, jsonEnvelope)
	c := client.New(url, s.dialer, jsonEnvelope, &client.Options{QueueBytes: 1000})
	large := text("/topic/a", string(make([]byte, 2000)))
	require.NoError(t, c.Send(t.Context(), large), "alone it may be larger")
	require.ErrorIs(t, c.Send(t.Context(), text("/topic/a", "x")), client.ErrQueueFull)
	require.ErrorContains(t, c.Close(t.Context()), "1 messages unsent")
}

// A connection that has no room makes Send wait, and heartbeats go on.
func TestSendWaitsForRoom(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, &client.Options{QueueMessages: 2})
		conn := s.dialer.latest()
		conn.SetFull(true)
		for _, b := range []string{"1", "2"} {
			require.NoError(t, c.Send(t.Context(), text("/topic/a", b)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Send(ctx, text("/topic/a", "given up")), context.DeadlineExceeded)
		done := make(chan error, 1)
		go func() { done <- c.Send(t.Context(), text("/topic/a", "3")) }()
		synctest.Wait()
		require.Empty(t, done)
		conn.SetFull(false)
		require.NoError(t, <-done)
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/a", "4")))
		require.Equal(t, []string{"1", "2", "3", "4"}, s.bodies())
	})
}

// What was queued for a connection that had no room goes over the next one.
func TestUnsentFollows(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, nil)
		s.dialer.latest().SetFull(true)
		for i := range 100 {
			require.NoError(t, c.Send(t.Context(), text("/topic/a", strconv.Itoa(i))))
		}
		done := make(chan error, 1)
		go func() { done <- c.SendReceipt(t.Context(), text("/topic/a", "100")) }()
		synctest.Wait()
		s.dialer.latest().Cut()
		require.NoError(t, <-done, "it is known that it was not sent before")
		var want []string
		for i := range 101 {
			want = append(want, strconv.Itoa(i))
		}
		require.Equal(t, want, s.bodies())
	})
}

func TestHeartbeatLoss(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		lost := make(chan error, 1)
		c := s.dial(sp, &client.Options{Hooks: client.Hooks{State: func(ch client.StateChange) {
			if ch.State == client.Waiting && len(lost) == 0 {
				lost <- ch.Err
			}
		}}})
		time.Sleep(10 * time.Minute)
		require.Equal(t, client.Connected, c.State(), "idle is not silent")
		require.Len(t, s.of(subprotocol.KindConnect), 1)

		s.dialer.refuse(errors.New("not now"))
		start := time.Now()
		s.vanish()
		err := <-lost
		require.InDelta(t, 30, time.Since(start).Seconds(), 6, "three times the interval of 10 s, and a tick")
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.ErrorIs(t, err, net.ErrClosed)
		s.dialer.refuse(nil)
		require.NoError(t, c.Connect(t.Context()))
	})
}

func TestNoHeartbeats(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, &client.Options{Heartbeat: subprotocol.Heartbeat{Send: -1, Receive: -1}})
		s.vanish()
		time.Sleep(time.Hour)
		require.Equal(t, client.Connected, c.State())
	})
}

// A function that takes its time keeps neither heartbeats nor answers from coming, and
// what comes meanwhile is bounded.
func TestSlowFunction(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp, handler.WithQueue(handler.Limits{Messages: 100000, Bytes: 64 << 20}))
		c := s.dial(sp, &client.Options{BufferMessages: 8})
		release := make(chan struct{})
		var got []string
		_, err := c.Subscribe(t.Context(), "/topic/a", nil, func(ctx context.Context, d *client.Delivery) {
			if len(got) == 0 {
				<-release
				// The answer stands behind messages that have no place yet.
				require.NoError(t, c.SendReceipt(ctx, text("/topic/b", "from inside")))
			}
			got = append(got, string(d.Body))
		})
		require.NoError(t, err)
		var want []string
		for i := range 100 {
			want = append(want, strconv.Itoa(i))
			require.NoError(t, s.broker.Publish(t.Context(), "/topic/a", text("", want[i])))
		}
		time.Sleep(time.Hour)
		require.Equal(t, client.Connected, c.State())
		require.Len(t, s.of(subprotocol.KindConnect), 1)
		close(release)
		synctest.Wait()
		require.Equal(t, want, got)
	})
}

// What nobody takes is held by the server.
func TestBackPressure(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp, handler.WithQueue(handler.Limits{Messages: 100000, Bytes: 64 << 20}))
		c := s.dial(sp, &client.Options{BufferMessages: 8})
		sub, err := c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.NoError(t, err)
		const n = 5000
		body := string(make([]byte, 100))
		for range n {
			require.NoError(t, s.broker.Publish(t.Context(), "/topic/a", text("", body)))
		}
		synctest.Wait()
		require.Greater(t, s.endpoint.Stats().QueuedBytes, int64(n*100/2), "what was not read waits there")
		take(t, sub, n)
		nothing(t, sub)
		require.Zero(t, s.endpoint.Stats().QueuedBytes)
	})
}

func TestRaw(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sp := raw.New(nil)
		s := serve(t, sp)
		c := client.New(url, s.dialer, sp, nil)
		defer c.Close(t.Context())
		sub, err := c.Subscribe(t.Context(), "", nil, nil)
		require.NoError(t, err)
		_, err = c.Subscribe(t.Context(), "", nil, nil)
		require.Error(t, err)
		_, err = c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NoError(t, c.Connect(t.Context()))
		require.NoError(t, c.Send(t.Context(), text("", "ping")))
		require.Equal(t, "ping", string(take(t, sub, 1)[0].Body))
		s.dialer.latest().Cut()
		synctest.Wait()
		require.NoError(t, c.Connect(t.Context()))
		require.NoError(t, c.Send(t.Context(), text("", "pong")))
		require.Equal(t, "pong", string(take(t, sub, 1)[0].Body))

		require.ErrorIs(t, c.SendReceipt(t.Context(), text("", "x")), errors.ErrUnsupported)
		_, err = c.Request(t.Context(), text("", "x"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = c.Begin(t.Context())
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NoError(t, sub.Unsubscribe(t.Context()))
		require.NoError(t, c.Send(t.Context(), text("", "last")))
		require.NoError(t, c.Close(t.Context()))
		synctest.Wait()
		require.Equal(t, []string{"ping", "pong", "last"}, s.bodies())
	})
}

// Everything at once, with connections that break all the time.
func TestConcurrentUse(t *testing.T) {
	each(t, func(t *testing.T, sp subprotocol.SubProtocol) {
		s := serve(t, sp)
		c := s.dial(sp, &client.Options{Reconnect: client.Reconnect{FirstDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond}})
		known := func(err error) {
			if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, client.ErrQueueFull) {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 20 {
					time.Sleep(time.Millisecond) // so that the bubble's time goes on
					known(c.SendReceipt(t.Context(), text("/queue/a", fmt.Sprint(g, i))))
					sub, err := c.Subscribe(t.Context(), "/queue/a", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual},
						func(ctx context.Context, d *client.Delivery) { known(d.Ack(ctx)) })
					known(err)
					if tx, err := c.Begin(t.Context()); err == nil {
						known(tx.Send(t.Context(), text("/queue/a", "x")))
						known(tx.Commit(t.Context()))
					} else {
						known(err)
					}
					if sub != nil {
						known(sub.Unsubscribe(t.Context()))
					}
				}
			})
		}
		stop := make(chan struct{})
		var breaker sync.WaitGroup
		breaker.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					s.dialer.latest().Cut()
				}
			}
		})
		wg.Wait()
		close(stop)
		breaker.Wait()
		require.NoError(t, c.Connect(t.Context()))
		require.NoError(t, c.Close(t.Context()))
	})
}
