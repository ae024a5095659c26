package stomp

import (
	"bytes"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/internal/intern"
)

// maxLength bounds content-length where nothing else does, so that sums of it don't
// overflow.
const maxLength = 1 << 30

// frame is one that is being read. Where the scan stands is kept between pieces, so
// that each byte is looked at a constant number of times. Numbers are offsets from its
// beginning, which lies in the transport's bytes or in buf.
type frame struct {
	buf []byte // what has come of a frame that is not complete

	command *command
	refused *subprotocol.Error // why the command can't come; the headers are still read
	line    int                // where the line begins that is being looked for
	pos     int                // up to where its end, or the NUL of a body, was looked for
	fields  []field
	body    int // 0 until the headers are complete
	length  int // of the body, -1 while it is not known

	// What becomes the message.
	first   [numNames]int32 // the first field of that name, counted from 1
	msg     subprotocol.Message
	err     subprotocol.Error
	header  subprotocol.Header // the memory of msg.Header
	later   intern.Batch       // of what is not likely to come again
	scratch []byte
}

// field is a line of a frame.
type field struct {
	start, colon, end int
	name              name
	escaped           bool
}

// maxKept bounds the memory in bytes that a frame may have grown to and still be lent
// again.
const maxKept = 64 << 10

// free gives fr back, unless it is too large to be kept.
func (f *framer) free(fr *frame) {
	later, joined := fr.later.Cap()
	if cap(fr.buf)+joined+cap(fr.scratch) > maxKept || cap(fr.fields)+cap(fr.header)+later > maxKept/32 {
		return
	}
	// The handler may have given the message a header of its own, which is not to be
	// cleared.
	fr.msg.Header = fr.header
	fr.msg.Reset()
	fr.later.Reset()
	*fr = frame{
		buf: fr.buf[:0], fields: fr.fields[:0], length: -1, msg: fr.msg, header: fr.header[:0],
		later: fr.later, scratch: fr.scratch[:0],
	}
	f.sub.pool.Put(fr)
}

// crlf reports whether lines may end so: before the version is known they may.
func (f *framer) crlf() bool { return f.version == 0 || f.version == v12 }

// scan looks for the end of the frame that begins p, from where it stood. It returns 0 if
// that is still to come. An empty line where a frame should begin is a frame without a command.
func (f *framer) scan(fr *frame, p []byte) (int, *subprotocol.Error) {
	for fr.body == 0 {
		i := bytes.IndexByte(p[fr.pos:], '\n')
		if i < 0 {
			if bytes.IndexByte(p[fr.pos:], 0) >= 0 {
				return 0, f.cut(fr, p)
			}
			fr.pos = len(p)
			if len(p)-fr.line > f.maxLine+1 { // with a carriage return
				return 0, f.longLine(fr, p)
			}
			return 0, f.checkSize(fr, p, len(p))
		}
		start, end := fr.line, fr.pos+i
		fr.pos = end + 1
		fr.line = fr.pos
		if end > start && p[end-1] == '\r' && f.crlf() {
			end--
		}
		if start == 0 && end == 0 {
			return fr.pos, nil
		}
		if err := f.addLine(fr, p, start, end); err != nil {
			return 0, err
		}
	}
	if fr.length < 0 {
		i := bytes.IndexByte(p[fr.pos:], 0)
		if i < 0 {
			fr.pos = len(p)
			return 0, f.checkSize(fr, p, len(p)+1)
		}
		fr.length = fr.pos + i - fr.body
	}
	n := fr.body + fr.length + 1
	if err := f.checkSize(fr, p, n); err != nil {
		return 0, err
	}
	if len(p) < n {
		return 0, nil
	}
	if p[n-1] != 0 {
		return 0, f.blame(fr, p, malformed("there is no NUL behind the body of %s, which has the content-length %d", fr.command.name, fr.length))
	}
	return n, nil
}

// addLine takes the line from start to end, without its EOL.
func (f *framer) addLine(fr *frame, p []byte, start, end int) *subprotocol.Error {
	line := p[start:end]
	switch {
	case len(line) > f.maxLine:
		return f.longLine(fr, p)
	case bytes.IndexByte(line, 0) >= 0:
		return f.cut(fr, p)
	}
	if err := f.checkSize(fr, p, end); err != nil {
		return err
	}
	if fr.command == nil {
		c, err := f.command(line)
		if err != nil && isWord(line) {
			// Behind it may stand the receipt that the frame asks for.
			c, fr.refused, err = &refused, err, nil
		}
		fr.command = c
		return err
	}
	if len(line) == 0 && fr.refused != nil {
		return f.blame(fr, p, fr.refused)
	}
	if len(line) == 0 {
		fr.body = fr.line
		return f.measure(fr, p)
	}
	if len(fr.fields) == f.maxHeaders {
		return f.blame(fr, p, tooLarge("%s has more than %d headers", fr.command.name, f.maxHeaders))
	}
	colon := bytes.IndexByte(line, ':')
	switch {
	case colon < 0:
		return f.blame(fr, p, malformed("header %d of %s has no colon", len(fr.fields)+1, fr.command.name))
	case colon == 0:
		return f.blame(fr, p, malformed("header %d of %s has no name", len(fr.fields)+1, fr.command.name))
	}
	n := other
	if colon <= maxName {
		n = lookup(string(line[:colon]))
	}
	fr.fields = append(fr.fields, field{start: start, colon: start + colon, end: end, name: n})
	return nil
}

// measure reads the content-length, if there is one.
func (f *framer) measure(fr *frame, p []byte) *subprotocol.Error {
	fr.length = -1
	for _, fd := range fr.fields {
		if fd.name != contentLength {
			continue
		}
		v := p[fd.colon+1 : fd.end]
		if f.version <= v10 {
			v = trim(v)
		}
		n, ok := decimal(v, maxLength)
		if !ok {
			return f.blame(fr, p, fault("bad-header", `the header "content-length" of %s is not a number of bytes`, fr.command.name))
		}
		fr.length = n
		return nil
	}
	return nil
}

// decimal reads a number of digits alone; one over limit is limit.
func decimal(b []byte, limit int) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n < limit { // which leaves room for one more digit, on 32 bits too
			n = min(limit, int(min(int64(n)*10+int64(c-'0'), int64(limit))))
		}
	}
	return n, len(b) > 0
}

// checkSize judges a frame that has n bytes at least.
func (f *framer) checkSize(fr *frame, p []byte, n int) *subprotocol.Error {
	limit := maxLength
	if f.max > 0 {
		limit = min(limit, f.max)
	}
	if n > limit {
		return f.blame(fr, p, tooLarge("the frame has more than %d bytes", limit))
	}
	return nil
}

func (f *framer) longLine(fr *frame, p []byte) *subprotocol.Error {
	return f.blame(fr, p, tooLarge("a line has more than %d bytes", f.maxLine))
}

func (f *framer) cut(fr *frame, p []byte) *subprotocol.Error {
	return f.blame(fr, p, malformed("there is a NUL before the empty line that ends the headers"))
}

// blame ties e to the receipt that the frame asks for, if that has come. What is wrong with a
// frame that is refused anyway is not told.
func (f *framer) blame(fr *frame, p []byte, e *subprotocol.Error) *subprotocol.Error {
	if fr.command == nil || fr.command.kind == subprotocol.KindConnect {
		return e
	}
	if fr.refused != nil {
		e = fr.refused
	}
	for _, fd := range fr.fields {
		if fd.name == receipt {
			v := p[fd.colon+1 : fd.end]
			if f.version == v10 {
				v = trim(v)
			}
			if v, ok := f.unescape(nil, v); ok {
				e.Receipt = string(bytes.ToValidUTF8(v, []byte("\uFFFD")))
			}
			break
		}
	}
	return e
}

// isWord reports whether line may be the command of a frame: letters alone. Other lines, such as those
// of HTTP, are refused at once, as nobody knows what comes behind them.
func isWord(line []byte) bool {
	for _, c := range line {
		if c |= 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return len(line) > 0
}
