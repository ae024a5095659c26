package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// conn is one connection. One goroutine reads; whoever has something to send writes
// it itself, without waiting, under a lock. What the socket refuses is sent by a
// goroutine, the waiter, that lives as long as the refusal.
type conn struct {
	opts   *Options
	stream wire.Stream
	socket net.Conn // below TLS
	sub    string

	// The reader's.
	in      wire.Buffer
	records bool // a read of one byte leaves the rest of a TLS record behind

	// turn is odd while Receive runs. The reader makes it odd; whoever adds one to
	// that odd number first, the reader after Receive or Yield, decides who reads on.
	turn    atomic.Uint64
	paused  atomic.Bool
	stopped atomic.Bool // there is a cause: what comes is dropped

	mu   sync.Mutex
	recv transport.Receiver // nil until Open has returned

	// What must be sent before anything else, under mu; while waiting, all three are
	// the waiter's.
	rest    []byte // of the message that was sent in part
	piece   []byte // the memory of rest, if it is to be given back
	tail    []byte // behind rest; bytes that never change
	waiting bool   // the waiter runs; nobody else writes
	want    int    // calls of Writable that are owed: one for each short Write
	calling int    // waiters in Writable

	// The end, under mu.
	cause      error // of Closed; the first one counts, and nothing is taken any more
	finished   bool  // the write half is ended, or about to be
	closeTimer *time.Timer
	settled    chan struct{} // if not nil, closed when the waiter has ended
	resume     chan struct{} // if not nil, closed by Resume and at the end
}

var (
	_ transport.Conn    = (*conn)(nil)
	_ transport.Yielder = (*conn)(nil)
	_ transport.Pauser  = (*conn)(nil)
)

// start opens a connection and begins to read; early is what was read already.
func (t *Transport) start(nc net.Conn, sub string, early []byte, open func(transport.Conn) transport.Receiver) *conn {
	wire.SetNotSentLowat(nc, t.opts.NotSentLowat)
	c := &conn{opts: &t.opts, stream: wire.New(nc), socket: nc, sub: sub}
	if tc, ok := nc.(*tls.Conn); ok {
		c.socket, c.records = tc.NetConn(), true
	}
	setKeepAlive(c.socket, t.opts.KeepAlive)
	c.in.Preload(early)
	// Without TLS there is nothing behind a single byte that could be had without
	// waiting, so a stream that can only block waits with a buffer.
	c.in.More = c.stream.Blocking() && !c.records

	recv := open(c)
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
	c.readOn()
	return c
}

// setKeepAlive asks the kernel to look after a silent peer.
func setKeepAlive(nc net.Conn, d time.Duration) {
	if sh, ok := nc.(*wire.Shim); ok {
		nc = sh.Conn
	}
	if tc, ok := nc.(*net.TCPConn); ok && d > 0 {
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: d, Count: 3})
	}
}

// SubProtocol implements transport.Conn.
func (c *conn) SubProtocol() string { return c.sub }

// Close implements transport.Conn.
func (c *conn) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	c.end(&transport.EndError{Code: code, Err: transport.ErrLocalClose})
	c.finish()
	return nil
}

// end makes err the cause, if it is the first, and lets nothing more be taken. The
// caller holds mu.
func (c *conn) end(err error) {
	if c.cause == nil {
		c.cause = err
	}
	c.stopped.Store(true)
	c.want = 0
	c.wakePaused()
}

// finish has the waiter end the write half once all is sent, and gives the peer
// CloseTimeout for that and for its own half. The caller holds mu and has called end.
func (c *conn) finish() {
	if c.closeTimer == nil {
		c.closeTimer = time.AfterFunc(c.opts.CloseTimeout, c.drop)
		c.wait()
	}
}

// broken ends the connection in which nothing more can be sent; the reader finds out.
// The caller holds mu.
func (c *conn) broken(err error) {
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	go c.drop() // closing waits for system calls under way, the lock must not
}

// drop closes the socket, without the goodbye of TLS: where there is to be one, the
// waiter has said it.
func (c *conn) drop() { _ = c.socket.Close() }

// lost ends the connection after a failed read: it is the last thing that the reader
// does.
func (c *conn) lost(err error) {
	if errors.Is(err, net.ErrClosed) {
		err = errDropped // by broken, in which case that was the cause, or by Cut
	}
	c.mu.Lock()
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	if errors.Is(err, io.EOF) {
		// The peer may have ended its half alone, and read what was taken.
		c.finish()
		c.awaitSettled()
	}
	if c.closeTimer != nil {
		c.closeTimer.Stop()
	}
	c.mu.Unlock()
	c.drop()
	c.mu.Lock()
	c.awaitSettled()
	c.rest, c.piece, c.tail = nil, nil, nil
	err = c.cause
	c.mu.Unlock()
	c.in.Release()
	c.recv.Closed(err)
}

// awaitSettled waits until there is no waiter. The caller holds mu.
func (c *conn) awaitSettled() {
	for c.waiting || c.calling > 0 {
		if c.settled == nil {
			c.settled = make(chan struct{})
		}
		settled := c.settled
		c.mu.Unlock()
		<-settled
		c.mu.Lock()
	}
}

// settle wakes who waits for the waiter. The caller holds mu.
func (c *conn) settle() {
	if c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}

var (
	errDropped = errors.New("socket closed")
	errStalled = fmt.Errorf("peer takes nothing: %w", transport.ErrTimeout)
)
