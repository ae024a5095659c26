package middleware

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/weftws/weft/handler"
)

// PanicError is what Recover makes of a panic. It unwraps to nothing, so that a
// panic with an error never shows that error to the client.
type PanicError struct {
	// Value is what was panicked with.
	Value any
	// Stack is the goroutine's, as debug.Stack returns it.
	Stack []byte
}

// Error has the value.
func (e *PanicError) Error() string { return fmt.Sprintf("middleware: panic: %v", e.Value) }

// Recover turns a panic of the handlers behind it into a *PanicError. The client
// learns only that there was an error, and its session lives on; without Recover a
// panic ends the session with status 1011. A Connect whose handler panics is
// refused. The endpoint's Hooks.HandlerError and Log see the PanicError.
//
// A panic with http.ErrAbortHandler passes, for handlers that want the session
// ended; so does runtime.Goexit.
//
// It belongs inside of Trace and Log, and outside of everything that may panic.
func Recover(next handler.Handler) handler.Handler { return RecoverWith(nil)(next) }

// RecoverWith is Recover and calls report for each panic, on the goroutine that
// panicked; r is valid until report returns. A nil report is nobody. A panic of
// report's own ends the session.
func RecoverWith(report func(ctx context.Context, r handler.Request, value any, stack []byte)) func(handler.Handler) handler.Handler {
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) (err error) {
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if v == http.ErrAbortHandler { //nolint:errorlint // a panic with what wraps it is a bug like any other
					panic(v)
				}
				stack := debug.Stack()
				err = &PanicError{Value: v, Stack: stack}
				if report != nil {
					report(ctx, r, v, stack)
				}
			}()
			return next.Handle(ctx, r)
		})
	}
}
