package gobwas

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/gobwas/ws"
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
		if w := c.dec.windows; w != nil {
			w.taken(batch[accepted : accepted+n])
		}
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

// writeSome sends messages from the front of batch, and control frames that wait,
// and returns how many messages it took. What the socket refuses of a message is
// kept.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if len(batch) == 1 && !c.HasControl() {
		if form := c.form(&batch[0]); form != nil {
			return c.SendForm(form)
		}
	}

	blk := duplex.GetBlock()
	defer duplex.PutBlock(blk)
	b := c.TakeControl(blk.B[:0])
	first := len(b)
	frames, most := 0, min(len(batch), duplex.MaxFrames)
	if c.keepsSent() {
		most = 1 // a message refers to those before it, so they must be taken first
	}
	for frames < most {
		m := &batch[frames]
		if len(b)+ws.MaxHeaderSize+m.Len() > duplex.BlockSize || !duplex.Sendable(m.Type) {
			break
		}
		b = c.appendMessage(b, m)
		blk.Ends[frames] = len(b)
		frames++
	}
	if frames == 0 {
		if err := c.writeLarge(b, &batch[0]); err != nil {
			return 0, err
		}
		return 1, nil
	}
	return c.SendFrames(b, first, blk.Ends[:frames])
}

// writeLarge sends b and behind it a message that has no room in a block. The lock
// is let go between the system calls; nobody's frame comes in between.
func (c *conn) writeLarge(b []byte, m *transport.Message) error {
	head, data, op, lasting := m.Head, m.Data, opCode(m.Type), m.Shared != nil
	var form []byte
	if c.dec.deflate != nil {
		var packed []byte
		form, packed = c.packLarge(m)
		defer wire.PutPiece(packed)
		switch {
		case c.Cause() != nil:
			return c.Cause()
		case form != nil:
			head, data = nil, form
		case packed != nil:
			head, data, op, lasting = nil, packed, op|rsv1, false
		}
	}
	var mask [4]byte
	pos := 0
	if form == nil {
		b = appendFrameHeader(b, op, len(head)+len(data), c.Client)
		if c.Client {
			mask = [4]byte(b[len(b)-4:])
		}
	}
	for {
		var out []byte
		direct := len(b)+len(head) == 0 && !c.Client
		if direct {
			out, data = data, nil // a server's data is sent from where it lies
		} else {
			start := len(b)
			b, head = fill(b, head)
			b, data = fill(b, data)
			if c.Client {
				ws.Cipher(b[start:], mask, pos)
				pos = (pos + len(b) - start) & 3
			}
			out = b
		}
		n, err := c.TryWrite(out)
		if err != nil {
			return err
		}
		switch out = out[n:]; {
		case len(out) == 0 && len(head)+len(data) == 0:
			return nil
		case len(out) == 0 && !c.Waiting():
			b = b[:0]
			c.Between()
			continue
		case lasting && !c.Client && direct:
			c.Keep(nil, out)
		case lasting && !c.Client:
			c.Keep(append(out, head...), data)
		default:
			rest := append(wire.GetPiece(len(out)+len(head)+len(data)), out...)
			rest = append(append(rest, head...), data...)
			if c.Client {
				ws.Cipher(rest[len(out):], mask, pos)
			}
			c.KeepPiece(rest, rest)
		}
		return nil
	}
}

// fill moves bytes from the front of src behind dst, as far as dst has room.
func fill(dst, src []byte) (dst2, rest []byte) {
	n := min(cap(dst)-len(dst), len(src))
	return append(dst, src[:n]...), src[n:]
}

// appendMessage encodes m as one frame behind dst.
func (c *conn) appendMessage(dst []byte, m *transport.Message) []byte {
	if form := c.form(m); form != nil {
		return append(dst, form...)
	}
	head, data, op := m.Head, m.Data, opCode(m.Type)
	if packed := c.pack(m); packed != nil {
		head, data, op = nil, packed, op|rsv1
		defer wire.PutPiece(packed)
	}
	dst = appendFrameHeader(dst, op, len(head)+len(data), c.Client)
	start := len(dst)
	dst = append(append(dst, head...), data...)
	if c.Client {
		ws.Cipher(dst[start:], [4]byte(dst[start-4:]), 0)
	}
	return dst
}

func opCode(t transport.MessageType) ws.OpCode {
	if t == transport.MessageText {
		return ws.OpText
	}
	return ws.OpBinary
}

// appendFrameHeader encodes the header of an unfragmented frame. A client's ends
// with a fresh mask, from a generator that can't be predicted (section 5.3).
func appendFrameHeader(dst []byte, op ws.OpCode, n int, client bool) []byte {
	var bit byte
	if client {
		bit = 0x80
	}
	dst = append(dst, 0x80|byte(op))
	switch {
	case n <= 125:
		dst = append(dst, bit|byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, bit|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, bit|127), uint64(n))
	}
	if client {
		dst = binary.LittleEndian.AppendUint32(dst, rand.Uint32())
	}
	return dst
}

// formKey is the key of the wire form that a server's connections share.
type formKey struct{}

// form returns the frame of a message that has nothing of its own, nil if there
// is none to share: a client masks every frame anew, and a large message is not
// held twice.
func (c *conn) form(m *transport.Message) []byte {
	if m.Shared == nil || len(m.Head) > 0 || c.Client || len(m.Data)+ws.MaxHeaderSize > duplex.BlockSize {
		return nil
	}
	if c.dec.deflate != nil && len(m.Data) >= c.dec.deflate.threshold {
		if form := c.packedForm(m); form != nil || c.keepsSent() {
			return form
		}
	}
	return m.Shared.Form(formKey{}, encodeForm).([]byte)
}

func encodeForm(_ any, t transport.MessageType, data []byte) any {
	frame := appendFrameHeader(make([]byte, 0, ws.MaxHeaderSize+len(data)), opCode(t), len(data), false)
	return append(frame, data...)
}
