package transport

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"unicode/utf8"
)

// StatusCode is the code of a close frame (RFC 6455 section 7.4).
type StatusCode uint16

// The registered codes. Applications use 4000 to 4999, libraries 3000 to 3999.
const (
	StatusNormalClosure      StatusCode = 1000
	StatusGoingAway          StatusCode = 1001
	StatusProtocolError      StatusCode = 1002
	StatusUnsupportedData    StatusCode = 1003
	StatusNoStatusReceived   StatusCode = 1005 // never sent: a close frame without a code
	StatusAbnormalClosure    StatusCode = 1006 // never sent: no close frame at all
	StatusInvalidPayloadData StatusCode = 1007
	StatusPolicyViolation    StatusCode = 1008
	StatusMessageTooBig      StatusCode = 1009
	StatusMandatoryExtension StatusCode = 1010
	StatusInternalError      StatusCode = 1011
	StatusServiceRestart     StatusCode = 1012
	StatusTryAgainLater      StatusCode = 1013
	StatusBadGateway         StatusCode = 1014
	StatusTLSHandshake       StatusCode = 1015 // never sent
)

// MaxCloseReason is how many bytes a close reason may have.
const MaxCloseReason = 123

// Sendable reports whether c may stand in a close frame.
func (c StatusCode) Sendable() bool {
	switch {
	case c >= 3000 && c <= 4999:
		return true
	case c == StatusNoStatusReceived || c == StatusAbnormalClosure || c == 1004:
		return false
	default:
		return c >= StatusNormalClosure && c <= StatusBadGateway
	}
}

// CheckClose returns the error that Conn.Close has for a code or a reason that
// may not be sent, nil for good ones.
func CheckClose(code StatusCode, reason string) error {
	switch {
	case !code.Sendable():
		return fmt.Errorf("transport: close code %d may not be sent", code)
	case len(reason) > MaxCloseReason:
		return fmt.Errorf("transport: close reason has %d bytes, the limit is %d", len(reason), MaxCloseReason)
	case !utf8.ValidString(reason):
		return errors.New("transport: close reason is not UTF-8")
	}
	return nil
}

// CloseError is how the peer ended the connection: with a close frame. Code is
// StatusNoStatusReceived if the frame had none. It unwraps to net.ErrClosed.
type CloseError struct {
	Code   StatusCode
	Reason string
}

// Error names the code and quotes the reason, which is the peer's text.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("transport: closed by peer with status %d", e.Code)
	}
	return fmt.Sprintf("transport: closed by peer with status %d: %q", e.Code, e.Reason)
}

// Unwrap returns net.ErrClosed.
func (e *CloseError) Unwrap() error { return net.ErrClosed }

// EndError is how this side ended the connection, or found it ended: Close was
// called, the peer broke a rule or a limit, or the network failed. It unwraps to
// net.ErrClosed and to Err.
type EndError struct {
	// Code is what was sent to the peer, StatusAbnormalClosure if nothing was.
	Code StatusCode

	// Err is the cause: ErrLocalClose, a broken rule, or an I/O error.
	Err error
}

// Error names the code and the cause.
func (e *EndError) Error() string {
	return fmt.Sprintf("transport: ended with status %d: %v", e.Code, e.Err)
}

// Unwrap returns net.ErrClosed and e.Err.
func (e *EndError) Unwrap() []error { return []error{net.ErrClosed, e.Err} }

// The causes that an EndError has besides I/O errors and broken rules of a
// transport's own protocol.
var (
	// ErrLocalClose: Close was called on this side and ended the connection.
	ErrLocalClose = errors.New("closed on this side")
	// ErrMessageTooBig: the peer sent a message over the limit.
	ErrMessageTooBig = errors.New("message over the size limit")
	// ErrTimeout: the peer did not do in time what it had to do.
	ErrTimeout = errors.New("peer timed out")
)

// CloseStatus returns the code of the CloseError in err, 0 if there is none.
func CloseStatus(err error) StatusCode {
	if ce, ok := errors.AsType[*CloseError](err); ok {
		return ce.Code
	}
	return 0
}

// Refusal is a handshake that ends with an HTTP answer instead of a connection.
// An Acceptor returns it to refuse, a Dialer when it was refused.
type Refusal struct {
	// Status is the HTTP status, 400 to 599.
	Status int

	// Text is the body of the answer: one sentence for a person, without the
	// server's secrets. A Dialer returns at most 1024 bytes of what came.
	Text string

	// Header is added to the answer.
	Header http.Header
}

// Error names the status and the text.
func (e *Refusal) Error() string {
	return fmt.Sprintf("transport: handshake refused with status %d: %q", e.Status, e.Text)
}
