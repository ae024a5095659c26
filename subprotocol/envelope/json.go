package envelope

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// The JSON form has three names for the body: as JSON, as text, and as base64.
const (
	asJSON   = "body"
	asText   = "text"
	asBase64 = "base64"
)

// appendJSON writes the parts p of m, which has the fields in have.
func appendJSON(dst []byte, m *subprotocol.Message, have set, p part, maxDepth int) ([]byte, error) {
	switch p {
	case head:
		have &^= common
	case tail:
		have &= common
	}
	b := dst
	for have != 0 {
		f := have.first()
		have &^= 1 << f
		switch fields[f].value {
		case aString:
			s := text(m, f)
			if !utf8.ValidString(s) {
				return dst, notUTF8(f)
			}
			b = appendQuoted(appendKey(b, f), s)
		case aBool:
			b = append(appendKey(b, f), "true"...)
		case anInterval:
			send, recv, err := intervals(m)
			if err != nil {
				return dst, err
			}
			b = append(appendKey(b, f), '[')
			b = append(strconv.AppendUint(b, send, 10), ',')
			b = append(strconv.AppendUint(b, recv, 10), ']')
		case aHeader:
			b = appendKey(b, f)
			sep := byte('[')
			for i := range m.Header {
				h := &m.Header[i]
				if !utf8.ValidString(h.Name) || !utf8.ValidString(h.Value) {
					return dst, notUTF8(f)
				}
				b = append(appendQuoted(append(b, sep, '['), h.Name), ',')
				b = append(appendQuoted(b, h.Value), ']')
				sep = ','
			}
			b = append(b, ']')
		case aBody:
			b = appendBody(b, m, maxDepth)
		}
	}
	if p&tail != 0 {
		b = append(b, '}')
	}
	return b, nil
}

func appendKey(b []byte, f field) []byte {
	if f == fieldType {
		return append(b, `{"type":`...)
	}
	b = append(b, ',', '"')
	b = append(b, fields[f].name...)
	return append(b, '"', ':')
}

// appendBody writes the body as JSON if it is, as text if it is UTF-8, else as
// base64.
func appendBody(b []byte, m *subprotocol.Message, maxDepth int) []byte {
	switch {
	case !utf8.Valid(m.Body):
		b = append(b, `,"`+asBase64+`":"`...)
		b = base64.StdEncoding.AppendEncode(b, m.Body)
		return append(b, '"')
	case isJSON(m.ContentType) && standsAsJSON(m.Body, maxDepth):
		return append(append(b, `,"`+asJSON+`":`...), m.Body...)
	default:
		return appendQuoted(append(b, `,"`+asText+`":`...), m.Body)
	}
}

// isJSON reports whether bodies of a content type are taken for JSON.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	const suffix = "+json"
	return media == "" || strings.EqualFold(media, "application/json") ||
		len(media) > len(suffix) && strings.EqualFold(media[len(media)-len(suffix):], suffix)
}

// standsAsJSON reports whether body is one JSON value with nothing around it.
func standsAsJSON(body []byte, maxDepth int) bool {
	s := scanner{data: body, maxDepth: maxDepth}
	return s.skip() && s.i == len(body) && !s.deep
}

// appendQuoted writes s, which is UTF-8, as a JSON string.
func appendQuoted[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	start := len(b)
	b = append(b, s...)
	if n := plain(b[start:]); n < len(s) {
		b = appendEscaped(b[:start+n], s[n:])
	}
	return append(b, '"')
}

func appendEscaped[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, s[start:]...)
}

func notUTF8(f field) error {
	return fmt.Errorf("envelope: the field %q is not UTF-8", fields[f].name)
}

// readJSON reads an envelope in JSON.
func (e *envelope) readJSON(data []byte) error {
	if !utf8.Valid(data) {
		return &subprotocol.Error{
			Code: "malformed", Text: "the message is not UTF-8", Fatal: true, Status: transport.StatusInvalidPayloadData,
		}
	}
	s := scanner{data: data, maxDepth: e.opts.MaxDepth}
	if !e.readObject(&s) {
		return malformed(s.what, s.i)
	}
	return nil
}

// readObject reports whether data is one JSON object.
func (e *envelope) readObject(s *scanner) bool {
	s.space()
	if !s.expect('{', "an object does not begin") {
		return false
	}
	s.space()
	if s.peek() == '}' {
		s.i++
	} else {
		for {
			if !e.readMember(s) {
				return false
			}
			s.space()
			if s.peek() != ',' {
				break
			}
			s.i++
			s.space()
		}
		if !s.expect('}', "a comma or the end of an object is missing") {
			return false
		}
	}
	s.space()
	return s.i == len(s.data) || s.fail("something stands behind the object")
}

// readMember reads one name and its value. It returns false if that is no JSON.
func (e *envelope) readMember(s *scanner) bool {
	name, ok := s.str()
	if !ok {
		return false
	}
	s.space()
	if !s.expect(':', "a colon is missing") {
		return false
	}
	s.space()
	start := s.i
	s.deep = false
	if !s.skip() {
		return false
	}
	value := s.data[start:s.i]

	if key, ok := e.unquote(name); ok {
		name = key
	}
	f, ok := lookup(name)
	switch string(name) {
	case asText:
		f, ok = fieldText, true
	case asBase64:
		f, ok = fieldBase64, true
	}
	switch {
	case !ok:
		e.unknown(name)
	case !e.begin(f):
	case s.deep:
		e.broken("limit", "the field %q is nested deeper than %d", name, s.maxDepth)
	case f == fieldBody:
		e.setBody(value)
	case value[0] == 'n': // null is no field
	default:
		e.readValue(f, value)
	}
	return true
}

// readValue reads the value of a field, which is valid JSON.
func (e *envelope) readValue(f field, value []byte) {
	ok := true
	switch fields[f.neutral()].value {
	case aString:
		var s []byte
		if s, ok = e.quoted(value); ok {
			e.setString(f, s)
		}
	case aBool:
		ok = value[0] == 't' || value[0] == 'f'
		e.setBool(f, value[0] == 't')
	case anInterval:
		ok = e.readHeartbeat(value)
	case aHeader:
		ok = e.readHeader(value)
	case aBody:
		name := asText
		s, isString := e.quoted(value)
		if f == fieldBase64 {
			name = asBase64
			if isString {
				s, isString = e.unbase64(s)
			}
		}
		if !isString {
			e.broken("bad-field", "the field %q is not a string that holds a body", name)
			return
		}
		e.setBody(s)
	}
	if !ok {
		e.mistyped(f)
	}
}

func (e *envelope) readHeartbeat(value []byte) bool {
	s := scanner{data: value}
	if !s.take('[') {
		return false
	}
	send, ok := s.whole()
	if !ok || !s.take(',') {
		return false
	}
	recv, ok := s.whole()
	if !ok || !s.take(']') {
		return false
	}
	e.setHeartbeat(send, recv)
	return true
}

func (e *envelope) readHeader(value []byte) bool {
	s := scanner{data: value}
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		if !s.take('[') || s.peek() != '"' {
			return false
		}
		name, _ := s.str()
		if !s.take(',') || s.peek() != '"' {
			return false
		}
		value, _ := s.str()
		if !s.take(']') {
			return false
		}
		name, ok := e.unquote(name)
		if !ok {
			return false
		}
		if value, ok = e.unquote(value); !ok {
			return false
		}
		if !e.addHeader(name, value) || !s.take(',') {
			return true
		}
	}
}

// quoted returns what a value holds if it is a string.
func (e *envelope) quoted(value []byte) ([]byte, bool) {
	if value[0] != '"' {
		return nil, false
	}
	return e.unquote(value[1 : len(value)-1])
}

// unquote resolves the escapes of a valid string, the quotes left out. It returns
// false for half of a surrogate pair.
func (e *envelope) unquote(s []byte) ([]byte, bool) {
	i := bytes.IndexByte(s, '\\')
	if i < 0 {
		return s, true
	}
	start := len(e.scratch)
	for ; i >= 0; i = bytes.IndexByte(s, '\\') {
		e.scratch = append(e.scratch, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(s)
			s = s[4:]
			if r >= 0xd800 && r < 0xe000 {
				if r >= 0xdc00 || len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
					return nil, false
				}
				low := hex4(s[2:])
				if low < 0xdc00 || low >= 0xe000 {
					return nil, false
				}
				s = s[6:]
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
			}
			e.scratch = utf8.AppendRune(e.scratch, r)
			continue
		}
		e.scratch = append(e.scratch, c)
	}
	e.scratch = append(e.scratch, s...)
	return e.scratch[start:len(e.scratch):len(e.scratch)], true
}

// hex4 reads the four digits of a valid escape.
func hex4(s []byte) rune {
	var r rune
	for _, c := range s[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		default:
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}

// unbase64 decodes s: the standard alphabet with padding, and nothing else.
func (e *envelope) unbase64(s []byte) ([]byte, bool) {
	if bytes.ContainsAny(s, "\r\n") { // the library skips them
		return nil, false
	}
	start := len(e.scratch)
	b, err := base64.StdEncoding.Strict().AppendDecode(e.scratch, s)
	if err != nil {
		return nil, false
	}
	e.scratch = b
	return b[start:], true
}
