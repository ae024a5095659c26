package subprotocol

import (
	"fmt"

	"github.com/weftws/weft/transport"
)

// A SubProtocol is a wire format: it says how transport messages become Messages
// and back. It is immutable once made and safe for concurrent use.
type SubProtocol interface {
	// Names are the Sec-WebSocket-Protocol tokens that it answers to, best first.
	// None means that it serves only clients that ask for no sub-protocol. They
	// are constant, and the slice is the caller's.
	Names() []string

	// NewFramer makes the state of one connection. name is one of Names, or "" for
	// a client that asked for none.
	NewFramer(name string, cfg FramerConfig) Framer
}

// FramerConfig is what a connection asks of its framer.
type FramerConfig struct {
	// Client reports that this side dialled.
	Client bool

	// TextOnly reports that the transport carries no binary messages.
	TextOnly bool

	// MaxFrame bounds one incoming frame of the sub-protocol in bytes; 0 means the
	// sub-protocol's own default, a negative value that the transport's bound is
	// enough. A larger frame is a fatal *Error with status
	// transport.StatusMessageTooBig.
	MaxFrame int
}

// A Framer is the wire format at work on one connection. It does no I/O, asks no
// clock, starts no goroutine, and holds the state of one connection only; the same
// code serves servers and clients.
type Framer interface {
	// Decode reads one transport message and emits what it holds, in order: no
	// message, one, or many; at most one of them a Heartbeat. It is called on one
	// goroutine at a time.
	//
	// The Message that it emits, and all that it points to, is valid until Emit
	// returns; Body may lie in m.Data. An error of Emit ends Decode at once and is
	// returned unchanged. Bytes that break the wire format are a *Error; after a
	// fatal one Decode is not called again. Decode never panics, whatever comes.
	Decode(m transport.Message, sink Sink) error

	// Append encodes m behind dst and returns the longer slice and the message
	// type that carries it. It changes neither m nor the first len(dst) bytes, and
	// keeps nothing of either. A Message that this wire format can't express is an
	// error; dst is returned as it was, with message type 0.
	//
	// Append may be called from any goroutine and while Decode runs, once
	// Connected has been appended (or from the start, where there is no connect
	// exchange). Before that only Connected or an Error may be appended, on
	// Decode's goroutine.
	Append(dst []byte, m *Message) ([]byte, transport.MessageType, error)

	// Features are what this sub-protocol has, in the version that this
	// connection speaks. They are constant once Connected has been appended.
	Features() Features
}

// A Sink takes what Decode finds. The session is one.
type Sink interface {
	// Emit handles m before it returns. An error says that nothing more is wanted.
	Emit(m *Message) error
}

// Features are what a sub-protocol has. What it lacks the session does not do.
type Features struct {
	// Boundaries: frames end where transport messages end, so that a transport
	// without boundaries can't carry them.
	Boundaries bool

	// Binary: frames are binary messages, so that a transport that carries only text
	// can't carry them.
	Binary bool

	// Connect: a connection begins with Connect, answered by Connected.
	Connect bool

	// Reconnect: Connect may come again on a live session, with fresh credentials,
	// and is answered by another Connected or by an Error.
	Reconnect bool

	// Subscriptions: there are Subscribe, Unsubscribe and Deliver.
	Subscriptions bool

	// Replies: a Reply is tied to its request by its Receipt, and takes the place of
	// the Receipt that the request asked for.
	Replies bool

	// FatalErrors: an Error is the last that its sender says, whatever it is about, so
	// that the session closes after each.
	FatalErrors bool

	// Receipts, Acks, Nacks, Transactions, Errors, Heartbeats and Disconnect
	// report which of these kinds the wire format has.
	Receipts, Acks, Nacks, Transactions, Errors, Heartbeats, Disconnect bool
}

// A Former is a Framer whose encoding depends on less than the connection. Two
// framers of one SubProtocol whose Forms are equal encode every Message
// alike, so that a publication is encoded once for both. Form is comparable and
// of a type of the sub-protocol's own, and constant once Connected has been appended.
type Former interface {
	Form() any
}

// A Splitter is a Framer that writes a Deliver in two parts. The head
// names the subscription and whatever else is this receiver's, the tail is the
// same for all receivers of one form; head followed by tail is what Append
// writes.
type Splitter interface {
	// AppendHead encodes the receiver's part of m behind dst.
	AppendHead(dst []byte, m *Message) ([]byte, error)
	// AppendTail encodes the part of m that all receivers have in common.
	AppendTail(dst []byte, m *Message) ([]byte, transport.MessageType, error)
}

// A Partialer is a Framer whose frames may be spread over transport messages.
type Partialer interface {
	// Partial is how many bytes of a frame that is not complete are held. It lets
	// the session bound them in time.
	Partial() int
}

// Error is a broken rule of the wire format, or a refusal in a sub-protocol's own
// words. The session shows it to the peer, where the sub-protocol has errors, and
// closes after a fatal one.
type Error struct {
	// Code is a short constant word for programs: "malformed", "too-large".
	Code string

	// Text is one sentence for a person. It is shown to the peer.
	Text string

	// Receipt and Subscription tie the error to a request or to a subscription.
	Receipt, Subscription string

	// Fatal: the connection can't go on.
	Fatal bool

	// Status is the close status after a fatal error; 0 means
	// transport.StatusProtocolError.
	Status transport.StatusCode
}

// Error names the code and the text.
func (e *Error) Error() string {
	return fmt.Sprintf("subprotocol: %s: %s", e.Code, e.Text)
}
