package middleware_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// busy is a handler that works until it is told to stop.
type busy struct {
	stop chan struct{}
}

func (b *busy) handle(ctx context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	<-b.stop
	return nil
}

func TestMaxInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &busy{stop: make(chan struct{})}
		s := newStack(t, b.handle, handler.WithMiddleware(middleware.MaxInFlight(2, 0)))
		x, y, z := s.dial(), s.dial(), s.dial()
		for _, c := range []*client{x, y, z} {
			require.Equal(t, []string{"connected"}, c.codes())
		}
		x.send(send)
		y.send(send)
		synctest.Wait()
		z.send(send, `{"type":"subscribe","subscription":"s","destination":"/topic","receipt":"2"}`)
		require.Equal(t, []string{"busy", "busy"}, z.codes())
		z.leave() // its Disconnect passes
		require.Equal(t, 2, s.ep.Sessions().Len())
		close(b.stop)
		require.Equal(t, []string{"receipt"}, x.codes())
		require.Equal(t, []string{"receipt"}, y.codes())
		x.send(send)
		require.Equal(t, []string{"receipt"}, x.codes(), "the slot is free again")
		x.leave()
		y.leave()
	})
}

func TestMaxInFlightWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &busy{stop: make(chan struct{})}
		s := newStack(t, b.handle, handler.WithMiddleware(middleware.MaxInFlight(1, time.Second)))
		x, y, z := s.dial(), s.dial(), s.dial()
		for _, c := range []*client{x, y, z} {
			require.Equal(t, []string{"connected"}, c.codes())
		}
		x.send(send)
		synctest.Wait()
		y.send(send)
		time.Sleep(999 * time.Millisecond)
		require.Empty(t, y.codes())
		z.send(send)
		time.Sleep(time.Millisecond)
		require.Equal(t, []string{"busy"}, y.codes(), "after a second")
		b.stop <- struct{}{} // x is done, and z comes in
		require.Equal(t, []string{"receipt"}, x.codes())
		y.send(send)
		y.leave() // ends while it waits
		time.Sleep(2 * time.Second)
		require.Empty(t, z.codes())
		close(b.stop)
		require.Equal(t, []string{"receipt"}, z.codes())
		x.leave()
		z.leave()
	})
}

// TestMaxInFlightEnds: a message whose session ends waits no longer, and says so.
func TestMaxInFlightEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stop := make(chan struct{})
		h := middleware.MaxInFlight(1, time.Hour)(handler.HandlerFunc(
			func(context.Context, handler.Request) error { <-stop; return nil }))
		r := request(&subprotocol.Message{Kind: subprotocol.KindSend})
		go func() { _ = h.Handle(context.Background(), r) }()
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(net.ErrClosed) })
		begin := time.Now()
		require.Equal(t, net.ErrClosed, h.Handle(ctx, r))
		require.Equal(t, time.Minute, time.Since(begin))
		close(stop)
	})
}

// TestMaxInFlightByKey: keys don't disturb each other, and a panic gives its slot back.
func TestMaxInFlightByKey(t *testing.T) {
	t.Parallel()
	var inner func(r handler.Request) error
	h := middleware.MaxInFlightBy(byID, 1, 0)(handler.HandlerFunc(
		func(_ context.Context, r handler.Request) error { return inner(r) }))
	call := func(id string) error {
		return h.Handle(t.Context(), request(&subprotocol.Message{Kind: subprotocol.KindSend, ID: id}))
	}
	inner = func(r handler.Request) error {
		if r.Message.ID != "a" {
			return nil
		}
		require.NoError(t, call("b"))
		require.NoError(t, call(""))
		return call("a")
	}
	require.ErrorContains(t, call("a"), "busy")
	inner = func(handler.Request) error { panic("oops") }
	require.Panics(t, func() { _ = call("a") })
	inner = func(handler.Request) error { return nil }
	require.NoError(t, call("a"))
	require.Panics(t, func() { middleware.MaxInFlight(0, 0) })
	require.Panics(t, func() { middleware.MaxInFlight(1, -1) })
	require.Panics(t, func() { middleware.MaxInFlightBy(nil, 1, 0) })
}
