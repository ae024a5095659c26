package transport

import (
	"context"
	"time"
)

// A Conn is one open connection. Writes go through Write; what comes in is pushed
// into the Receiver that was given when the Conn was opened. Nothing on a Conn
// waits for the peer.
//
// One goroutine at a time may call Write; every other method may be called from
// any goroutine at any time, also while a Write runs and from inside Receive,
// Writable and Closed.
type Conn interface {
	// Write takes messages from the front of batch and returns how many it took.
	// It never waits for the peer: fewer than len(batch) with a nil error means
	// that there is no room now. Keep the rest and write again after
	// Receiver.Writable, which comes once for each such Write.
	//
	// A message is taken whole or not at all. A transport that could send only a
	// part of one keeps what is left (of at most one message), sends that first
	// and takes nothing before it is gone. A control frame may go between two
	// messages, never into one.
	//
	// Head and Data are the caller's again when Write returns; the transport
	// copies what it still needs. A Shared is immutable and may be kept. Taken
	// does not mean received.
	//
	// After an error nothing more is taken, and Writable does not come; Closed
	// does. Such errors unwrap to net.ErrClosed. A message that can't be sent at
	// all (a type that the transport does not carry) is an error that does not,
	// and leaves the connection as it was.
	Write(batch []Message) (accepted int, err error)

	// Close sends what was taken, then a close frame with code and reason where
	// the transport has one, and ends the connection within the transport's
	// CloseTimeout. What was never taken is the caller's, and what the peer sends
	// from here on may be dropped. It returns at once.
	//
	// Only the first Close counts; later ones return an error that unwraps to
	// net.ErrClosed. A code that may not be sent (1005, 1006, 1015, or out of
	// range) or a reason over 123 bytes is an error, and nothing happens.
	Close(code StatusCode, reason string) error

	// SubProtocol is the one that both sides agreed on, "" for none.
	SubProtocol() string
}

// A Receiver is pushed what happens on one Conn. Receive and Closed run application
// code and may take long, or end their goroutine: no other connection may wait for
// them.
type Receiver interface {
	// Receive is called for one message at a time, in the order of arrival. The
	// transport reads no further until Receive returns, or until the receiver
	// calls Yield on the Conn. m.Data is valid until Receive returns, in either
	// case; whoever needs it longer copies it. The receiver may change the bytes
	// of m.Data meanwhile, and append to it. m.Head and m.Shared are empty.
	Receive(m Message)

	// Writable says that a Write that took less than all may be tried again. It
	// comes once for each such Write, from any goroutine, possibly before that
	// Write has returned: remember it, or the wake-up is lost. It must not block
	// and must not write on the caller's goroutine.
	Writable()

	// Closed comes exactly once, after the last Receive has returned or yielded, and
	// no call follows; a Receive that has yielded may still be running. err says why and
	// unwraps to net.ErrClosed: a *CloseError is what the peer said, an
	// *EndError what was found or done on this side.
	Closed(err error)
}

// A Yielder is a Conn whose reader can be handed over.
type Yielder interface {
	// Yield, while Receive runs, makes the transport go on reading elsewhere: a
	// next Receive may be entered before this one returns. The goroutine that
	// runs Receive is the receiver's until it returns. Yield may be called from
	// any goroutine; at most one call counts for each Receive, and outside
	// of Receive it does nothing. It reports whether it took effect.
	Yield() bool
}

// A Pauser is a Conn whose reading can be stopped: the inbound back-pressure.
type Pauser interface {
	// Pause stops deliveries: once it returns no further Receive is entered
	// before Resume, except one that was being entered meanwhile. Control frames that were already
	// read are answered. Silence while paused is not held against the peer: the
	// transport's own read deadlines are suspended. Pausing twice is one pause.
	Pause()

	// Resume ends the pause; without one it does nothing. It does not block, and
	// Receive is never called from inside it.
	Resume()
}

// A Pinger is a Conn that can ask its peer for a sign of life.
type Pinger interface {
	// Ping sends a ping and waits for its pong. It returns the time between them,
	// or an error when ctx or the connection ends first. Any number may run at
	// once.
	Ping(ctx context.Context) (time.Duration, error)
}

// A RoundTripTimer is a Conn that measures its round trips by itself.
type RoundTripTimer interface {
	// RoundTrip is the latest measured round trip, 0 before the first.
	RoundTrip() time.Duration
}
