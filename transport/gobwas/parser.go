package gobwas

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

var errCloseCode = &duplex.Violation{Status: transport.StatusProtocolError, Text: "close frame has a code that may not be sent"}

// event is what the parser found: a whole message, or a control frame.
type event struct {
	op   ws.OpCode // OpText, OpBinary, OpPing, OpPong, OpClose; OpContinuation: nothing yet
	data []byte    // valid until the next call
}

// rsv1 in front of an opcode marks a compressed message (RFC 7692 section 6).
const rsv1 ws.OpCode = 0x40

// parser turns bytes into messages and control frames (RFC 6455 section 5). It
// does no I/O and may be given its input in pieces of any size; it keeps what it
// has seen of a message, never more than that, and is the same for both sides.
type parser struct {
	limit   int64      // of a message, over all its frames, inflated
	deflate *agreement // nil: no compression
	windows *windows   // nil: no context is taken over
	state   ws.State

	// The message under way.
	msgOp   ws.OpCode // 0: none
	packed  bool      // it is compressed
	inFrame bool      // inside the payload of a data frame, see below
	fin     bool
	masked  bool
	mask    [4]byte
	pos     uint8 // in the mask
	utf8    wire.UTF8
	msg     []byte    // what has come of it, if it did not come in one piece
	msgLen  int64     // with what the current frame announces, on the wire
	left    int64     // payload of the frame that has not come yet
	inf     *inflater // nil: nothing of a compressed message has come
}

// partial reports whether a message or a frame has begun and is not complete;
// rest is what next has not consumed.
func (d *parser) partial(rest int) bool { return d.msgOp != 0 || rest > 0 }

// next consumes n bytes of p and returns what they complete. An event without an
// op means that p holds nothing more that is complete; the rest, at most a header
// and a control frame, must be given again with what follows. Payload is unmasked
// in place; event.data may lie in p or in memory that detach hands over.
func (d *parser) next(p []byte) (ev event, n int, err error) {
	for {
		if d.inFrame {
			m, done, err := d.payload(p[n:])
			n += m
			if err != nil {
				return ev, n, err
			}
			if !done {
				return ev, n, nil
			}
			if d.fin {
				ev, err := d.finish(d.msg)
				return ev, n, err
			}
			continue
		}
		h, size, err := d.header(p[n:])
		if err != nil || size == 0 {
			return ev, n, err
		}
		if h.OpCode.IsControl() {
			if len(p)-n-size < int(h.Length) {
				return ev, n, nil
			}
			data := p[n+size : n+size+int(h.Length)]
			n += size + len(data)
			if h.Masked {
				ws.Cipher(data, h.Mask, 0)
			}
			return event{h.OpCode, data}, n, nil
		}
		if err := d.begin(h); err != nil {
			return ev, n, err
		}
		n += size
		if h.Fin && d.msg == nil && d.msgLen == h.Length && int64(len(p)-n) >= h.Length {
			// The usual case: the whole message lies in p.
			data := p[n : n+int(h.Length)]
			n += len(data)
			d.inFrame = false
			if h.Masked {
				ws.Cipher(data, h.Mask, 0)
			}
			if d.packed {
				if err := d.inflate(data, true); err != nil {
					return ev, n, err
				}
				ev, err := d.finish(d.msg)
				return ev, n, err
			}
			if d.msgOp == ws.OpText && !utf8.Valid(data) {
				return ev, n, duplex.ErrText
			}
			ev = event{d.msgOp, data}
			d.msgOp, d.msgLen = 0, 0
			return ev, n, nil
		}
	}
}

// header parses and checks the frame header at the front of p. A size of 0 means
// that it is not complete.
func (d *parser) header(p []byte) (h ws.Header, size int, err error) {
	if len(p) < 2 {
		return h, 0, nil
	}
	h.Fin = p[0]&0x80 != 0
	h.Rsv = p[0] >> 4 & 7
	h.OpCode = ws.OpCode(p[0] & 0x0f)
	h.Masked = p[1]&0x80 != 0
	h.Length = int64(p[1] & 0x7f)

	// What the first two bytes break is broken now, whatever follows.
	check := h
	if h.Length > 125 {
		check.Length = math.MaxUint16 // any value over 125: control frames end here
	}
	if d.deflate != nil && h.Rsv == byte(rsv1>>4) && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary) {
		check.Rsv = 0
	}
	if err := ws.CheckHeader(check, d.state); err != nil {
		return h, 0, &duplex.Violation{Status: transport.StatusProtocolError, Text: err.Error()}
	}

	size = 2
	switch h.Length {
	case 126:
		if size += 2; len(p) < size {
			return h, 0, nil
		}
		if h.Length = int64(binary.BigEndian.Uint16(p[2:])); h.Length < 126 {
			return h, 0, duplex.ErrLongLength
		}
	case 127:
		if size += 8; len(p) < size {
			return h, 0, nil
		}
		v := binary.BigEndian.Uint64(p[2:])
		if v > math.MaxInt64 {
			return h, 0, duplex.ErrReservedLength
		}
		if h.Length = int64(v); h.Length <= math.MaxUint16 {
			return h, 0, duplex.ErrLongLength
		}
	}
	if h.Masked {
		if size += 4; len(p) < size {
			return h, 0, nil
		}
		copy(h.Mask[:], p[size-4:])
	}
	return h, size, nil
}

// begin starts the payload of a data frame, if it may begin.
func (d *parser) begin(h ws.Header) error {
	if h.OpCode != ws.OpContinuation {
		d.packed = h.Rsv != 0
	}
	limit := d.limit
	if d.packed {
		limit = wireLimit(limit)
	}
	if h.Length > limit-d.msgLen {
		return duplex.ErrTooBig
	}
	if h.OpCode != ws.OpContinuation {
		d.msgOp = h.OpCode
		d.utf8 = wire.UTF8{}
	}
	d.msgLen += h.Length
	if h.Fin {
		d.state = d.state.Clear(ws.StateFragmented)
	} else {
		d.state = d.state.Set(ws.StateFragmented)
	}
	d.inFrame, d.fin, d.masked, d.mask, d.pos, d.left = true, h.Fin, h.Masked, h.Mask, 0, h.Length
	return nil
}

// wireLimit bounds the compressed form of a message of limit bytes: no good compressor
// comes near it, and blocks without content end there.
func wireLimit(limit int64) int64 {
	if limit > math.MaxInt64/4 {
		return math.MaxInt64
	}
	return 2*limit + 1024
}

// payload takes what p has of the current frame's payload into d.msg.
func (d *parser) payload(p []byte) (n int, done bool, err error) {
	n = int(min(int64(len(p)), d.left))
	if d.packed {
		chunk := p[:n]
		if d.masked {
			ws.Cipher(chunk, d.mask, int(d.pos))
		}
		d.advance(n)
		if err := d.inflate(chunk, d.fin && d.left == 0); err != nil {
			return n, false, err
		}
	} else if n > 0 {
		old := len(d.msg)
		most := d.limit
		if d.fin {
			most = d.msgLen
		}
		d.msg = appendGrow(d.msg, p[:n], most)
		chunk := d.msg[old:]
		if d.masked {
			ws.Cipher(chunk, d.mask, int(d.pos))
		}
		d.advance(n)
		if d.msgOp == ws.OpText && !d.utf8.Write(chunk) {
			return n, false, duplex.ErrText
		}
	}
	if d.left > 0 {
		return n, false, nil
	}
	d.inFrame = false
	return n, true, nil
}

func (d *parser) advance(n int) {
	d.pos = (d.pos + uint8(n&3)) & 3
	d.left -= int64(n)
}

func (d *parser) finish(data []byte) (event, error) {
	if d.msgOp == ws.OpText && !d.utf8.Complete() {
		return event{}, duplex.ErrText
	}
	ev := event{d.msgOp, data}
	d.msgOp, d.msgLen = 0, 0
	return ev, nil
}

// release gives back the memory of the message that next has returned last.
func (d *parser) release() {
	if d.msgOp == 0 && d.msg != nil {
		wire.PutPiece(d.msg)
		d.msg = nil
	}
}

// detach leaves that memory to whoever still reads from it.
func (d *parser) detach() {
	if d.msgOp == 0 {
		d.msg = nil
	}
}

// drop lets go of everything.
func (d *parser) drop() {
	d.stopInflating()
	d.msg = nil
}

// appendGrow appends p to msg. The room doubles with what has come, not with what
// was announced, up to most, which msg can't exceed.
func appendGrow(msg, p []byte, most int64) []byte {
	need := len(msg) + len(p)
	if need > cap(msg) {
		grown := wire.GetPiece(max(need, int(min(int64(2*cap(msg)), most))))
		grown = append(grown, msg...)
		wire.PutPiece(msg)
		msg = grown
	}
	return append(msg, p...)
}

// parseClose reads the body of a close frame (section 5.5.1).
func parseClose(p []byte) (*transport.CloseError, error) {
	switch len(p) {
	case 0:
		return &transport.CloseError{Code: transport.StatusNoStatusReceived}, nil
	case 1:
		return nil, duplex.ErrCloseLength
	}
	code := transport.StatusCode(binary.BigEndian.Uint16(p))
	if !code.Sendable() {
		return nil, errCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return nil, duplex.ErrReason
	}
	return &transport.CloseError{Code: code, Reason: string(p[2:])}, nil
}
