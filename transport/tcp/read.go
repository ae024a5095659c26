package tcp

import (
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// readOn starts a goroutine that reads and delivers. The chunk in Receive is left to
// whoever still looks at it.
func (c *conn) readOn() {
	c.in.Fork()
	go c.read()
}

// read is the goroutine of a connection: it delivers until the connection ends, or
// until a Yield has started another one.
func (c *conn) read() {
	for {
		if c.in.Len() == 0 {
			if err := c.fill(); err != nil {
				c.lost(err)
				return
			}
		}
		chunk := c.in.Bytes()
		c.in.Consume(len(chunk))
		reading := c.deliver(chunk)
		wire.Scribble(chunk)
		if !reading {
			return
		}
	}
}

// fill reads what has come, and waits for its first byte.
func (c *conn) fill() error {
	err := c.stream.Read(&c.in)
	if err != nil || !c.records {
		return err
	}
	// The byte was waited for without a buffer; the rest of its record is there. An
	// error comes again.
	nc := c.stream.Conn()
	_ = nc.SetReadDeadline(past)
	_ = c.stream.Read(&c.in)
	_ = nc.SetReadDeadline(time.Time{})
	return nil
}

// deliver gives a chunk to the receiver, unless what comes is dropped. It reports
// whether this goroutine is still the reader.
func (c *conn) deliver(chunk []byte) bool {
	if c.paused.Load() {
		c.awaitResume()
	}
	if c.stopped.Load() {
		return true // read on, for the peer's end
	}
	turn := c.turn.Add(1)
	returned := false
	defer func() {
		if !returned && c.turn.CompareAndSwap(turn, turn+1) {
			c.readOn() // the receiver has ended this goroutine
		}
	}()
	c.recv.Receive(transport.Message{Type: transport.MessageBinary, Data: chunk[:len(chunk):len(chunk)]})
	returned = true
	return c.turn.CompareAndSwap(turn, turn+1)
}

// Yield implements transport.Yielder.
func (c *conn) Yield() bool {
	turn := c.turn.Load()
	if turn&1 == 0 || !c.turn.CompareAndSwap(turn, turn+1) {
		return false
	}
	c.readOn()
	return true
}

// Pause implements transport.Pauser.
func (c *conn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.paused.Store(true)
	}
}

// Resume implements transport.Pauser.
func (c *conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakePaused()
}

func (c *conn) wakePaused() {
	c.paused.Store(false)
	if c.resume != nil {
		close(c.resume)
		c.resume = nil
	}
}

// awaitResume waits while the connection is paused.
func (c *conn) awaitResume() {
	c.mu.Lock()
	for c.paused.Load() {
		if c.resume == nil {
			c.resume = make(chan struct{})
		}
		resume := c.resume
		c.mu.Unlock()
		<-resume
		c.mu.Lock()
	}
	c.mu.Unlock()
}
