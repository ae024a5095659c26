package middleware_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// on calls f for messages of one kind.
func on(kind subprotocol.Kind, f handler.HandlerFunc) handler.HandlerFunc {
	return func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind != kind {
			return nil
		}
		return f(ctx, r)
	}
}

func TestRecover(t *testing.T) {
	// What a panic's value is must not reach the client, whatever errors.As finds in it.
	for name, v := range map[string]any{
		"text":     "secret",
		"error":    errors.New("secret"),
		"typed":    &subprotocol.Error{Code: "secret", Text: "secret", Fatal: true},
		"closed":   net.ErrClosed,
		"no value": nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told any
				var hooked error
				s := newStack(t, on(subprotocol.KindSend, func(context.Context, handler.Request) error { panic(v) }),
					handler.WithMiddleware(middleware.RecoverWith(func(_ context.Context, r handler.Request, value any, stack []byte) {
						require.Equal(t, "/app/x", r.Message.Destination)
						require.Contains(t, string(stack), "recover_test.go")
						told = value
					})),
					handler.WithHooks(handler.Hooks{HandlerError: func(_ *handler.Session, _ *subprotocol.Message, err error) { hooked = err }}))
				c := s.dial()
				c.send(send)
				got := c.all()
				require.Len(t, got, 2)
				require.Equal(t, frame{Type: "error", Code: "internal", Message: "the message could not be handled", Receipt: "1"}, got[1])
				require.True(t, c.alive())
				require.NotNil(t, told)
				p, ok := errors.AsType[*middleware.PanicError](hooked)
				require.True(t, ok)
				require.Equal(t, told, p.Value)
				require.NotEmpty(t, p.Stack)
				require.Zero(t, s.ep.Stats().Panics)
				c.leave()
			})
		})
	}
}

func TestRecoverElsewhere(t *testing.T) {
	for _, kind := range []subprotocol.Kind{subprotocol.KindConnect, subprotocol.KindDisconnect} {
		t.Run(kind.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newStack(t, on(kind, func(context.Context, handler.Request) error { panic("oops") }),
					handler.WithMiddleware(middleware.Recover))
				c := s.dial()
				if kind == subprotocol.KindConnect {
					require.Equal(t, []string{"refused"}, c.codes())
					<-c.gone
					require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
				} else {
					c.leave()
				}
				synctest.Wait()
				require.EqualValues(t, 1, s.ep.Stats().HandlerErrors)
				require.Zero(t, s.ep.Stats().Panics)
				require.Zero(t, s.ep.Stats().Live)
			})
		})
	}
}

// TestRecoverLetsPass: who wants the session ended gets that.
func TestRecoverLetsPass(t *testing.T) {
	for name, f := range map[string]func(){
		"abort":  func() { panic(http.ErrAbortHandler) },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told bool
				s := newStack(t, on(subprotocol.KindSend, func(context.Context, handler.Request) error { f(); return nil }),
					handler.WithMiddleware(middleware.RecoverWith(func(context.Context, handler.Request, any, []byte) { told = true })))
				c := s.dial()
				c.send(send)
				<-c.gone
				require.EqualValues(t, 1011, transport.CloseStatus(c.closed))
				synctest.Wait()
				require.False(t, told)
				require.EqualValues(t, 1, s.ep.Stats().Panics)
			})
		})
	}
}
