package gorilla

import (
	"encoding/binary"
	"math"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

var (
	errRSV1    = &duplex.Violation{Status: transport.StatusProtocolError, Text: "frame that can't be compressed says that it is"}
	errDeflate = &duplex.Violation{Status: transport.StatusInvalidPayloadData, Text: "compressed message does not inflate"}
)

// guard follows the headers of the frames that are on their way to gorilla. It knows
// what gorilla does not tell, whether a message or a frame has begun, and refuses
// what gorilla lets pass (RFC 6455 section 5.2). All else gorilla checks itself.
type guard struct {
	deflate bool // was agreed on: else gorilla refuses RSV1 on any frame
	open    bool // the last fragment of a message has not begun
	ended   bool // set when a message or a control frame outside of one has ended

	head [14]byte
	n    int   // of head
	left int64 // of the payload

	// gorilla drops the reason of a code that it does not know, so the body of the first
	// close frame is kept.
	closing bool
	body    []byte
	mask    [4]byte
}

// partial reports whether a message or a frame has begun and is not complete.
func (g *guard) partial() bool { return g.n > 0 || g.left > 0 || g.open }

// feed looks at p and returns how much of it may pass.
func (g *guard) feed(p []byte) (n int, err error) {
	for n < len(p) {
		if g.left == 0 {
			g.head[g.n] = p[n]
			g.n++
			if err := g.header(); err != nil {
				return n, err
			}
			n++
			continue
		}
		m := min(g.left, int64(len(p)-n))
		for _, b := range p[n : n+int(m)] {
			if !g.closing {
				break
			}
			g.body = append(g.body, b^g.mask[len(g.body)&3])
		}
		n += int(m)
		if g.left -= m; g.left == 0 {
			g.end()
		}
	}
	return n, nil
}

// header looks at a header that has grown by a byte.
func (g *guard) header() error {
	if g.n < 2 {
		return nil
	}
	op := g.head[0] & 0x0f
	size, length := 2, uint64(g.head[1]&0x7f)
	switch {
	case g.n == 2 && op == 8 && length == 1:
		return duplex.ErrCloseLength
	case g.n == 2 && g.deflate && g.head[0]&0x40 != 0 && (op == 0 || op >= 8):
		return errRSV1
	}
	switch length {
	case 126:
		size += 2
		if length = uint64(binary.BigEndian.Uint16(g.head[2:])); g.n == size && length < 126 {
			return duplex.ErrLongLength
		}
	case 127:
		size += 8
		switch length = binary.BigEndian.Uint64(g.head[2:]); {
		case g.n == size && length > math.MaxInt64:
			return duplex.ErrReservedLength
		case g.n == size && length <= math.MaxUint16:
			return duplex.ErrLongLength
		}
	}
	masked := g.head[1]&0x80 != 0
	if masked {
		size += 4
	}
	if g.n < size {
		return nil
	}
	g.n, g.left = 0, int64(length)
	if op == 8 && length <= 125 && g.body == nil {
		g.closing, g.body = true, make([]byte, 0, length)
		if masked {
			g.mask = [4]byte(g.head[size-4:])
		}
	}
	if op < 8 {
		g.open = g.head[0]&0x80 == 0
	}
	if g.left == 0 {
		g.end()
	}
	return nil
}

// end is the end of a frame.
func (g *guard) end() {
	g.closing = false
	if !g.open {
		g.ended = true
	}
}
