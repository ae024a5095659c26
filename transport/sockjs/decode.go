package sockjs

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// errBroken is the cause of what broken JSON ends.
var errBroken = errors.New("sockjs: broken framing")

// decoder reads the little JSON that the protocol has: strings and arrays of them.
// Strings are decoded in place, because no escape is shorter than what it stands for.
type decoder struct {
	p []byte
	i int
}

// decodeArray reads an array of strings; they point into p, each to bytes of its own.
func decodeArray(p []byte) ([][]byte, error) {
	d := decoder{p: p}
	if !d.token('[') {
		return nil, errBroken
	}
	var list [][]byte
	if d.token(']') {
		return nil, d.over()
	}
	for {
		s, err := d.str()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		if d.token(']') {
			return list, d.over()
		}
		if !d.token(',') {
			return nil, errBroken
		}
	}
}

// decodeMessages reads what a client may send on a WebSocket: an array of strings, one
// string, or nothing.
func decodeMessages(p []byte) ([][]byte, error) {
	d := decoder{p: p}
	if d.end() {
		return nil, nil
	}
	if d.p[d.i] == '"' {
		s, err := d.lone()
		if err != nil {
			return nil, err
		}
		return [][]byte{s}, nil
	}
	return decodeArray(p)
}

// lone reads a string with nothing behind it.
func (d *decoder) lone() ([]byte, error) {
	s, err := d.str()
	if err != nil {
		return nil, err
	}
	return s, d.over()
}

func (d *decoder) space() {
	for d.i < len(d.p) {
		switch d.p[d.i] {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return
		}
	}
}

// token skips space and c, and reports whether c was there.
func (d *decoder) token(c byte) bool {
	d.space()
	if d.i < len(d.p) && d.p[d.i] == c {
		d.i++
		return true
	}
	return false
}

// end reports whether nothing but space is left.
func (d *decoder) end() bool {
	d.space()
	return d.i == len(d.p)
}

func (d *decoder) over() error {
	if !d.end() {
		return errBroken
	}
	return nil
}

// str reads a string. Half of a surrogate pair becomes U+FFFD, as it has no UTF-8.
func (d *decoder) str() ([]byte, error) {
	if !d.token('"') {
		return nil, errBroken
	}
	start, w := d.i, d.i
	for d.i < len(d.p) {
		switch c := d.p[d.i]; {
		case c == '"':
			d.i++
			return d.p[start:w:w], nil
		case c < 0x20:
			return nil, errBroken
		case c != '\\':
			d.p[w] = c
			w++
			d.i++
		default:
			r, ok := d.escape()
			if !ok {
				return nil, errBroken
			}
			w += utf8.EncodeRune(d.p[w:], r)
		}
	}
	return nil, errBroken
}

// escape reads an escape, a whole surrogate pair if there is one.
func (d *decoder) escape() (rune, bool) {
	if d.i+1 >= len(d.p) {
		return 0, false
	}
	c := d.p[d.i+1]
	d.i += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		r, ok := d.hex(d.i, 4)
		if !ok {
			return 0, false
		}
		d.i += 4
		if utf16.IsSurrogate(r) {
			if d.i+1 < len(d.p) && d.p[d.i] == '\\' && d.p[d.i+1] == 'u' {
				if low, ok := d.hex(d.i+2, 4); ok {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						d.i += 6
						return pair, true
					}
				}
			}
			return utf8.RuneError, true
		}
		return r, true
	}
	return 0, false
}

// hex reads n hexadecimal digits.
func (d *decoder) hex(at, n int) (r rune, ok bool) {
	if at+n > len(d.p) {
		return 0, false
	}
	for _, c := range d.p[at : at+n] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
