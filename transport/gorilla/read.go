package gorilla

import (
	"compress/flate"
	"errors"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// read is the goroutine of a connection: it reads through gorilla and delivers until
// the connection ends, or until a Yield has started another one. Control frames are
// gorilla's to find, also between the fragments of a message.
func (c *conn) read() {
	for {
		op, r, err := c.ws.NextReader()
		var data []byte
		if err == nil {
			data, err = c.message(r, op == websocket.TextMessage)
		}
		if err != nil {
			wire.PutPiece(data)
			c.ended(err)
			return
		}
		typ := transport.MessageBinary
		if op == websocket.TextMessage {
			typ = transport.MessageText
		}
		if !c.deliver(typ, data) {
			return
		}
	}
}

// message reads a whole message into a piece, which is returned with an error too.
// The limit and the text are checked as bytes come.
func (c *conn) message(r io.Reader, text bool) ([]byte, error) {
	data := wire.GetPiece(1)
	var check wire.UTF8
	for {
		room := data[len(data):cap(data)]
		if len(room) == 0 {
			room = c.beyond[:] // most often the message ends here
		}
		n, err := r.Read(room)
		if n > c.opts.MaxMessageSize-len(data) {
			return data, errTooBig
		}
		if text && !check.Write(room[:n]) {
			return data, errText
		}
		if n <= cap(data)-len(data) {
			data = data[:len(data)+n]
		} else {
			grown := append(append(wire.GetPiece(2*len(data)), data...), room[:n]...)
			wire.PutPiece(data)
			data = grown
		}
		switch {
		case err == io.EOF && text && !check.Complete():
			return data, errText
		case err == io.EOF:
			return data, nil
		case err != nil:
			return data, err
		}
	}
}

// deliver gives a message to the receiver. It reports whether this goroutine is
// still the reader.
func (c *conn) deliver(typ transport.MessageType, data []byte) bool {
	if c.paused.Load() {
		c.waitResume()
	}
	if c.stopped.Load() {
		wire.PutPiece(data)
		return true // read on, for the peer's close frame
	}
	turn := c.turn.Add(1)
	returned := false
	defer func() {
		if !returned && c.turn.CompareAndSwap(turn, turn+1) {
			go c.read() // the receiver has ended this goroutine
		}
	}()
	c.recv.Receive(transport.Message{Type: typ, Data: data})
	returned = true
	wire.PutPiece(data)
	c.alive.Store(true)
	return c.turn.CompareAndSwap(turn, turn+1)
}

// Yield implements transport.Yielder. The message that is being received has memory
// of its own.
func (c *conn) Yield() bool {
	turn := c.turn.Load()
	if turn&1 == 0 || !c.turn.CompareAndSwap(turn, turn+1) {
		return false
	}
	go c.read()
	return true
}

// fill reads more. A message that has begun must be complete in time.
func (c *conn) fill() error {
	if partial := c.guard.partial(); partial != c.limited || partial && c.guard.ended {
		c.limited = partial
		c.excused.Store(false)
		d := c.opts.MessageTimeout
		if !partial {
			d = 0
		}
		_ = c.s.Conn().SetReadDeadline(wire.Deadline(d))
	}
	c.guard.ended = false
	c.in.More = c.limited
	for {
		err := c.s.Read(&c.in)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.alive.Store(true)
			return err
		}
		var again time.Duration
		if !c.stopped.Load() { // else the close timer bounds it
			if !c.excused.Swap(false) && !c.paused.Load() {
				return err
			}
			c.waitResume() // the time of a pause does not count
			c.excused.Store(false)
			again = c.opts.MessageTimeout
		}
		_ = c.s.Conn().SetReadDeadline(wire.Deadline(again))
	}
}

// ended ends the connection after gorilla could not read on.
func (c *conn) ended(err error) {
	if c.ioErr != nil && !isViolation(err) {
		err = c.ioErr // gorilla and the inflater dress it up
		if !isViolation(err) {
			c.lost(err)
			return
		}
	}
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		c.closed(&transport.CloseError{Code: transport.StatusCode(ce.Code), Reason: ce.Text}) //nolint:gosec // two bytes
		return
	}
	v := violationOf(err)
	if body := c.guard.body; v.text == badGateway && utf8.Valid(body[2:]) {
		c.closed(&transport.CloseError{Code: transport.StatusBadGateway, Reason: string(body[2:])})
		return
	} else if v.text == badGateway {
		v = errReason
	}
	c.violated(v)
}

// badGateway is what gorilla says to a close code that was registered after its time.
const badGateway = "bad close code 1014"

func isViolation(err error) bool {
	_, ok := errors.AsType[*violation](err)
	return ok
}

// violationOf says which rule the peer broke when reading has failed, and not for
// want of bytes.
func violationOf(err error) *violation {
	if v, ok := errors.AsType[*violation](err); ok {
		return v
	}
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return errDeflate
	}
	switch text := err.Error(); {
	case errors.Is(err, websocket.ErrReadLimit):
		return errTooBig
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errDeflate
	case strings.HasPrefix(text, "websocket: invalid utf8"):
		return errReason
	default:
		text = strings.TrimPrefix(text, "websocket: ")
		return &violation{transport.StatusProtocolError, text[:min(len(text), transport.MaxCloseReason)]}
	}
}

// lost ends the connection after a failed read.
func (c *conn) lost(err error) {
	if c.limited && errors.Is(err, os.ErrDeadlineExceeded) && !c.stopped.Load() {
		c.fail(transport.StatusPolicyViolation, "message not complete in time", errSlow)
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.end(readError(err))
	c.mu.Unlock()
	c.finish()
}

var errSlow = &cause{"message not complete in time", transport.ErrTimeout}

// violated ends the connection after the peer broke a rule.
func (c *conn) violated(v *violation) {
	var err error = v
	if v.status == transport.StatusMessageTooBig {
		err = transport.ErrMessageTooBig
	}
	c.fail(v.status, v.text, err)
}

// fail sends a close frame, lets the peer read it, and ends.
func (c *conn) fail(status transport.StatusCode, reason string, err error) {
	c.mu.Lock()
	c.end(&transport.EndError{Code: status, Err: err})
	c.sendClose(status, reason)
	c.mu.Unlock()
	c.awaitFlush()
	// A socket that is closed with unread bytes is reset, and the peer might never
	// see the close frame: read on, and drop what comes.
	_ = wire.CloseWrite(c.s.Conn())
	c.drain()
	c.finish()
}

// closed answers the peer's close frame (section 5.5.1) and ends.
func (c *conn) closed(ce *transport.CloseError) {
	c.mu.Lock()
	c.end(ce)
	c.sendClose(ce.Code, "")
	c.mu.Unlock()
	c.awaitFlush()
	switch half, ok := c.s.Conn().(interface{ CloseWrite() error }); {
	case c.client:
		c.drain() // the server closes first (section 7.1.1)
	case ok:
		// Bytes behind the peer's close frame would turn ours into a reset.
		_ = half.CloseWrite()
		c.drain()
	}
	c.finish()
}

// awaitFlush waits until the close frame has left the process, for CloseTimeout at
// most.
func (c *conn) awaitFlush() {
	c.mu.Lock()
	for c.waiting || c.writing {
		settled := c.settle()
		c.mu.Unlock()
		<-settled
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// maxDrain bounds what is read for nothing from a peer that broke a rule.
const maxDrain = 32 << 20

// drain reads until the peer closes its side; the close timer bounds it.
func (c *conn) drain() {
	_ = c.s.Conn().SetReadDeadline(wire.Deadline(c.opts.CloseTimeout))
	c.in.More = true
	for n := 0; n < maxDrain; {
		n += c.in.Len()
		c.in.Consume(c.in.Len())
		if c.s.Read(&c.in) != nil {
			return
		}
	}
}
