package duplex

import (
	"errors"
	"os"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Deliver gives a message to the receiver, unless what comes is dropped. It reports
// whether this goroutine is still the reader.
func (c *Conn) Deliver(t transport.MessageType, data []byte) bool {
	if c.paused.Load() {
		c.waitResume()
	}
	if c.stopped.Load() {
		return true // read on, for the peer's close frame
	}
	turn := c.turn.Add(1)
	returned := false
	defer func() {
		if !returned && c.turn.CompareAndSwap(turn, turn+1) {
			c.engine.ReadOn() // the receiver has ended this goroutine
		}
	}()
	// What lies behind data in the buffer is the next message's.
	c.recv.Receive(transport.Message{Type: t, Data: data[:len(data):len(data)]})
	returned = true
	c.alive.Store(true)
	return c.turn.CompareAndSwap(turn, turn+1)
}

// Yield implements transport.Yielder.
func (c *Conn) Yield() bool {
	turn := c.turn.Load()
	if turn&1 == 0 || !c.turn.CompareAndSwap(turn, turn+1) {
		return false
	}
	c.engine.ReadOn()
	return true
}

// Fill reads more. A message that has begun must be complete in time: partial says
// that one has, another that it is not the one of the call before.
func (c *Conn) Fill(partial, another bool) error {
	if partial != c.limited || partial && another {
		c.limited = partial
		c.excused.Store(false)
		d := c.limits.MessageTimeout
		if !partial {
			d = 0
		}
		_ = c.stream.Conn().SetReadDeadline(wire.Deadline(d))
	}
	c.In.More = c.limited
	for {
		err := c.stream.Read(&c.In)
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
			again = c.limits.MessageTimeout
		}
		_ = c.stream.Conn().SetReadDeadline(wire.Deadline(again))
	}
}

// Pause implements transport.Pauser.
func (c *Conn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.paused.Store(true)
		c.excused.Store(true)
	}
}

// Resume implements transport.Pauser.
func (c *Conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakePaused()
}

func (c *Conn) wakePaused() {
	if c.paused.Swap(false) {
		c.alive.Store(true) // what the peer sent meanwhile was not looked at
	}
	if c.resume != nil {
		close(c.resume)
		c.resume = nil
	}
}

// waitResume waits while the connection is paused.
func (c *Conn) waitResume() {
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
