package gobwas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

const (
	// blockSize is how much one system call writes at most, except that the data
	// of one large message is not copied to be written.
	blockSize = 64 << 10
	maxFrames = 64 // in one block

	// maxControl bounds the pings, and the pongs, that wait for a peer that does not
	// read.
	maxControl = 512
)

type block struct {
	b [blockSize]byte
	// ends[i] is where the frame of the i-th message of the block ends.
	ends [maxFrames]int
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// Write implements transport.Conn. The lock is held for one system call at a
// time, so that a pong waits for that long.
func (c *conn) Write(batch []transport.Message) (accepted int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for accepted < len(batch) && err == nil {
		switch t := batch[accepted].Type; {
		case c.closing:
			err = c.over()
		case !sendable(t):
			err = fmt.Errorf("gobwas: message of type %d can't be sent", t)
		case c.waiting:
			c.want++
			return accepted, nil
		default:
			var n int
			n, err = c.writeSome(batch[accepted:])
			if w := c.dec.windows; w != nil {
				w.taken(batch[accepted : accepted+n])
			}
			accepted += n
			if accepted < len(batch) {
				c.between()
			}
		}
	}
	c.flushControl() // a close frame too, if Close came between two system calls
	c.settleWaits()
	return accepted, err
}

// between lets others have the lock for a moment. What they want to send waits.
func (c *conn) between() {
	c.writing = true
	c.mu.Unlock()
	c.mu.Lock()
	c.writing = false
}

// writeSome sends messages from the front of batch, and control frames that wait,
// and returns how many messages it took. What the socket refuses of a message is
// kept, and the waiter starts. The caller holds mu, and nothing is kept.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if len(batch) == 1 && len(c.control)+len(c.pong) == 0 {
		if form := c.form(&batch[0]); form != nil {
			return 1, c.writeForm(form)
		}
	}

	blk := blocks.Get().(*block)
	defer blocks.Put(blk)
	b := c.takeControl(blk.b[:0])
	first := len(b)
	frames, most := 0, min(len(batch), maxFrames)
	if c.keepsSent() {
		most = 1 // a message refers to those before it, so they must be taken first
	}
	for frames < most {
		m := &batch[frames]
		if len(b)+ws.MaxHeaderSize+m.Len() > len(blk.b) || !sendable(m.Type) {
			break
		}
		b = c.appendMessage(b, m)
		blk.ends[frames] = len(b)
		frames++
	}
	if frames == 0 {
		if err := c.writeLarge(b, &batch[0]); err != nil {
			return 0, err
		}
		return 1, nil
	}

	n, err := c.tryWrite(b)
	switch {
	case err != nil:
		return 0, err
	case n == len(b):
		return frames, nil
	case c.s.Blocking():
		c.keep(b, nil)
		return frames, nil
	case n < first:
		c.keep(b[n:first], nil)
		return 0, nil
	}
	// The message that was cut is taken whole, and so is the next one if none was
	// cut: there is always something that the waiter can wait with.
	cut := 0
	for blk.ends[cut] <= n {
		cut++
	}
	c.keep(b[n:blk.ends[cut]], nil)
	return cut + 1, nil
}

func sendable(t transport.MessageType) bool {
	return t == transport.MessageText || t == transport.MessageBinary
}

func (c *conn) writeForm(form []byte) error {
	n, err := c.tryWrite(form)
	if err == nil && n < len(form) {
		c.keep(nil, form[n:])
	}
	return err
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
		case c.closing:
			return c.over()
		case form != nil:
			head, data = nil, form
		case packed != nil:
			head, data, op, lasting = nil, packed, op|rsv1, false
		}
	}
	var mask [4]byte
	pos := 0
	if form == nil {
		b = appendFrameHeader(b, op, len(head)+len(data), c.client)
		if c.client {
			mask = [4]byte(b[len(b)-4:])
		}
	}
	for {
		var out []byte
		direct := len(b)+len(head) == 0 && !c.client
		if direct {
			out, data = data, nil // a server's data is sent from where it lies
		} else {
			start := len(b)
			b, head = fill(b, head)
			b, data = fill(b, data)
			if c.client {
				ws.Cipher(b[start:], mask, pos)
				pos = (pos + len(b) - start) & 3
			}
			out = b
		}
		n, err := c.tryWrite(out)
		if err != nil {
			return err
		}
		switch out = out[n:]; {
		case len(out) == 0 && len(head)+len(data) == 0:
			return nil
		case len(out) == 0 && !c.waiting:
			b = b[:0]
			c.between()
			continue
		case lasting && !c.client && direct:
			c.keep(nil, out)
		case lasting && !c.client:
			c.keep(append(out, head...), data)
		default:
			rest := append(wire.GetPiece(len(out)+len(head)+len(data)), out...)
			rest = append(append(rest, head...), data...)
			if c.client {
				ws.Cipher(rest[len(out):], mask, pos)
			}
			c.rest, c.piece = rest, rest
			c.wait()
		}
		return nil
	}
}

// fill moves bytes from the front of src behind dst, as far as dst has room.
func fill(dst, src []byte) (dst2, rest []byte) {
	n := min(cap(dst)-len(dst), len(src))
	return append(dst, src[:n]...), src[n:]
}

// tryWrite writes once. The caller holds mu.
func (c *conn) tryWrite(p []byte) (int, error) {
	n, err := c.s.TryWrite(p)
	if err != nil {
		return n, c.failed(err)
	}
	if c.s.Pending() {
		c.wait()
	}
	return n, nil
}

// keep makes a copy of b, and tail behind it, what must be sent before all else. The caller
// holds mu.
func (c *conn) keep(b, tail []byte) {
	if len(b) > 0 {
		c.piece = append(wire.GetPiece(len(b)), b...)
	}
	c.rest, c.tail = c.piece, tail
	if len(b)+len(tail) > 0 {
		c.wait()
	}
}

// failed ends the connection after a failed write. The caller holds mu; the reader
// finds out by the closed socket.
func (c *conn) failed(err error) error {
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	go c.drop() // closing waits for system calls under way, the lock must not
	return c.over()
}

// flushControl sends what waits in pong and control, unless a message is under
// way: then whoever sends that does it. The caller holds mu.
func (c *conn) flushControl() {
	if c.waiting || c.writing || len(c.control)+len(c.pong) == 0 {
		return
	}
	blk := blocks.Get().(*block)
	defer blocks.Put(blk)
	b := c.takeControl(blk.b[:0])
	if n, err := c.tryWrite(b); err == nil {
		c.keep(b[n:], nil)
	}
}

// takeControl moves the waiting control frames behind dst. The close frame is the
// last.
func (c *conn) takeControl(dst []byte) []byte {
	if len(c.pong)+len(c.control) == 0 {
		return dst
	}
	dst = append(append(dst, c.pong...), c.control...)
	c.pong, c.control = nil, nil
	return dst
}

// wait starts the waiter. The caller holds mu.
func (c *conn) wait() {
	if !c.waiting {
		c.waiting = true
		go c.waiter()
	}
}

// waiter sends what is left as the peer makes room, then says Writable if a Write
// was short. It gives up on a peer that takes nothing for WriteTimeout.
func (c *conn) waiter() {
	nc := c.s.Conn()
	c.mu.Lock()
	for {
		if len(c.rest) == 0 {
			wire.PutPiece(c.piece)
			c.rest, c.piece, c.tail = c.tail, nil, nil
		}
		if len(c.rest) == 0 && len(c.control)+len(c.pong) > 0 {
			c.piece = c.takeControl(wire.GetPiece(len(c.control) + len(c.pong)))
			c.rest = c.piece
		}
		if len(c.rest) == 0 && !c.s.Pending() {
			break
		}
		rest := c.rest
		c.mu.Unlock()
		_ = nc.SetWriteDeadline(wire.Deadline(c.opts.WriteTimeout))
		n, err := c.s.WaitWrite(rest)
		c.mu.Lock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = errStalled
			}
			c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
			c.mu.Unlock()
			c.drop()
			c.mu.Lock()
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
	c.settleWaits()
	c.mu.Unlock()
}

// settleWaits wakes who waits for the waiter or for a Write. The caller holds mu.
func (c *conn) settleWaits() {
	if c.settled != nil && !c.waiting {
		close(c.settled)
		c.settled = nil
	}
}

var errStalled = &cause{"peer takes nothing", transport.ErrTimeout}

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
	dst = appendFrameHeader(dst, op, len(head)+len(data), c.client)
	start := len(dst)
	dst = append(append(dst, head...), data...)
	if c.client {
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

// appendControl encodes a control frame behind dst.
func (c *conn) appendControl(dst []byte, op ws.OpCode, body []byte) []byte {
	dst = appendFrameHeader(dst, op, len(body), c.client)
	start := len(dst)
	dst = append(dst, body...)
	if c.client {
		ws.Cipher(dst[start:], [4]byte(dst[start-4:]), 0)
	}
	return dst
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
	if m.Shared == nil || len(m.Head) > 0 || c.client || len(m.Data)+ws.MaxHeaderSize > blockSize {
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
