package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

func TestTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var took time.Duration
		mode := "wait"
		s := newStack(t, on(subprotocol.KindSend, func(ctx context.Context, _ handler.Request) error {
			begin := time.Now()
			defer func() { took = time.Since(begin) }()
			switch mode {
			case "wait":
				<-ctx.Done()
				return fmt.Errorf("query: %w", ctx.Err())
			case "own":
				<-ctx.Done()
				return &subprotocol.Error{Code: "own", Text: "own"}
			case "late":
				time.Sleep(time.Minute)
				return nil
			case "inner":
				return context.DeadlineExceeded // of some other context
			}
			return nil
		}), handler.WithMiddleware(middleware.Timeout(3*time.Second)))
		c := s.dial()
		require.Equal(t, []string{"connected"}, c.codes())
		for _, tt := range []struct {
			mode, code string
			took       time.Duration
		}{
			{"wait", "timeout", 3 * time.Second},
			{"own", "own", 3 * time.Second},
			{"late", "receipt", time.Minute},
			{"inner", "internal", 0},
			{"", "receipt", 0},
		} {
			mode = tt.mode
			c.send(send)
			time.Sleep(2 * time.Minute)
			require.Equal(t, []string{tt.code}, c.codes(), tt.mode)
			require.Equal(t, tt.took, took, tt.mode)
			require.True(t, c.alive())
		}
		c.leave()
	})
}

// TestTimeoutElsewhere: a Connect is refused in time, a Disconnect has no deadline,
// and the end of the session is no timeout.
func TestTimeoutElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, on(subprotocol.KindConnect, func(ctx context.Context, _ handler.Request) error {
			<-ctx.Done()
			return ctx.Err()
		}), handler.WithMiddleware(middleware.Timeout(time.Second)))
		c := s.dial()
		<-c.gone
		require.Equal(t, []string{"timeout"}, c.codes())
	})
	h := middleware.Timeout(time.Hour)(handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		_, ok := ctx.Deadline()
		require.Equal(t, r.Message.Kind != subprotocol.KindDisconnect, ok)
		return ctx.Err()
	}))
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, h.Handle(ctx, request(&subprotocol.Message{Kind: subprotocol.KindDisconnect})))
	cancel()
	err := h.Handle(ctx, request(&subprotocol.Message{Kind: subprotocol.KindSend}))
	require.ErrorIs(t, err, context.Canceled)
	_, typed := errors.AsType[*subprotocol.Error](err)
	require.False(t, typed)
	outer, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	<-outer.Done()
	err = h.Handle(outer, request(&subprotocol.Message{Kind: subprotocol.KindSend}))
	require.Equal(t, context.DeadlineExceeded, err, "somebody else's deadline")
	require.Panics(t, func() { middleware.Timeout(0) })
}
