package sockjs

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/weftws/weft/transport"
)

// The frames without content.
const (
	frameOpen      = "o"
	frameHeartbeat = "h"
)

// The texts of the protocol's own close frames.
const (
	codeAnotherOpen = 2010
	textAnotherOpen = "Another connection still open"
	codeInterrupted = 1002
	textInterrupted = "Connection interrupted"
)

// Bounds of an array in bytes, unless a single message is larger: a frame of the server's, and
// what a client sends, which servers bound.
const (
	maxFrame = 64 << 10
	maxSend  = 32 << 10
)

// errBinary is what Write has for a message that is not text.
var errBinary = errors.New("sockjs: only text messages can be sent")

// special marks the ASCII characters that JSON escapes.
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	t[0xe2], t[0xef] = true, true // U+2000 to U+2FFF and U+F000 to U+FFFF begin so
	return t
}()

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as the inside of a JSON string. Besides what JSON asks for, it
// escapes what some browsers change or drop on the way: U+200C to U+200F, U+2028 to
// U+202F, U+2060 to U+206F, U+FFF0 to U+FFFF. Bytes that are not UTF-8 stay as they are.
func appendEscaped(dst, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !special[c] {
			continue
		}
		if c >= 0x80 {
			if !escapedRune(s[i:]) {
				continue
			}
			r := uint16(c&0x0f)<<12 | uint16(s[i+1]&0x3f)<<6 | uint16(s[i+2]&0x3f)
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			i += 2
			start = i + 1
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, s[start:]...)
}

// escapedRune reports whether s, which begins with 0xe2 or 0xef, begins with one of the
// characters beyond ASCII that are escaped.
func escapedRune(s []byte) bool {
	if len(s) < 3 {
		return false
	}
	b, c := s[1], s[2]
	if c < 0x80 || c > 0xbf {
		return false
	}
	switch {
	case s[0] == 0xef:
		return b == 0xbf && c >= 0xb0
	case b == 0x80:
		return c >= 0x8c && c <= 0x8f || c >= 0xa8 && c <= 0xaf
	default:
		return b == 0x81 && c >= 0xa0 && c <= 0xaf
	}
}

// appendScript appends frame as a JSON string that may stand inside a script element: no
// frame can end it or begin a comment.
func appendScript(dst, frame []byte) []byte {
	dst = append(dst, '"')
	for _, c := range frame {
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '<':
			dst = append(dst, `\u003c`...)
		default: // what else needs it was escaped when the frame was made
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendPercent appends frame for an event: clients decode what is percent-encoded there.
func appendPercent(dst, frame []byte) []byte {
	for {
		plain, rest, ok := bytes.Cut(frame, []byte{'%'})
		dst = append(dst, plain...)
		if !ok {
			return dst
		}
		dst = append(dst, "%25"...)
		frame = rest
	}
}

// appendClose appends a close frame.
func appendClose(dst []byte, code transport.StatusCode, reason string) []byte {
	dst = append(dst, 'c', '[')
	dst = strconv.AppendUint(dst, uint64(code), 10)
	dst = append(dst, ',', '"')
	dst = appendEscaped(dst, []byte(reason))
	return append(dst, '"', ']')
}

// quoted is the key of the form that a Shared has here: its data escaped, with the ends
// of the string and of the array behind, as a Shared of its own. A WebSocket
// engine below keeps its forms with that.
type quoted struct{}

func quote(_ any, _ transport.MessageType, data []byte) any {
	return transport.NewShared(transport.MessageText, append(appendEscaped(make([]byte, 0, len(data)+len(data)/8+8), data), '"', ']'))
}

// quotedForm returns the form of m's shared part.
func quotedForm(m *transport.Message) *transport.Shared {
	form, _ := m.Shared.Form(quoted{}, quote).(*transport.Shared)
	return form
}

// appendArray adds messages from the front of batch to an array, as many as fit into size
// bytes. dst is an array with room, or "": then one begins with head, "a[" or "[", and has at
// least one message. It stops at a message that can't be sent; if that is the first one, dst
// is as it was.
func appendArray(dst []byte, head string, size int, batch []transport.Message) (array []byte, n int, err error) {
	for i := range batch {
		m := &batch[i]
		if m.Type != transport.MessageText {
			err = errBinary
			break
		}
		if len(dst) == 0 {
			dst = append(dst, head...)
		} else {
			if len(dst)+m.Len() > size {
				break
			}
			dst[len(dst)-1] = ','
		}
		dst = appendEscaped(append(dst, '"'), m.Head)
		if m.Shared != nil {
			dst = append(dst, quotedForm(m).Data()...)
		} else {
			dst = append(appendEscaped(dst, m.Data), '"', ']')
		}
		n++
	}
	return dst, n, err
}

// buffers has the buffers in which frames are made.
type buffers struct{ pool sync.Pool }

// maxPooled keeps one large message from holding its memory for ever.
const maxPooled = 2 * maxFrame

func (b *buffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	return new([]byte)
}

func (b *buffers) put(p *[]byte) {
	if cap(*p) <= maxPooled {
		*p = (*p)[:0]
		b.pool.Put(p)
	}
}

// A frame is what a server has sent.
type frame struct {
	kind     byte // one of "ohac"; a single message is an array of one
	messages [][]byte
	close    transport.CloseError
}

// parseFrame reads a frame that a server has sent. Messages are decoded in place.
func parseFrame(p []byte) (f frame, err error) {
	if len(p) == 0 {
		return f, fmt.Errorf("%w: empty frame", errBroken)
	}
	f.kind = p[0]
	switch rest := p[1:]; f.kind {
	case 'o', 'h':
		if len(rest) > 0 {
			err = fmt.Errorf("%w: content in frame %q", errBroken, f.kind)
		}
	case 'a':
		f.messages, err = decodeArray(rest)
	case 'm':
		f.kind = 'a'
		d := decoder{p: rest}
		var s []byte
		s, err = d.lone()
		f.messages = [][]byte{s}
	case 'c':
		err = f.parseClose(rest)
	default:
		err = fmt.Errorf("%w: frame %q", errBroken, f.kind)
	}
	return f, err
}

const maxCode = 4999

// parseClose reads [code,"reason"].
func (f *frame) parseClose(p []byte) error {
	d := decoder{p: p}
	if !d.token('[') {
		return errBroken
	}
	d.space()
	n := transport.StatusCode(0)
	for len(d.p) > d.i && d.p[d.i] >= '0' && d.p[d.i] <= '9' && n <= maxCode {
		n = 10*n + transport.StatusCode(d.p[d.i]-'0')
		d.i++
	}
	// The protocol's own codes are from 2000 on.
	if !n.Sendable() && n/1000 != 2 || !d.token(',') {
		return fmt.Errorf("%w: close frame with code %d", errBroken, n)
	}
	reason, err := d.str()
	if err != nil {
		return err
	}
	if !d.token(']') || !d.end() {
		return errBroken
	}
	f.close = transport.CloseError{Code: n, Reason: string(reason)}
	return nil
}
