package gobwas

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// read is the goroutine of a connection: it parses and delivers until the
// connection ends, or until a Yield has started another one.
func (c *conn) read() {
	for {
		for p := c.in.Bytes(); len(p) > 0; {
			ev, n, err := c.dec.next(p)
			c.in.Consume(n)
			if err != nil {
				c.violated(err)
				return
			}
			p = p[n:]
			if ev.op != ws.OpContinuation && c.dec.msgOp == 0 {
				c.newer = true
			}
			switch ev.op {
			case ws.OpContinuation:
				p = nil // nothing that is complete
			case ws.OpText, ws.OpBinary:
				if !c.deliver(ev) {
					return
				}
				c.dec.release()
			case ws.OpPing:
				c.mu.Lock()
				if len(c.pong) >= maxControl {
					c.pong = c.pong[:0] // the latest is enough (section 5.5.3)
				}
				c.pong = c.appendControl(c.pong, ws.OpPong, ev.data)
				c.flushControl()
				c.mu.Unlock()
			case ws.OpPong:
				c.gotPong(ev.data)
			case ws.OpClose:
				c.closed(ev.data)
				return
			}
		}
		if err := c.fill(); err != nil {
			c.lost(err)
			return
		}
	}
}

// deliver gives a message to the receiver. It reports whether this goroutine is
// still the reader.
func (c *conn) deliver(ev event) bool {
	if c.paused.Load() {
		c.waitResume()
	}
	if c.stopped.Load() {
		return true // read on, for the peer's close frame
	}
	typ := transport.MessageBinary
	if ev.op == ws.OpText {
		typ = transport.MessageText
	}
	turn := c.turn.Add(1)
	returned := false
	defer func() {
		if !returned && c.turn.CompareAndSwap(turn, turn+1) {
			c.readElsewhere() // the receiver has ended this goroutine
		}
	}()
	c.recv.Receive(transport.Message{Type: typ, Data: ev.data})
	returned = true
	wire.Scribble(ev.data)
	c.alive.Store(true)
	return c.turn.CompareAndSwap(turn, turn+1)
}

// Yield implements transport.Yielder.
func (c *conn) Yield() bool {
	turn := c.turn.Load()
	if turn&1 == 0 || !c.turn.CompareAndSwap(turn, turn+1) {
		return false
	}
	c.readElsewhere()
	return true
}

// readElsewhere makes a new goroutine the reader. The memory that the one in
// Receive still looks at is left to it.
func (c *conn) readElsewhere() {
	c.in.Fork()
	c.dec.detach()
	go c.read()
}

// fill reads more. A message that has begun must be complete in time.
func (c *conn) fill() error {
	if partial := c.dec.partial(c.in.Len()); partial != c.limited || partial && c.newer {
		c.limited, c.newer = partial, false
		c.excused.Store(false)
		d := c.opts.MessageTimeout
		if !partial {
			d = 0
		}
		_ = c.s.Conn().SetReadDeadline(wire.Deadline(d))
	}
	c.in.More = c.limited
	for {
		err := c.s.Read(&c.in)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.alive.Store(true)
			return err
		}
		var again time.Duration
		if !c.stopped.Load() { // else the close timer bounds it
			if !c.excused.Swap(false) && !c.paused.Load() {
				return err
			}
			c.waitResume() // the time of a pause does not count
			c.excused.Store(false)
			again = c.opts.MessageTimeout
		}
		_ = c.s.Conn().SetReadDeadline(wire.Deadline(again))
	}
}

// lost ends the connection after a failed read.
func (c *conn) lost(err error) {
	if c.limited && errors.Is(err, os.ErrDeadlineExceeded) && !c.stopped.Load() {
		c.fail(transport.StatusPolicyViolation, "message not complete in time", errSlow)
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.end(readError(err))
	c.mu.Unlock()
	c.finish()
}

var errSlow = &cause{"message not complete in time", transport.ErrTimeout}

// violated ends the connection after the peer broke a rule.
func (c *conn) violated(err error) {
	status := transport.StatusProtocolError
	text := err.Error()
	if v, ok := errors.AsType[*violation](err); ok {
		status = v.status
		if status == transport.StatusMessageTooBig {
			err = transport.ErrMessageTooBig
		}
	}
	c.fail(status, text, err)
}

// fail sends a close frame, lets the peer read it, and ends.
func (c *conn) fail(status transport.StatusCode, reason string, err error) {
	c.mu.Lock()
	c.end(&transport.EndError{Code: status, Err: err})
	c.sendClose(status, reason)
	c.mu.Unlock()
	c.awaitFlush()
	// A socket that is closed with unread bytes is reset, and the peer might never
	// see the close frame: read on, and drop what comes.
	_ = wire.CloseWrite(c.s.Conn())
	c.drain()
	c.finish()
}

// closed answers the peer's close frame (section 5.5.1) and ends.
func (c *conn) closed(body []byte) {
	ce, err := parseClose(body)
	if err != nil {
		c.violated(err)
		return
	}
	c.mu.Lock()
	c.end(ce)
	c.sendClose(ce.Code, "")
	c.mu.Unlock()
	c.awaitFlush()
	switch half, ok := c.s.Conn().(interface{ CloseWrite() error }); {
	case c.client:
		c.drain() // the server closes first (section 7.1.1)
	case ok:
		// Bytes behind the peer's close frame would turn ours into a reset.
		_ = half.CloseWrite()
		c.drain()
	}
	c.finish()
}

// awaitFlush waits until the close frame has left the process, for CloseTimeout at
// most.
func (c *conn) awaitFlush() {
	c.mu.Lock()
	for c.waiting || c.writing {
		settled := c.settle()
		c.mu.Unlock()
		<-settled
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// maxDrain bounds what is read for nothing from a peer that broke a rule.
const maxDrain = 32 << 20

// drain reads until the peer closes its side; the close timer bounds it.
func (c *conn) drain() {
	_ = c.s.Conn().SetReadDeadline(wire.Deadline(c.opts.CloseTimeout))
	c.in.More = true
	for n := 0; n < maxDrain; {
		n += c.in.Len()
		c.in.Consume(c.in.Len())
		if c.s.Read(&c.in) != nil {
			return
		}
	}
}
