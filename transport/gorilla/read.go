package gorilla

import (
	"compress/flate"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

// ReadOn implements duplex.Engine. The message that is being received has memory of its
// own.
func (c *conn) ReadOn() { go c.read() }

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
		reading := c.Deliver(typ, data)
		wire.PutPiece(data)
		if !reading {
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
		if n > c.limit-len(data) {
			return data, duplex.ErrTooBig
		}
		if text && !check.Write(room[:n]) {
			return data, duplex.ErrText
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
			return data, duplex.ErrText
		case err == io.EOF:
			return data, nil
		case err != nil:
			return data, err
		}
	}
}

// ended ends the connection after gorilla could not read on.
func (c *conn) ended(err error) {
	if c.ioErr != nil && !isViolation(err) {
		err = c.ioErr // gorilla and the inflater dress it up
		if !isViolation(err) {
			c.Lost(err)
			return
		}
	}
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		c.Closed(&transport.CloseError{Code: transport.StatusCode(ce.Code), Reason: ce.Text}) //nolint:gosec // two bytes
		return
	}
	v := violationOf(err)
	if body := c.guard.body; v.Text == badGateway && utf8.Valid(body[2:]) {
		c.Closed(&transport.CloseError{Code: transport.StatusBadGateway, Reason: string(body[2:])})
		return
	} else if v.Text == badGateway {
		v = duplex.ErrReason
	}
	c.Violated(v)
}

// badGateway is what gorilla says to a close code that was registered after its time.
const badGateway = "bad close code 1014"

func isViolation(err error) bool {
	_, ok := errors.AsType[*duplex.Violation](err)
	return ok
}

// violationOf says which rule the peer broke when reading has failed, and not for
// want of bytes.
func violationOf(err error) *duplex.Violation {
	if v, ok := errors.AsType[*duplex.Violation](err); ok {
		return v
	}
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return errDeflate
	}
	switch text := err.Error(); {
	case errors.Is(err, websocket.ErrReadLimit):
		return duplex.ErrTooBig
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errDeflate
	case strings.HasPrefix(text, "websocket: invalid utf8"):
		return duplex.ErrReason
	default:
		text = strings.TrimPrefix(text, "websocket: ")
		return &duplex.Violation{Status: transport.StatusProtocolError, Text: text[:min(len(text), transport.MaxCloseReason)]}
	}
}
