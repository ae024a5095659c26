package client

import (
	"errors"
	"fmt"
	"net"

	"github.com/weftws/weft/subprotocol"
)

var (
	// ErrClosed: the client is closed, by Close or because it gave up. It unwraps to
	// net.ErrClosed; Client.Err says why.
	ErrClosed error = overError("client: closed")

	// ErrConnectionLost: the connection ended after a request had gone out and before
	// its answer came: it is not known whether the request took effect. It unwraps to
	// net.ErrClosed.
	ErrConnectionLost error = overError("client: connection lost, not known whether the request took effect")

	// ErrStale: a delivery or a transaction belongs to a connection that has ended. The
	// server has forgotten it: nothing was done, and what was delivered may come again.
	// It unwraps to net.ErrClosed.
	ErrStale error = overError("client: belongs to an earlier connection")

	// ErrEnded: the server has ended the subscription.
	ErrEnded = errors.New("client: the server ended the subscription")

	// ErrQueueFull: there is no connection, and as much is queued for the next one as
	// Options allow.
	ErrQueueFull = errors.New("client: queue is full")

	// ErrNoReply: the server has handled a request and answered nothing but that.
	ErrNoReply = errors.New("client: the server gave no reply")

	// ErrNoAck: an Ack or Nack of a delivery that wants none.
	ErrNoAck = errors.New("client: this delivery is not to be acknowledged")
)

// overError is an error that says that something is over.
type overError string

func (e overError) Error() string { return string(e) }
func (overError) Unwrap() error   { return net.ErrClosed }

// errStopped ends a Decode whose connection is given up.
var errStopped = errors.New("client: connection given up")

// ServerError is what the server said in an Error. It unwraps to the
// *subprotocol.Error.
type ServerError struct {
	// Message is the whole of it: header and body may say more than its Error does.
	Message *subprotocol.Message

	// Refused: it was the answer to Connect.
	Refused bool
}

// Error has the code and the text, which are the server's.
func (e *ServerError) Error() string {
	what := "the server reports"
	if e.Refused {
		what = "the server refused the connection"
	}
	return fmt.Sprintf("client: %s %q: %q", what, e.Message.Error.Code, e.Message.Error.Text)
}

// Unwrap returns the *subprotocol.Error.
func (e *ServerError) Unwrap() error { return e.Message.Error }

func serverError(m *subprotocol.Message) *ServerError {
	e := &ServerError{Message: m.Clone()}
	if e.Message.Error == nil {
		e.Message.Error = &subprotocol.Error{Code: "unknown"}
	}
	return e
}

// unsupported says that the sub-protocol lacks something.
func unsupported(what string) error {
	return fmt.Errorf("client: the sub-protocol has no %s: %w", what, errors.ErrUnsupported)
}
