package tcp

import (
	"errors"
	"fmt"
	"os"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

// Write implements transport.Conn.
func (c *conn) Write(batch []transport.Message) (accepted int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for accepted < len(batch) {
		switch {
		case c.cause != nil:
			return accepted, c.cause
		case !duplex.Sendable(batch[accepted].Type):
			return accepted, fmt.Errorf("tcp: message of type %d can't be sent", batch[accepted].Type)
		case c.waiting:
			c.want++
			return accepted, nil
		}
		n, err := c.writeSome(batch[accepted:])
		accepted += n
		if err != nil {
			return accepted, err
		}
		if accepted < len(batch) {
			c.mu.Unlock() // a Close waits for one system call, not for the batch
			c.mu.Lock()
		}
	}
	return accepted, nil
}

// writeSome sends messages from the front of batch and returns how many it took. What
// the socket refuses of a message is kept. The caller holds mu.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if m := &batch[0]; len(batch) == 1 && len(m.Head) == 0 || m.Len() > duplex.BlockSize {
		return 1, c.writeOne(m)
	}
	blk := duplex.GetBlock()
	defer duplex.PutBlock(blk)
	b, n := blk.B[:0], 0
	for n < min(len(batch), duplex.MaxFrames) {
		m := &batch[n]
		if len(b)+m.Len() > duplex.BlockSize || !duplex.Sendable(m.Type) {
			break
		}
		b = append(append(b, m.Head...), m.Data...)
		blk.Ends[n] = len(b)
		n++
	}
	sent, err := c.tryWrite(b)
	switch {
	case err != nil:
		return 0, err
	case sent == len(b):
		return n, nil
	case c.stream.Blocking():
		c.keep(b, nil)
		return n, nil
	}
	// The message that was cut is taken whole, and so is the next one if none was
	// cut: there is always something that the waiter can wait with.
	cut := 0
	for blk.Ends[cut] <= sent {
		cut++
	}
	c.keep(b[sent:blk.Ends[cut]], nil)
	return cut + 1, nil
}

// writeOne sends one message from where it lies. An error means that it is not taken.
func (c *conn) writeOne(m *transport.Message) error {
	head, data := m.Head, m.Data
	if len(head) > 0 {
		n, err := c.tryWrite(head)
		if err != nil {
			return err
		}
		head = head[n:]
	}
	if len(head) == 0 && !c.waiting {
		n, err := c.tryWrite(data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	if m.Shared != nil {
		c.keep(head, data)
		return nil
	}
	if len(head)+len(data) > 0 {
		c.piece = append(append(wire.GetPiece(len(head)+len(data)), head...), data...)
		c.rest = c.piece
		c.wait()
	}
	return nil
}

// tryWrite writes once. The caller holds mu.
func (c *conn) tryWrite(p []byte) (int, error) {
	n, err := c.stream.TryWrite(p)
	if err != nil {
		c.broken(err)
		return n, c.cause
	}
	if c.stream.Pending() {
		c.wait()
	}
	return n, nil
}

// keep makes a copy of b, and tail behind it, whose bytes never change, what must be
// sent before all else. The caller holds mu.
func (c *conn) keep(b, tail []byte) {
	if len(b)+len(tail) == 0 {
		return
	}
	if len(b) > 0 {
		c.piece = append(wire.GetPiece(len(b)), b...)
	}
	c.rest, c.tail = c.piece, tail
	c.wait()
}

// wait starts the waiter. The caller holds mu.
func (c *conn) wait() {
	if !c.waiting {
		c.waiting = true
		go c.waiter()
	}
}

// waiter sends what is left as the peer makes room, then says Writable for each Write
// that was short; at the end of the connection it ends the write half instead. It
// gives up on a peer that takes nothing for WriteTimeout.
func (c *conn) waiter() {
	nc := c.stream.Conn()
	c.mu.Lock()
	for {
		if len(c.rest) == 0 {
			wire.PutPiece(c.piece)
			c.rest, c.piece, c.tail = c.tail, nil, nil
		}
		if len(c.rest) == 0 && !c.stream.Pending() {
			if c.cause == nil || c.finished {
				break
			}
			c.finished = true
			c.mu.Unlock()
			_ = wire.CloseWrite(nc) // TLS may leave its goodbye pending
			c.mu.Lock()
			continue
		}
		rest := c.rest
		c.mu.Unlock()
		_ = nc.SetWriteDeadline(wire.Deadline(c.opts.WriteTimeout))
		n, err := c.stream.WaitWrite(rest)
		c.mu.Lock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = errStalled
			}
			c.broken(err)
			break
		}
		c.rest = c.rest[n:]
	}
	_ = nc.SetWriteDeadline(wire.Deadline(0))
	c.waiting = false
	if c.want > 0 && c.recv != nil {
		owed := c.want
		c.want = 0
		c.calling++
		c.mu.Unlock()
		for range owed {
			c.recv.Writable()
		}
		c.mu.Lock()
		c.calling--
	}
	c.settle()
	c.mu.Unlock()
}
