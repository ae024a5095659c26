package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

func TestTrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		var seen []string
		n := 0
		hooks := middleware.TraceHooks{
			Start: func(ctx context.Context, r handler.Request) context.Context {
				n++
				return context.WithValue(ctx, key{}, fmt.Sprint(r.Message.Kind.String(), n))
			},
			End: func(ctx context.Context, _ handler.Request, err error) {
				seen = append(seen, fmt.Sprint(ctx.Value(key{}), " ", err))
			},
		}
		outbound := middleware.OutboundHooks{
			Start: func(ctx context.Context, o handler.Outgoing) (context.Context, handler.Outgoing) {
				if o.Message.Kind == subprotocol.KindReply {
					m := o.Message.Clone()
					m.Body = append(m.Body, "!"...)
					o.Message = m
				}
				return context.WithValue(ctx, key{}, "out"), o
			},
			End: func(ctx context.Context, o handler.Outgoing, status handler.Status, err error) {
				seen = append(seen, fmt.Sprint(ctx.Value(key{}), " ", o.Message.Kind, " ", status, " ", err, " ", string(o.Message.Body)))
			},
		}
		s := newStack(t, func(ctx context.Context, r handler.Request) error {
			seen = append(seen, fmt.Sprint("handle ", ctx.Value(key{})))
			switch r.Message.Destination {
			case "/fails":
				return errors.New("failed")
			case "/panics":
				panic("oops")
			case "/replies":
				_, err := r.Reply(&subprotocol.Message{Body: []byte("x")})
				return err
			}
			return nil
		}, handler.WithMiddleware(middleware.Trace(hooks)), handler.WithOutbound(middleware.TraceOutbound(outbound)))
		c := s.dial()
		for _, d := range []string{"/replies", "/fails", "/panics"} {
			c.send(`{"type":"send","destination":"` + d + `","receipt":"1"}`)
		}
		<-c.gone
		require.Equal(t, []string{"connected", "reply", "internal"}, c.codes())
		const aborted = "middleware: the handler panicked or ended its goroutine"
		require.Equal(t, []string{
			"handle CONNECT1", "CONNECT1 <nil>", "out CONNECTED sent <nil> ",
			"handle SEND2", "out REPLY sent <nil> x!", "SEND2 <nil>",
			"handle SEND3", "SEND3 failed", "out ERROR sent <nil> ",
			"handle SEND4", "SEND4 " + aborted,
			"handle DISCONNECT5", "DISCONNECT5 <nil>",
		}, seen)
	})
}

// TestTraceOfNothing: without hooks there is no middleware.
func TestTraceOfNothing(t *testing.T) {
	t.Parallel()
	pointer := func(v any) uintptr { return reflect.ValueOf(v).Pointer() }
	h := handler.HandlerFunc(nothing)
	require.Equal(t, pointer(h), pointer(middleware.Trace(middleware.TraceHooks{})(h)))
	f := handler.SenderFunc(func(handler.Outgoing) (handler.Status, error) { return handler.Sent, nil })
	require.Equal(t, pointer(f), pointer(middleware.TraceOutbound(middleware.OutboundHooks{})(f)))
	called := false
	half := middleware.Trace(middleware.TraceHooks{Start: func(ctx context.Context, _ handler.Request) context.Context { called = true; return ctx }})(h)
	require.NoError(t, half.Handle(t.Context(), request(new(subprotocol.Message))))
	require.True(t, called)
}
