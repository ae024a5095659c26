package duplex

import "github.com/weftws/weft/transport"

// Deliver gives a message to the receiver, unless what comes is dropped. It reports
// whether this goroutine is still the reader.
func (c *Conn) Deliver(t transport.MessageType, data []byte) bool {
	if c.paused.Load() {
		c.waitResume()
	}
	if c.stopped.Load() {
		return true // read on, for the peer's end
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

// Pause implements transport.Pauser.
func (c *Conn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.paused.Store(true)
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
