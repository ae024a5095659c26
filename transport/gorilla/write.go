package gorilla

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

const (
	// blockSize is how much one system call writes at most, except for one message
	// that is larger.
	blockSize = 64 << 10
	maxFrames = 64 // in one block

	maxHeader = 14 // of a frame, RFC 6455 section 5.2

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

// writeBuffers are gorilla's: a client's message leaves in one frame if it has room
// in one of them.
var writeBuffers sync.Pool

const writeBufferSize = 64 << 10

// Write implements transport.Conn. The lock is held for one system call at a
// time, so that a pong waits for that long.
func (c *conn) Write(batch []transport.Message) (accepted int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for accepted < len(batch) && err == nil {
		switch t := batch[accepted].Type; {
		case c.closing:
			err = c.cause
		case !sendable(t):
			err = fmt.Errorf("gorilla: message of type %d can't be sent", t)
		case c.waiting:
			c.want++
			return accepted, nil
		default:
			var n int
			n, err = c.writeSome(batch[accepted:])
			accepted += n
			if errors.Is(err, websocket.ErrCloseSent) {
				// The reader has met a broken rule and is about to end the connection:
				// there is no room any more.
				c.settleWaits()
				return accepted, nil
			}
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

// writeSome sends messages from the front of batch, or control frames that wait,
// and returns how many messages it took. What the socket refuses of a message is
// kept, and the waiter starts. The caller holds mu, and nothing is kept.
func (c *conn) writeSome(batch []transport.Message) (int, error) {
	if len(batch) == 1 && len(c.control)+len(c.pong) == 0 && c.prepared(&batch[0]) != nil {
		return c.writeForm(&batch[0])
	}

	blk := blocks.Get().(*block)
	defer blocks.Put(blk)
	b := c.takeControl(blk.b[:0])
	first := len(b)
	frames := 0
	for frames < min(len(batch), maxFrames) {
		m := &batch[frames]
		if len(b)+c.bound(m) > blockSize || !sendable(m.Type) {
			break
		}
		grown, err := c.encode(b, m)
		if err != nil && frames == 0 {
			return 0, err
		} else if err != nil {
			break
		}
		b = grown
		blk.ends[frames] = len(b)
		frames++
	}
	if len(b) == 0 {
		return c.writeLarge(&batch[0])
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
	case n < first || frames == 0:
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

// writeForm sends a message that all connections have in common from where it lies.
func (c *conn) writeForm(m *transport.Message) (int, error) {
	c.borrow = true
	_, err := c.encode(nil, m)
	form := c.borrowed
	c.borrow, c.borrowed = false, nil
	if err != nil {
		return 0, err
	}
	n, err := c.tryWrite(form)
	if err != nil {
		return 0, err
	}
	if n < len(form) {
		c.keep(nil, form[n:])
	}
	return 1, nil
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
	n, err := c.tryWrite(b)
	switch {
	case err != nil:
		return 0, err
	case n == len(b):
		wire.PutPiece(b)
	default:
		c.rest, c.piece = b[n:], b
		c.wait()
	}
	return 1, nil
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
	return c.cause
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

// appendControl lets gorilla encode a ping or a pong behind dst. The caller holds mu.
func (c *conn) appendControl(dst []byte, op int, body []byte) []byte {
	c.out = dst
	_ = c.ws.WriteMessage(op, body) // fails if the end has come, and then nobody waits for it
	dst, c.out = c.out, nil
	return dst
}

// appendClose encodes a close frame behind dst. gorilla does not do it: it sends one
// close frame only, and believes to have sent that when it found a broken rule.
func (c *conn) appendClose(dst, body []byte) []byte {
	if !c.client {
		return append(append(dst, 0x80|websocket.CloseMessage, byte(len(body))), body...)
	}
	dst = append(dst, 0x80|websocket.CloseMessage, 0x80|byte(len(body)))
	dst = binary.LittleEndian.AppendUint32(dst, rand.Uint32())
	mask := [4]byte(dst[len(dst)-4:])
	for i, b := range body {
		dst = append(dst, b^mask[i&3])
	}
	return dst
}

// formKey is the key of the PreparedMessage that a server's connections share. It
// has a form each for connections with compression and without.
type formKey struct{}

// prepared returns the form of a message that has nothing of its own, nil if there
// is none to share: a client masks every frame anew.
func (c *conn) prepared(m *transport.Message) *websocket.PreparedMessage {
	if m.Shared == nil || len(m.Head) > 0 || c.client {
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
