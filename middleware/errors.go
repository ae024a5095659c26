package middleware

import (
	"errors"

	"github.com/weftws/weft/subprotocol"
)

// errAborted stands for the error of a handler that did not return.
var errAborted = errors.New("middleware: the handler panicked or ended its goroutine")

// refusal is an error of which the client sees only shown, while hooks and logs see
// the cause too.
type refusal struct {
	shown *subprotocol.Error
	cause error
}

func (r *refusal) Error() string { return r.shown.Error() + ": " + r.cause.Error() }

// Unwrap has shown first: the session shows the first *subprotocol.Error that it
// finds, and the cause may have another.
func (r *refusal) Unwrap() []error { return []error{r.shown, r.cause} }

// counts reports whether a limit applies to messages of this kind by default. The
// others take something back or settle it, so that refusing them makes matters
// worse.
func counts(k subprotocol.Kind) bool {
	return k == subprotocol.KindConnect || k == subprotocol.KindSend || k == subprotocol.KindSubscribe
}
