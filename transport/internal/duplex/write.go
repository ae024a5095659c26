package duplex

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

const (
	// BlockSize is how much one system call writes at most, except for a large message.
	BlockSize = 64 << 10
	// MaxFrames is how many messages that may be.
	MaxFrames = 64
)

// A Block is where what one system call writes is put together.
type Block struct {
	B [BlockSize]byte
	// Ends[i] is where the frame of the i-th message of the block ends.
	Ends [MaxFrames]int
}

var blocks = sync.Pool{New: func() any { return new(Block) }}

// GetBlock takes a block from a pool.
func GetBlock() *Block { return blocks.Get().(*Block) }

// PutBlock gives it back.
func PutBlock(b *Block) { blocks.Put(b) }

// BeginWrite begins a Write, which EndWrite ends. In between nobody else writes, except
// while LetGo has let them; the methods of this file are for then. The lock is held
// for one system call at a time, so that a pong waits for that long.
func (c *Conn) BeginWrite() { c.mu.Lock() }

// EndWrite ends a Write.
func (c *Conn) EndWrite() {
	c.settle()
	c.mu.Unlock()
}

// Room reports whether a message of type t can be taken now. Where it can't, the Write
// has to end, with that error.
func (c *Conn) Room(t transport.MessageType) (bool, error) {
	switch {
	case c.cause != nil:
		return false, c.cause
	case !Sendable(t):
		return false, fmt.Errorf("%s: message of type %d can't be sent", c.limits.Name, t)
	case c.waiting:
		c.want++
		return false, nil
	}
	return true, nil
}

// Sendable reports whether t is a type of message.
func Sendable(t transport.MessageType) bool {
	return t == transport.MessageText || t == transport.MessageBinary
}

// Cause is why the connection is ending, nil if it is not.
func (c *Conn) Cause() error { return c.cause }

// Waiting reports that what was kept is being sent.
func (c *Conn) Waiting() bool { return c.waiting }

// LetGo lets others have the lock until TakeBack. What they want to send waits.
func (c *Conn) LetGo() {
	c.writing = true
	c.mu.Unlock()
}

// TakeBack takes the lock back.
func (c *Conn) TakeBack() {
	c.mu.Lock()
	c.writing = false
}

// Between lets others have the lock for a moment.
func (c *Conn) Between() {
	c.LetGo()
	c.TakeBack()
}

// SendFrames sends b: what goes between messages, and from first on messages as they are
// encoded, each up to one of ends. It returns how many messages are taken. What the
// socket refuses of them is kept.
func (c *Conn) SendFrames(b []byte, first int, ends []int) (int, error) {
	n, err := c.TryWrite(b)
	switch {
	case err != nil:
		return 0, err
	case n == len(b):
		return len(ends), nil
	case c.Stream.Blocking():
		c.Keep(b, nil)
		return len(ends), nil
	case n < first:
		c.Keep(b[n:first], nil)
		return 0, nil
	}
	// The message that was cut is taken whole, and so is the next one if none was
	// cut: there is always something that the waiter can wait with.
	cut := 0
	for ends[cut] <= n {
		cut++
	}
	c.Keep(b[n:ends[cut]], nil)
	return cut + 1, nil
}

// SendForm sends the frame of one message, whose bytes never change.
func (c *Conn) SendForm(form []byte) (int, error) {
	n, err := c.TryWrite(form)
	if err != nil {
		return 0, err
	}
	c.Keep(nil, form[n:])
	return 1, nil
}

// TryWrite writes once.
func (c *Conn) TryWrite(p []byte) (int, error) {
	n, err := c.Stream.TryWrite(p)
	if err != nil {
		c.broken(err)
		return n, c.cause
	}
	if c.Stream.Pending() {
		c.wait()
	}
	return n, nil
}

// Keep makes a copy of b, and tail behind it, whose bytes never change, what must be
// sent before all else.
func (c *Conn) Keep(b, tail []byte) {
	if len(b)+len(tail) == 0 {
		return
	}
	if len(b) > 0 {
		c.piece = append(wire.GetPiece(len(b)), b...)
	}
	c.rest, c.tail = c.piece, tail
	c.wait()
}

// KeepPiece does the same with rest, which lies in piece.
func (c *Conn) KeepPiece(piece, rest []byte) {
	c.piece, c.rest = piece, rest
	c.wait()
}

// wait starts the waiter.
func (c *Conn) wait() {
	if !c.waiting {
		c.waiting = true
		go c.waiter()
	}
}

// between is what goes between two messages: nothing.
func (c *Conn) between() []byte { return nil }

// waiter sends what is left as the peer makes room, then says Writable for each Write
// that was short. It gives up on a peer that takes nothing for WriteTimeout.
func (c *Conn) waiter() {
	nc := c.Stream.Conn()
	c.mu.Lock()
	for {
		if len(c.rest) == 0 {
			wire.PutPiece(c.piece)
			c.rest, c.piece, c.tail = c.tail, nil, nil
		}
		if len(c.rest) == 0 {
			c.piece = c.engine.between()
			c.rest = c.piece
		}
		if len(c.rest) == 0 && !c.Stream.Pending() {
			if !c.half {
				break
			}
			c.half = false
			c.mu.Unlock()
			_ = wire.CloseWrite(nc) // TLS may leave its goodbye pending
			c.mu.Lock()
			continue
		}
		rest := c.rest
		c.mu.Unlock()
		_ = nc.SetWriteDeadline(wire.Deadline(c.limits.WriteTimeout))
		n, err := c.Stream.WaitWrite(rest)
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

// Held is the number of bytes that wait to be sent, with the memory that they lie in.
func (c *Conn) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := cap(c.piece) + len(c.tail)
	if c.piece == nil {
		n += len(c.rest)
	}
	return n
}
