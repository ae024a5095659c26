package middleware

import (
	"context"
	"errors"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// Timeout gives the handlers behind it a context that ends after d. A handler that
// returns the context's error then has its client shown an Error with the code
// "timeout"; the session lives on, except that a Connect is refused. Other errors
// pass as they are.
//
// It starts no goroutine: a handler that does not look at its context is not
// interrupted, and its result counts however late it is. Disconnect passes without
// a deadline, because the context of a session that has ended is done already.
//
// It belongs inside of MaxInFlight, whose waiting would count otherwise, and
// outside of Authenticate, whose verifying should. It panics if d is not positive.
func Timeout(d time.Duration) func(handler.Handler) handler.Handler {
	if d <= 0 {
		panic("middleware: Timeout must be positive")
	}
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindDisconnect {
				return next.Handle(ctx, r)
			}
			own, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			err := next.Handle(own, r)
			if !errors.Is(err, context.DeadlineExceeded) || own.Err() == nil || ctx.Err() != nil {
				return err
			}
			if _, ok := errors.AsType[*subprotocol.Error](err); ok {
				return err
			}
			return &refusal{
				shown: &subprotocol.Error{Code: "timeout", Text: "the message was not handled in time"},
				cause: err,
			}
		})
	}
}
