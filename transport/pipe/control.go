package pipe

import "time"

// SetDelay makes this end slow: everything that it sends, be it a message, a ping or
// a close frame, reaches the peer d after what went before, and what is already on
// its way too. 0 ends that.
func (c *Conn) SetDelay(d time.Duration) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	p := c.peer
	p.delay = max(d, 0)
	if p.waiting {
		p.slow.Stop()
		p.waiting = false
	}
	p.ripe = false
	p.kick()
}

// SetFull with true makes Write of this end take nothing, as if its peer did not
// read. With false it takes messages again, and Writable comes for each Write that
// was short.
func (c *Conn) SetFull(full bool) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.full = full
	c.kick()
}

// Cut breaks the connection and lets both ends know: each receives what was taken
// before, then Closed with an *transport.EndError that has status 1006 and ErrCut.
// Methods fail from now on.
func (c *Conn) Cut() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.link.cut {
		return
	}
	c.link.cut = true
	c.lose()
	c.peer.lose()
}

// Vanish breaks the connection as an unplugged cable does. This end is told, as with
// Cut. The peer is not: what it writes is taken until its buffer is full, and its
// pings are not answered. It ends when it calls Close, after CloseTimeout.
func (c *Conn) Vanish() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.final != nil || c.vanished || c.link.cut {
		return
	}
	c.vanished = true
	c.lose()
}

// lose makes this end find the connection lost, once it has received what it has.
func (c *Conn) lose() {
	if c.closing {
		c.settle(c.endErr)
		return
	}
	if c.final == nil {
		for p := range c.pings {
			p.done <- errOver
		}
		c.pings = nil
		c.owed = 0
		c.in.push(&item{kind: kindLost})
		c.kick()
	}
}
