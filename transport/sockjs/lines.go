package sockjs

import (
	"bufio"
	"bytes"
	"unicode/utf8"
)

// lines are those of a response. They end with CR, LF, or both.
type lines struct {
	br    *bufio.Reader
	limit int  // in bytes
	cr    bool // a CR has ended the latest one, and its LF may come
	line  []byte
}

// next returns the next line, which is valid until the next call. With io.EOF it returns
// what no end of a line has followed.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		if _, err := l.br.Peek(1); err != nil {
			return l.line, err
		}
		p, _ := l.br.Peek(l.br.Buffered())
		if l.cr && p[0] == '\n' {
			p = p[1:]
			_, _ = l.br.Discard(1)
		}
		l.cr = false
		end := bytes.IndexAny(p, "\r\n")
		if end >= 0 {
			l.cr = p[end] == '\r'
			p = p[:end]
			defer l.br.Discard(1) //nolint:errcheck // it was peeked
		}
		if len(l.line)+len(p) > l.limit {
			return nil, errLongFrame
		}
		l.line = append(l.line, p...)
		_, _ = l.br.Discard(len(p))
		if end >= 0 {
			return l.line, nil
		}
	}
}

// events are those of an event stream, as HTML has it: of each the data, percent-decoded.
type events struct {
	lines
	begun bool
	data  []byte
}

var byteOrderMark = []byte("\ufeff")

// next returns the data of the next event, which is valid until the next call.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	other, some := false, false // an event of another type; one with data
	for {
		line, err := e.lines.next()
		if err != nil {
			return nil, err // what no empty line has followed is no event
		}
		if !e.begun {
			e.begun = true
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if len(line) == 0 {
			if some && !other {
				return decodePercent(e.data), nil
			}
			e.data = e.data[:0]
			other, some = false, false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			other = len(value) > 0 && string(value) != "message"
		case "data":
			if some {
				e.data = append(e.data, '\n')
			}
			some = true
			if e.data = append(e.data, value...); len(e.data) > e.limit {
				return nil, errLongFrame
			}
		}
	}
}

// decodePercent decodes p in place as decodeURI does in a browser, which leaves what
// stands for a delimiter of URLs. What is no encoding of UTF-8 stays too.
func decodePercent(p []byte) []byte {
	w := 0
	for i := 0; i < len(p); {
		plain := bytes.IndexByte(p[i:], '%')
		if plain < 0 {
			plain = len(p) - i
		}
		w += copy(p[w:], p[i:i+plain])
		if i += plain; i == len(p) {
			break
		}
		var seq [utf8.UTFMax]byte
		n := 0
		for n < len(seq) && !utf8.FullRune(seq[:n]) {
			c, ok := percent(p[i+3*n:])
			if !ok {
				break
			}
			seq[n] = c
			n++
		}
		r, size := utf8.DecodeRune(seq[:n])
		if r == utf8.RuneError && size <= 1 || bytes.IndexByte([]byte(";/?:@&=+$,#"), seq[0]) >= 0 {
			p[w] = '%'
			w++
			i++
			continue
		}
		w += copy(p[w:], seq[:size])
		i += 3 * n
	}
	return p[:w]
}

// percent reads the encoding of a byte at the front of p.
func percent(p []byte) (byte, bool) {
	if len(p) < 3 || p[0] != '%' {
		return 0, false
	}
	d := decoder{p: p}
	r, ok := d.hex(1, 2)
	return byte(r), ok
}
