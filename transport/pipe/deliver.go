package pipe

import (
	"time"

	"github.com/weftws/weft/transport"
)

// kick starts the goroutines for what is due on this end: delivery to its receiver,
// and Writable. The caller holds the lock; a receiver is never called on the
// goroutine of a method, because the caller of the method may hold locks that the
// receiver needs.
func (c *Conn) kick() {
	if c.r == nil {
		return
	}
	if !c.running && c.ready() {
		c.running = true
		go c.runFunc()
	}
	if c.owed > 0 && !c.waking && !c.over() && c.room(c.peer.in.cost, c.need) {
		c.waking = true
		go c.wakeFunc()
	}
}

// ready reports whether run has something to do. It starts the timer of a slow
// connection.
func (c *Conn) ready() bool {
	switch {
	case c.final != nil:
		return !c.closed && !c.waking // no Writable after Closed
	case c.closing || c.in.head == nil:
		return false
	case c.paused && c.in.head.kind != kindLost:
		return false
	case c.delay > 0 && !c.ripe:
		if !c.waiting {
			c.waiting = true
			if c.slow == nil {
				c.slow = time.AfterFunc(c.delay, c.slowFunc)
			} else {
				c.slow.Reset(c.delay)
			}
		}
		return false
	default:
		return true
	}
}

// run delivers to the receiver for as long as there is something to deliver.
func (c *Conn) run() {
	turn := uint64(0) // of the Receive that this goroutine is in
	defer func() {
		if turn != 0 { // the receiver ends the goroutine, as testing.T.FailNow does
			c.deliverElsewhere(turn)
		}
	}()
	c.deliver(&turn)
}

// deliverElsewhere goes on after the Receive of that turn, unless a Yield has made
// another goroutine do so.
func (c *Conn) deliverElsewhere(turn uint64) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.turn == turn {
		c.receiving, c.running = false, false
		c.kick()
	}
}

func (c *Conn) deliver(mine *uint64) {
	l := c.link
	l.mu.Lock()
	for c.ready() {
		if c.final != nil {
			c.closed = true
			l.buffers.drop(&c.in)
			l.mu.Unlock()
			c.r.Closed(c.final)
			l.mu.Lock()
			break
		}
		it := c.in.pop()
		c.ripe = false
		c.peer.kick() // there is room now
		if it.kind != kindMessage {
			c.control(it)
			continue
		}

		c.receiving = true
		c.turn++
		turn := c.turn
		*mine = turn
		l.mu.Unlock()
		c.r.Receive(transport.Message{Type: it.typ, Data: it.data})
		*mine = 0
		l.buffers.put(it)
		l.mu.Lock()
		if c.turn != turn {
			l.mu.Unlock()
			return // another goroutine delivers since Yield
		}
		c.receiving = false
	}
	c.running = false
	l.mu.Unlock()
}

// control does what an item that is no message asks for.
func (c *Conn) control(it *item) {
	p := c.peer
	switch it.kind {
	case kindBad:
		c.end(it.code, it.reason, it.err)
	case kindPing:
		if _, ok := p.pings[it.ping]; ok && !c.vanished {
			delete(p.pings, it.ping)
			it.ping.done <- nil
		}
	case kindClose:
		c.settle(&transport.CloseError{Code: it.code, Reason: it.reason})
		if !c.vanished {
			p.settle(p.endErr)
		}
	case kindLost:
		c.settle(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: ErrCut})
	}
}

// wake calls Writable once for each short Write.
func (c *Conn) wake() {
	l := c.link
	l.mu.Lock()
	for c.owed > 0 && !c.over() && c.room(c.peer.in.cost, c.need) {
		c.owed--
		l.mu.Unlock()
		c.r.Writable()
		l.mu.Lock()
	}
	c.waking = false
	c.kick()
	l.mu.Unlock()
}

func (c *Conn) slowFired() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.waiting = false
	c.ripe = true
	c.kick()
}
