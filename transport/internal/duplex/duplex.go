// Package duplex is the life of a connection, apart from how its bytes are read and its
// messages are encoded, which is the engine's part.
//
// [Conn] has what any connection needs: the turn of the reader, pauses, what waits to be
// sent, and the end. [WebSocket] (RFC 6455) is a Conn with control frames, the
// keep-alive, a deadline for what is read, and the closing handshake.
package duplex

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Conn is embedded in an engine's connection. One goroutine reads; whoever has
// something to send writes it itself, without waiting, under a lock. What the socket
// refuses is sent by a goroutine, the waiter, that lives as long as the refusal.
type Conn struct {
	limits *Limits
	engine Engine // set by Open
	sub    string

	// Stream is for the reader to read from; whoever writes has methods for it.
	Stream wire.Stream
	In     wire.Buffer // the reader's: what was read and not yet used

	// turn is odd while Receive runs. The reader makes it odd; whoever adds one to
	// that odd number first, the reader after Receive or Yield, decides who reads on.
	turn    atomic.Uint64
	alive   atomic.Bool // something came since a WebSocket's last ping
	paused  atomic.Bool
	stopped atomic.Bool // there is a cause: what comes is dropped

	mu   sync.Mutex
	recv transport.Receiver // nil until Open has returned

	// What must be sent before anything else, under mu; while waiting, rest and
	// tail are the waiter's.
	rest    []byte // of the message that was sent in part
	piece   []byte // the memory of rest, if it is to be given back
	tail    []byte // behind rest; bytes that never change
	writing bool   // a Write is between two system calls
	waiting bool   // the waiter runs; nobody else writes
	half    bool   // the waiter is to end the write half when all is sent
	polite  bool   // TLS may say goodbye when the connection is closed
	want    int    // calls of Writable that are owed: one for each short Write
	calling int    // waiters in Writable

	// The end, under mu.
	cause      error // of Closed; the first one counts, and nothing is taken any more
	closeTimer *time.Timer
	settled    chan struct{} // if not nil, closed when the waiter or a Write has ended
	resume     chan struct{} // if not nil, closed by Resume and at the end
}

// An Engine is a connection that embeds a Conn or a WebSocket.
type Engine interface {
	transport.Conn

	// ReadOn starts a goroutine that reads and delivers, until Deliver says that it is
	// not the reader any more, or until Lost, or one of WebSocket's ways to end, has
	// returned. The memory of the message in Receive is left to whoever still looks at
	// it.
	ReadOn()

	manners
}

// manners are what a WebSocket does in its own way. The caller holds mu.
type manners interface {
	// goodbye begins the end of what this side sends.
	goodbye(code transport.StatusCode, reason string)

	// between returns what goes between two messages, in a piece.
	between() []byte
}

var (
	_ manners           = (*Conn)(nil)
	_ transport.Yielder = (*Conn)(nil)
	_ transport.Pauser  = (*Conn)(nil)
)

// Init makes c a connection over nc, whose handshake is done; early is what the peer
// sent behind it.
func (c *Conn) Init(nc net.Conn, l *Limits, sub string, early []byte) {
	wire.SetNotSentLowat(nc, l.NotSentLowat)
	c.limits, c.Stream, c.sub = l, wire.New(nc), sub
	c.In.Preload(early)
}

// Open hands e, which embeds c, over and begins to read.
func (c *Conn) Open(e Engine, open func(transport.Conn) transport.Receiver) {
	c.engine = e
	recv := open(e)

	c.mu.Lock()
	c.recv = recv
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
	c.engine.goodbye(code, reason)
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

// goodbye has the waiter end the write half once all is sent, and gives the peer
// CloseTimeout for that and for its own half. The caller holds mu and has called end.
func (c *Conn) goodbye(transport.StatusCode, string) {
	if c.closeTimer == nil {
		c.closeTimer = time.AfterFunc(c.limits.CloseTimeout, c.drop)
		c.half = true
		c.wait()
	}
}

// broken ends the connection in which nothing more can be sent; the reader finds out.
// The caller holds mu.
func (c *Conn) broken(err error) {
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	go c.drop() // closing waits for system calls under way, the lock must not
}

// drop closes the socket. TLS would say goodbye first: a Conn has said it before, where
// there is to be one.
func (c *Conn) drop() {
	nc := c.Stream.Conn()
	if !c.polite {
		nc = wire.Socket(nc)
	}
	_ = nc.Close()
}

// Lost ends the connection after a failed read.
func (c *Conn) Lost(err error) {
	c.mu.Lock()
	c.lose(err)
	if errors.Is(err, io.EOF) {
		// The peer may have ended its half alone, and read what was taken.
		c.goodbye(0, "")
		c.awaitSettled()
	}
	c.mu.Unlock()
	c.finish()
}

// lose makes a failed read the cause. The caller holds mu.
func (c *Conn) lose(err error) {
	if errors.Is(err, net.ErrClosed) {
		err = errDropped // by broken, in which case that was the cause, or by Cut
	}
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
}

// awaitFlush waits until what was taken has left the process, for WriteTimeout or
// CloseTimeout at most.
func (c *Conn) awaitFlush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaitSettled()
}

// awaitSettled waits until there is no waiter and no Write. The caller holds mu.
func (c *Conn) awaitSettled() {
	for c.waiting || c.writing || c.calling > 0 {
		if c.settled == nil {
			c.settled = make(chan struct{})
		}
		settled := c.settled
		c.mu.Unlock()
		<-settled
		c.mu.Lock()
	}
}

// settle wakes who waits for the waiter or for a Write. The caller holds mu.
func (c *Conn) settle() {
	if c.settled != nil && !c.waiting {
		close(c.settled)
		c.settled = nil
	}
}

// finish ends the connection: it is the last thing that the reader does.
func (c *Conn) finish() {
	c.drop()
	c.mu.Lock()
	if c.closeTimer != nil {
		c.closeTimer.Stop()
	}
	c.awaitSettled()
	c.rest, c.piece, c.tail = nil, nil, nil
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

var (
	errDropped = errors.New("socket closed")
	errStalled = &timeout{"peer takes nothing"}
)

// timeout says what a peer did not do in time.
type timeout struct{ text string }

func (e *timeout) Error() string { return e.text + ": " + transport.ErrTimeout.Error() }
func (e *timeout) Unwrap() error { return transport.ErrTimeout }
