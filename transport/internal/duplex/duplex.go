// Package duplex is the life of a WebSocket connection (RFC 6455), apart from how its
// frames are read and messages are encoded, which is the engine's part: the turn of
// the reader, pauses and deadlines, what waits to be sent, control frames, the
// keep-alive and the end.
package duplex

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Conn is embedded in an engine's connection. One goroutine reads; whoever has
// something to send writes it itself, without waiting, under a lock. What the socket
// refuses is sent by a goroutine that lives as long as the refusal.
type Conn struct {
	limits *Limits
	engine Engine // set by Open
	stream wire.Stream
	sub    string

	// Client says which side this is.
	Client bool

	// The reader's.
	limited bool        // a read deadline is set
	In      wire.Buffer // what was read and not yet parsed

	// turn is odd while Receive runs. The reader makes it odd; whoever adds one to
	// that odd number first, the reader after Receive or Yield, decides who reads on.
	turn    atomic.Uint64
	alive   atomic.Bool // something came since the last ping of the keep-alive
	paused  atomic.Bool
	excused atomic.Bool // a Pause came since the read deadline was set
	stopped atomic.Bool // there is a cause: what comes is dropped

	mu   sync.Mutex
	recv transport.Receiver // nil until Open has returned

	// What must be sent before anything else, under mu; while waiting, rest and
	// tail are the waiter's.
	rest    []byte // of the message that was sent in part
	piece   []byte // the memory of rest, if it is to be given back
	tail    []byte // behind rest; bytes that never change
	pong    []byte // answers to pings
	control []byte // pings and the close frame
	writing bool   // a Write is between two system calls
	waiting bool   // the waiter runs; nobody else writes
	asked   bool   // a ping of the keep-alive waits for any sign of life
	want    int    // calls of Writable that are owed: one for each short Write
	calling int    // waiters in Writable

	// The end, under mu.
	cause      error // of Closed; the first one counts, and nothing is taken any more
	closeTimer *time.Timer
	settled    chan struct{} // if not nil, closed when the waiter or a Write has ended
	resume     chan struct{} // if not nil, closed by Resume and at the end

	// The keep-alive and Ping, under mu.
	keepAlive *time.Timer
	pingID    uint64
	autoPing  uint64 // the keep-alive's latest
	autoAt    time.Time
	pings     map[uint64]*ping
	roundTrip atomic.Int64
}

// An Engine is a connection that embeds a Conn.
type Engine interface {
	transport.Conn

	// ReadOn starts a goroutine that reads and delivers, until Deliver says that it is
	// not the reader any more, or until Lost, Violated or Closed has returned. The
	// memory of the message in Receive is left to whoever still looks at it.
	ReadOn()
}

var (
	_ transport.Yielder        = (*Conn)(nil)
	_ transport.Pauser         = (*Conn)(nil)
	_ transport.Pinger         = (*Conn)(nil)
	_ transport.RoundTripTimer = (*Conn)(nil)
)

// Init makes c a connection over nc, whose handshake is done; early is what the peer
// sent behind it.
func (c *Conn) Init(nc net.Conn, l *Limits, sub string, client bool, early []byte) {
	wire.SetNotSentLowat(nc, l.NotSentLowat)
	c.limits, c.stream, c.sub, c.Client = l, wire.New(nc), sub, client
	c.In.Preload(early)
}

// Open hands e, which embeds c, over and begins to read.
func (c *Conn) Open(e Engine, open func(transport.Conn) transport.Receiver) {
	c.engine = e
	recv := open(e)

	c.mu.Lock()
	c.recv = recv
	if c.limits.PingInterval > 0 && c.cause == nil {
		c.keepAlive = time.AfterFunc(c.limits.PingInterval, c.tick)
	}
	owed := 0
	if !c.waiting {
		owed, c.want = c.want, 0
	}
	c.mu.Unlock()
	for range owed {
		recv.Writable()
	}
	e.ReadOn()
}

// SubProtocol implements transport.Conn.
func (c *Conn) SubProtocol() string { return c.sub }

// Close implements transport.Conn.
func (c *Conn) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.end(&transport.EndError{Code: code, Err: transport.ErrLocalClose})
	c.sendClose(code, reason)
	return nil
}

// end makes err the cause, if it is the first, and lets nothing more be taken. The
// caller holds mu.
func (c *Conn) end(err error) {
	if c.cause == nil {
		c.cause = err
	}
	c.stopped.Store(true)
	c.want = 0
	c.wakePaused()
}

// broken ends the connection without a close frame; the reader finds out. The caller
// holds mu.
func (c *Conn) broken(err error) {
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	go c.drop() // closing waits for system calls under way, the lock must not
}

// drop closes the socket. TLS would say goodbye first, but not while a goroutine
// of ours is stuck in a write.
func (c *Conn) drop() { _ = c.stream.Conn().Close() }

// sendClose queues the close frame behind what was taken, and gives the peer
// CloseTimeout from now for all that is left. The caller holds mu and has called
// end.
func (c *Conn) sendClose(code transport.StatusCode, reason string) {
	if c.closeTimer != nil {
		return
	}
	c.closeTimer = time.AfterFunc(c.limits.CloseTimeout, c.drop)
	var body []byte
	if code != transport.StatusNoStatusReceived {
		body = append([]byte{byte(code >> 8), byte(code)}, reason...)
	}
	c.control = c.appendControl(c.control, opClose, body)
	c.flushControl()
}

// Lost ends the connection after a failed read.
func (c *Conn) Lost(err error) {
	switch {
	case c.limited && errors.Is(err, os.ErrDeadlineExceeded) && !c.stopped.Load():
		c.fail(transport.StatusPolicyViolation, "message not complete in time", errSlow)
		return
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, net.ErrClosed):
		err = errDropped
	}
	c.mu.Lock()
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	c.mu.Unlock()
	c.finish()
}

// Violated ends the connection after the peer broke a rule.
func (c *Conn) Violated(v *Violation) {
	var err error = v
	if v.Status == transport.StatusMessageTooBig {
		err = transport.ErrMessageTooBig
	}
	c.fail(v.Status, v.Text, err)
}

// fail sends a close frame, lets the peer read it, and ends.
func (c *Conn) fail(status transport.StatusCode, reason string, err error) {
	c.mu.Lock()
	c.end(&transport.EndError{Code: status, Err: err})
	c.sendClose(status, reason)
	c.mu.Unlock()
	c.awaitFlush()
	// A socket that is closed with unread bytes is reset, and the peer might never
	// see the close frame: read on, and drop what comes.
	_ = wire.CloseWrite(c.stream.Conn())
	c.drain()
	c.finish()
}

// Closed answers the peer's close frame (section 5.5.1) and ends.
func (c *Conn) Closed(ce *transport.CloseError) {
	c.mu.Lock()
	c.end(ce)
	c.sendClose(ce.Code, "")
	c.mu.Unlock()
	c.awaitFlush()
	switch half, ok := c.stream.Conn().(interface{ CloseWrite() error }); {
	case c.Client:
		c.drain() // the server closes first (section 7.1.1)
	case ok:
		// Bytes behind the peer's close frame would turn ours into a reset.
		_ = half.CloseWrite()
		c.drain()
	}
	c.finish()
}

// awaitFlush waits until what was taken has left the process, for WriteTimeout or
// CloseTimeout at most.
func (c *Conn) awaitFlush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting || c.writing {
		c.awaitSettled()
	}
}

// awaitSettled waits until the waiter or a Write has ended. The caller holds mu.
func (c *Conn) awaitSettled() {
	if c.settled == nil {
		c.settled = make(chan struct{})
	}
	settled := c.settled
	c.mu.Unlock()
	<-settled
	c.mu.Lock()
}

// settle wakes who waits for the waiter or for a Write. The caller holds mu.
func (c *Conn) settle() {
	if c.settled != nil && !c.waiting {
		close(c.settled)
		c.settled = nil
	}
}

// maxDrain bounds what is read for nothing from a peer that broke a rule.
const maxDrain = 32 << 20

// drain reads until the peer closes its side; the close timer bounds it.
func (c *Conn) drain() {
	_ = c.stream.Conn().SetReadDeadline(wire.Deadline(c.limits.CloseTimeout))
	c.In.More = true
	for n := 0; n < maxDrain; {
		n += c.In.Len()
		c.In.Consume(c.In.Len())
		if c.stream.Read(&c.In) != nil {
			return
		}
	}
}

// finish ends the connection: it is the last thing that the reader does.
func (c *Conn) finish() {
	c.drop()
	c.mu.Lock()
	if c.closeTimer != nil {
		c.closeTimer.Stop()
	}
	if c.keepAlive != nil {
		c.keepAlive.Stop()
	}
	for id, p := range c.pings {
		delete(c.pings, id)
		close(p.done)
	}
	for c.waiting || c.writing || c.calling > 0 {
		c.awaitSettled()
	}
	c.rest, c.piece, c.tail, c.pong, c.control = nil, nil, nil, nil, nil
	err := c.cause
	c.mu.Unlock()
	c.In.Release()
	c.recv.Closed(err)
}

// Cut ends the connection as a failing network does, once what was taken has left.
func (c *Conn) Cut() {
	c.awaitFlush()
	c.drop()
}

// Violation is a rule that the peer broke, and the status that it is told.
type Violation struct {
	Status transport.StatusCode
	Text   string
}

func (v *Violation) Error() string { return v.Text }

// The violations that both engines find by themselves.
var (
	ErrReservedLength = &Violation{transport.StatusProtocolError, "64-bit frame length has its highest bit set"}
	ErrLongLength     = &Violation{transport.StatusProtocolError, "frame length is not in its shortest form"}
	ErrCloseLength    = &Violation{transport.StatusProtocolError, "close frame has a body of one byte"}
	ErrText           = &Violation{transport.StatusInvalidPayloadData, "text message is not UTF-8"}
	ErrReason         = &Violation{transport.StatusInvalidPayloadData, "close reason is not UTF-8"}
	ErrTooBig         = &Violation{transport.StatusMessageTooBig, transport.ErrMessageTooBig.Error()}
)

var (
	errDropped = errors.New("socket closed")
	errSilent  = &timeout{"no sign of life after a ping"}
	errSlow    = &timeout{"message not complete in time"}
	errStalled = &timeout{"peer takes nothing"}
)

// timeout says what a peer did not do in time.
type timeout struct{ text string }

func (e *timeout) Error() string { return e.text + ": " + transport.ErrTimeout.Error() }
func (e *timeout) Unwrap() error { return transport.ErrTimeout }
