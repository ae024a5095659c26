package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescape appends b without its escapes behind dst, as the version that holds has them. It
// reports false at one that the version does not have. CONNECT and CONNECTED have none and
// never come here.
func (f *framer) unescape(dst, b []byte) ([]byte, bool) {
	if f.version <= v10 {
		return append(dst, b...), true
	}
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...), true
		}
		if i+1 == len(b) {
			return dst, false
		}
		dst = append(dst, b[:i]...)
		switch c := b[i+1]; {
		case c == 'n':
			dst = append(dst, '\n')
		case c == 'c':
			dst = append(dst, ':')
		case c == '\\':
			dst = append(dst, '\\')
		case c == 'r' && f.version == v12:
			dst = append(dst, '\r')
		default:
			return dst, false
		}
		b = b[i+2:]
	}
}

// padding may stand around values in version 1.0.
const padding = " \t"

// trim takes it away. What is left is not nil, as the header was there.
func trim(b []byte) []byte {
	for len(b) > 0 && strings.IndexByte(padding, b[0]) >= 0 {
		b = b[1:]
	}
	for len(b) > 0 && strings.IndexByte(padding, b[len(b)-1]) >= 0 {
		b = b[:len(b)-1]
	}
	return b
}

// special are the octets that not every version writes as they are.
const special = "\x00\n\r:\\"

// expressible reports whether s can stand in a header that has no escapes.
func expressible(s string) bool {
	return !strings.ContainsAny(s, "\x00\n\r") && utf8.ValidString(s)
}

// oneLine is s for a place where there is room for one line.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\x00\n\r") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == 0 || r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, s)
}

// slashed is s without backslashes, for what is read by somebody who may or may not know
// escapes: before the version is agreed, in an ERROR.
func slashed(s string) string { return strings.ReplaceAll(s, `\`, "/") }

// writer writes the headers of one frame. The first error stays.
type writer struct {
	b       []byte
	version version // whose escapes are used; 1.0 has none
	err     error
}

// field writes a header whose name is known to need no escapes.
func (w *writer) field(n name, value string) {
	w.key(n)
	w.escaped(value)
	w.end()
}

// optional is field for a value that may be missing.
func (w *writer) optional(n name, value string) {
	if value != "" {
		w.field(n, value)
	}
}

func (w *writer) key(n name) { w.b = append(append(w.b, names[n]...), ':') }

func (w *writer) end() { w.b = append(w.b, '\n') }

func (w *writer) number(n uint64) { w.b = strconv.AppendUint(w.b, n, 10) }

// custom writes a header of the application's.
func (w *writer) custom(name, value string) {
	switch {
	case name == "":
		w.fail("a header without a name can't be written")
	case w.version <= v10 && strings.IndexByte(name, ':') >= 0:
		w.fail("a colon in the name of a header can't be written here")
	}
	w.escaped(name)
	w.b = append(w.b, ':')
	w.escaped(value)
	w.end()
}

// escaped writes s with the escapes of the version.
func (w *writer) escaped(s string) {
	plain, ascii := true, true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c <= '\r' || c == ':' || c == '\\':
			plain = plain && strings.IndexByte(special, c) < 0
		}
	}
	if !ascii && !utf8.ValidString(s) {
		w.fail("a header that is not UTF-8 can't be written")
	}
	if plain {
		w.b = append(w.b, s...)
		return
	}
	v := w.version
	for i := range len(s) {
		c := s[i]
		switch {
		case c == 0:
			w.fail("a NUL in a header can't be written")
		case c == '\n' && v <= v10, c == '\r' && v == 0:
			w.fail("a line break in a header can't be written here")
		case c == '\n' && v >= v11:
			w.b = append(w.b, `\n`...)
		case c == ':' && v >= v11:
			w.b = append(w.b, `\c`...)
		case c == '\\' && v >= v11:
			w.b = append(w.b, `\\`...)
		case c == '\r' && v == v12:
			w.b = append(w.b, `\r`...)
		default:
			w.b = append(w.b, c)
		}
	}
}

func (w *writer) fail(text string) {
	if w.err == nil {
		w.err = fmt.Errorf("stomp: %s: %w", text, errors.ErrUnsupported)
	}
}
