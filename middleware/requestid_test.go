package middleware_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	var id string
	type key struct{}
	h := middleware.RequestID(handler.HandlerFunc(func(ctx context.Context, _ handler.Request) error {
		id = middleware.RequestIDFrom(ctx)
		require.Equal(t, "kept", ctx.Value(key{}))
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		require.Equal(t, id, middleware.RequestIDFrom(inner))
		return nil
	}))
	ctx := context.WithValue(t.Context(), key{}, "kept")
	call := func(m *subprotocol.Message) string {
		require.NoError(t, h.Handle(ctx, request(m)))
		return id
	}
	require.Equal(t, "r", call(&subprotocol.Message{Receipt: "r", ID: "i"}))
	require.Equal(t, "i", call(&subprotocol.Message{ID: "i"}))
	require.Equal(t, "a?b", call(&subprotocol.Message{ID: "a\nb"}))
	require.Len(t, call(&subprotocol.Message{ID: strings.Repeat("x", 1000)}), 203)
	first, second := call(&subprotocol.Message{}), call(&subprotocol.Message{})
	require.Regexp(t, `^[A-Z2-7]{8}-1$`, first)
	require.Equal(t, strings.TrimSuffix(first, "1")+"2", second)
	require.Empty(t, middleware.RequestIDFrom(context.Background()))
}

func TestRequestIDAllocations(t *testing.T) {
	h := middleware.RequestID(handler.HandlerFunc(nothing))
	r := request(&subprotocol.Message{})
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _ = h.Handle(context.Background(), r) }), 1.0)
}
