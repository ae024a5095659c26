package gorilla

import (
	"errors"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

const maxHeader = 14 // of a frame, RFC 6455 section 5.2

// writeBuffers are gorilla's: a client's message leaves in one frame if it has room
// in one of them.
var writeBuffers sync.Pool

const writeBufferSize = 64 << 10

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
		case errors.Is(err, websocket.ErrCloseSent):
			// The reader has met a broken rule and is about to end the connection:
			// there is no room any more.
			return accepted, nil
		case err != nil:
			return accepted, err
		case accepted < len(batch):
			c.Between()
		}
	}
	return accepted, nil
}

// writeSome sends messages from the front of batch, or control frames that wait,
// and returns how many messages it took. What the socket refuses of a message is
// kept.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if len(batch) == 1 && !c.HasControl() && c.prepared(&batch[0]) != nil {
		return c.writeForm(&batch[0])
	}

	blk := duplex.GetBlock()
	defer duplex.PutBlock(blk)
	b := c.TakeControl(blk.B[:0])
	first, frames := len(b), 0
	for frames < min(len(batch), duplex.MaxFrames) {
		m := &batch[frames]
		if len(b)+c.bound(m) > duplex.BlockSize || !duplex.Sendable(m.Type) {
			break
		}
		grown, err := c.encode(b, m)
		if err != nil && frames == 0 {
			return 0, err
		} else if err != nil {
			break
		}
		b = grown
		blk.Ends[frames] = len(b)
		frames++
	}
	if len(b) == 0 {
		return c.writeLarge(&batch[0])
	}
	return c.SendFrames(b, first, blk.Ends[:frames])
}

// writeForm sends a message that all connections have in common from where it lies.
func (c *conn) writeForm(m *transport.Message) (int, error) {
	c.borrow = true
	_, err := c.encode(nil, m)
	form := c.borrowed
	c.borrow, c.borrowed = false, nil
	if err != nil {
		return 0, err
	}
	return c.SendForm(form)
}

// writeLarge sends a message that has no room in a block.
func (c *conn) writeLarge(m *transport.Message) (int, error) {
	if c.prepared(m) != nil {
		return c.writeForm(m)
	}
	b, err := c.encode(wire.GetPiece(c.bound(m)), m)
	if err != nil {
		return 0, err
	}
	n, err := c.TryWrite(b)
	switch {
	case err != nil:
		return 0, err
	case n == len(b):
		wire.PutPiece(b)
	default:
		c.KeepPiece(b, b[n:])
	}
	return 1, nil
}

// bound is the most that m takes on the wire. What does not deflate grows by little.
func (c *conn) bound(m *transport.Message) int {
	if c.level == nil {
		return maxHeader + m.Len()
	}
	return 4*maxHeader + m.Len() + m.Len()/256
}

// encode lets gorilla encode m behind dst. Its error is ErrCloseSent: gorilla has told
// the peer of a broken rule, as it believes.
func (c *conn) encode(dst []byte, m *transport.Message) ([]byte, error) {
	if c.level != nil {
		c.ws.EnableWriteCompression(m.Len() >= c.level.Threshold)
	}
	c.out = dst
	err := c.encodeMessage(m)
	dst, c.out = c.out, nil
	return dst, err
}

func (c *conn) encodeMessage(m *transport.Message) error {
	if form := c.prepared(m); form != nil {
		return c.ws.WritePreparedMessage(form)
	}
	if len(m.Head) == 0 {
		return c.ws.WriteMessage(opCode(m.Type), m.Data)
	}
	// gorilla makes one frame of one slice.
	whole := append(append(wire.GetPiece(m.Len()), m.Head...), m.Data...)
	defer wire.PutPiece(whole)
	return c.ws.WriteMessage(opCode(m.Type), whole)
}

func opCode(t transport.MessageType) int {
	if t == transport.MessageText {
		return websocket.TextMessage
	}
	return websocket.BinaryMessage
}

// formKey is the key of the PreparedMessage that a server's connections share. It
// has a form each for connections with compression and without.
type formKey struct{}

// prepared returns the form of a message that has nothing of its own, nil if there
// is none to share: a client masks every frame anew.
func (c *conn) prepared(m *transport.Message) *websocket.PreparedMessage {
	if m.Shared == nil || len(m.Head) > 0 || c.Client {
		return nil
	}
	return m.Shared.Form(formKey{}, prepare).(*websocket.PreparedMessage)
}

func prepare(_ any, t transport.MessageType, data []byte) any {
	form, err := websocket.NewPreparedMessage(opCode(t), data)
	if err != nil {
		return (*websocket.PreparedMessage)(nil)
	}
	return form
}
