package tcp

import (
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

// Write implements transport.Conn.
func (c *conn) Write(batch []transport.Message) (accepted int, err error) {
	c.BeginWrite()
	defer c.EndWrite()
	for accepted < len(batch) {
		if room, err := c.Room(batch[accepted].Type); !room {
			return accepted, err
		}
		n, err := c.writeSome(batch[accepted:])
		accepted += n
		switch {
		case err != nil:
			return accepted, err
		case accepted < len(batch):
			c.Between()
		}
	}
	return accepted, nil
}

// writeSome sends messages from the front of batch and returns how many it took. What
// the socket refuses of a message is kept.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if m := &batch[0]; len(batch) == 1 && len(m.Head) == 0 || m.Len() > duplex.BlockSize {
		return c.writeOne(m)
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
	return c.SendFrames(b, 0, blk.Ends[:n])
}

// writeOne sends one message from where it lies.
func (c *conn) writeOne(m *transport.Message) (int, error) {
	head, data := m.Head, m.Data
	if len(head) > 0 {
		n, err := c.TryWrite(head)
		if err != nil {
			return 0, err
		}
		head = head[n:]
	}
	if len(head) == 0 && !c.Waiting() {
		n, err := c.TryWrite(data)
		if err != nil {
			return 0, err
		}
		data = data[n:]
	}
	switch {
	case m.Shared != nil:
		c.Keep(head, data)
	case len(head)+len(data) > 0:
		rest := append(append(wire.GetPiece(len(head)+len(data)), head...), data...)
		c.KeepPiece(rest, rest)
	}
	return 1, nil
}
