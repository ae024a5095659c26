package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// entry is a message that waits to be sent.
type entry struct {
	msg  *subprotocol.Message
	size int
	call *call         // whose request it is, nil for none
	link *link         // the only connection it may go over, nil for any
	sub  *Subscription // what it is about must not have ended; nil for nothing
	busy bool          // it is being written
}

// maxBatch is how many messages are written together.
const maxBatch = 32

// scratch is what encoding needs.
type scratch struct {
	buf   []byte
	batch [maxBatch]transport.Message
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxKept is how much room a scratch may have grown to and still be used again.
const maxKept = 64 << 10

func (sc *scratch) free() {
	if cap(sc.buf) <= maxKept {
		clear(sc.batch[:])
		scratches.Put(sc)
	}
}

// send writes e, or queues it. While there is a connection it waits for room. e.msg may be
// the caller's: what is queued is a copy.
func (c *Client) send(ctx context.Context, e *entry) error {
	e.size = sizeOf(e.msg)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		l := c.link
		up := l != nil && l.up
		switch {
		case c.state == Closed || c.closing && (e.call == nil || !e.call.last):
			return ErrClosed
		case e.link != nil && e.link.dead, e.sub != nil && e.sub.ended:
			return ErrStale
		case e.call != nil && c.calls[e.call.id] != nil:
			return fmt.Errorf("client: a request with the receipt %q is under way", e.call.id)
		case up && !c.writing && !l.full && len(l.first) == 0 && len(c.queue) == 0:
			c.expect(e.call)
			return c.writeNow(l, e)
		case len(c.queue) == 0 || len(c.queue) < c.opts.QueueMessages && c.bytes+e.size <= c.opts.QueueBytes:
			c.expect(e.call)
			e.msg = e.msg.Clone()
			c.queue = append(c.queue, e)
			c.bytes += e.size
			c.kick()
			return nil
		case !up:
			return ErrQueueFull
		}
		if err := c.wait(ctx); err != nil {
			return fmt.Errorf("client: no room to send: %w", err)
		}
	}
}

// writeNow writes e, which nothing is queued before. It is called with mu held and
// gives it away meanwhile.
func (c *Client) writeNow(l *link, e *entry) error {
	c.begin(l, e)
	c.mu.Unlock()
	n, bad := l.put(e)
	c.mu.Lock()
	switch {
	case n == 1:
	case bad != nil:
		c.conclude(e.call, bad)
	default:
		e.unsent()
		e.msg = e.msg.Clone()
		c.queue = slices.Insert(c.queue, 0, e)
		c.bytes += e.size
	}
	c.wrote(l, n, n == 0 && bad == nil)
	c.finishWriting(l)
	return bad
}

// kick has the queue written if that can be done. It is called with mu held.
func (c *Client) kick() {
	l := c.link
	if l == nil || !l.up || l.full || c.writing || len(l.first)+len(c.queue) == 0 {
		return
	}
	c.writing = true
	go c.flush(l)
}

// flush writes what is queued. The caller has set writing.
func (c *Client) flush(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !l.dead && !l.full && len(l.first)+len(c.queue) > 0 {
		from := &c.queue
		if len(l.first) > 0 {
			from = &l.first
		}
		batch := slices.Clone((*from)[:min(len(*from), maxBatch)])
		c.begin(l, batch...)
		c.mu.Unlock()
		n, bad := l.put(batch...)
		if bad != nil && batch[n].call == nil {
			c.report(fmt.Errorf("client: a queued message can't be sent: %w", bad))
		}
		c.mu.Lock()
		gone := n
		if bad != nil {
			c.conclude(batch[n].call, bad)
			gone++
		}
		for _, e := range batch[gone:] {
			e.unsent()
		}
		if from == &c.queue {
			for _, e := range batch[:gone] {
				c.bytes -= e.size
			}
		}
		*from = slices.Delete(*from, 0, gone)
		c.wrote(l, n, bad == nil && n < len(batch))
		c.broadcast()
	}
	c.finishWriting(l)
}

// begin says that batch is about to be written over l. It is called with mu held.
func (c *Client) begin(l *link, batch ...*entry) {
	c.writing = true
	l.writable = false
	for _, e := range batch {
		e.busy = true
		if e.call != nil {
			e.call.link = l
		}
	}
}

// unsent says that e was not taken after all.
func (e *entry) unsent() {
	e.busy = false
	if e.call != nil {
		e.call.link = nil
	}
}

// wrote notes that l has taken n messages and, if full, no more. It is called with mu
// held.
func (c *Client) wrote(l *link, n int, full bool) {
	if n > 0 {
		l.sent = true
	}
	l.full = full && !l.writable
}

// finishWriting gives the writer's role back. It is called with mu held.
func (c *Client) finishWriting(l *link) {
	c.writing = false
	if l.dead || c.state == Closed {
		c.forget(l)
	}
	c.broadcast()
	c.kick()
}

// put encodes and writes batch and returns how many were taken. bad says that the next
// one can't be sent at all; if it is nil there was no room for it.
func (l *link) put(batch ...*entry) (taken int, bad error) {
	sc, _ := scratches.Get().(*scratch)
	defer sc.free()
	k, b := 0, sc.buf[:0]
	for _, e := range batch {
		longer, typ, err := l.framer.Append(b, e.msg)
		if err != nil {
			bad = err
			break
		}
		sc.batch[k] = transport.Message{Type: typ, Data: longer[len(b):]}
		b = longer
		k++
	}
	sc.buf = b
	if k == 0 {
		return 0, bad
	}
	n, err := l.conn.Write(sc.batch[:k])
	switch {
	case err != nil && !errors.Is(err, net.ErrClosed):
		bad = err
	case n < k:
		bad = nil
	}
	return n, bad
}

// forget drops what can't be sent or answered any more because l has ended, or the
// client has. It is called with mu held, while nobody writes.
func (c *Client) forget(l *link) {
	left := c.queue[:0]
	for _, e := range c.queue {
		switch {
		case c.state == Closed:
			if e.msg.Kind == subprotocol.KindSend {
				c.unsent++
			}
			c.conclude(e.call, ErrClosed)
		case e.link == l:
			c.conclude(e.call, ErrStale)
		default:
			left = append(left, e)
			continue
		}
		c.bytes -= e.size
	}
	clear(c.queue[len(left):])
	c.queue = left
	for _, k := range c.calls {
		switch {
		case k.link == l && l != nil:
			c.conclude(k, fmt.Errorf("%w: %w", ErrConnectionLost, cmp.Or(l.err, ErrClosed)))
		case c.state == Closed:
			c.conclude(k, ErrClosed)
		}
	}
	if l != nil {
		for _, e := range l.first {
			c.conclude(e.call, ErrStale)
		}
		l.first = nil
	}
}

// sizeOf is about the memory that a copy of m takes.
func sizeOf(m *subprotocol.Message) int {
	const fixed, field = 320, 32
	n := fixed + len(m.Destination) + len(m.ID) + len(m.Subscription) + len(m.Receipt) + len(m.Transaction) +
		len(m.ContentType) + len(m.Body)
	for _, h := range m.Header {
		n += field + len(h.Name) + len(h.Value)
	}
	return n
}
