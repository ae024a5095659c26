package envelope

import "encoding/binary"

// scanner walks over JSON (RFC 8259) that is UTF-8. Its methods stand on what
// they read, leave i behind it, and return false if it is something else.
type scanner struct {
	data     []byte
	i        int
	maxDepth int
	deep     bool   // a value was nested deeper than maxDepth
	what     string // what is wrong at i
}

func (s *scanner) fail(what string) bool {
	s.what = what
	return false
}

// peek returns the byte at i, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.data) {
		return s.data[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.data) {
		switch s.data[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) expect(c byte, what string) bool {
	if s.peek() != c {
		return s.fail(what)
	}
	s.i++
	return true
}

// take steps over c and the space around it.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.i++
	s.space()
	return true
}

// whole reads a number that is written with digits alone and not too large by far.
func (s *scanner) whole() (uint64, bool) {
	var n uint64
	start := s.i
	for ; s.peek() >= '0' && s.peek() <= '9'; s.i++ {
		n = n*10 + uint64(s.peek()-'0')
		if n > 1<<32 {
			return 0, false
		}
	}
	return n, s.i > start
}

// str reads a string and returns it as it is written, without the quotes.
func (s *scanner) str() ([]byte, bool) {
	if !s.expect('"', "a string does not begin") {
		return nil, false
	}
	start := s.i
	for {
		s.i += plain(s.data[s.i:])
		switch c := s.peek(); {
		case s.i == len(s.data):
			return nil, s.fail("a string does not end")
		case c == '"':
			s.i++
			return s.data[start : s.i-1], true
		case c < ' ':
			return nil, s.fail("a string has a control character")
		case !s.escape():
			return nil, s.fail("a string has an unknown escape")
		}
	}
}

// plain returns how many bytes at the front of b are neither a quote, a backslash
// nor a control character.
func plain(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// Eight at a time: x-ones &^ x has a top bit set where x has a zero byte.
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^ones*'"', w^ones*'\\'
		if ((w-ones*' ')&^w|(quote-ones)&^quote|(slash-ones)&^slash)&tops != 0 {
			break
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func (s *scanner) escape() bool {
	s.i++
	c := s.peek()
	s.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
	default:
		s.i--
		return false
	}
	for range 4 {
		c := s.peek()
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
			return false
		}
		s.i++
	}
	return true
}

// skip reads a value of any type.
func (s *scanner) skip() bool { return s.value(0) }

// value reads a value inside depth arrays and objects.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		_, ok := s.str()
		return ok
	case '{', '[':
		if depth == s.maxDepth {
			s.deep = true
			return s.leave()
		}
		if c == '{' {
			return s.object(depth + 1)
		}
		return s.array(depth + 1)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int) bool {
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return true
	}
	for {
		if _, ok := s.str(); !ok {
			return false
		}
		s.space()
		if !s.expect(':', "a colon is missing") {
			return false
		}
		s.space()
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.peek() != ',' {
			return s.expect('}', "a comma or the end of an object is missing")
		}
		s.i++
		s.space()
	}
}

func (s *scanner) array(depth int) bool {
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return true
	}
	for {
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.peek() != ',' {
			return s.expect(']', "a comma or the end of an array is missing")
		}
		s.i++
		s.space()
	}
}

// leave finds the end of an array or object that is nested too deep. It is refused
// in any case: here it is only stepped over, for the receipt that may stand behind.
func (s *scanner) leave() bool {
	for open := 0; s.i < len(s.data); {
		switch s.data[s.i] {
		case '"':
			if _, ok := s.str(); !ok {
				return false
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		s.i++
		if open == 0 {
			return true
		}
	}
	return s.fail("the end of an array or object is missing")
}

func (s *scanner) literal(word string) bool {
	if rest := s.data[s.i:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return s.fail("a value does not begin")
	}
	s.i += len(word)
	return true
}

// number reads a number of any size.
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return s.fail("a value does not begin")
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return s.fail("a number does not end")
		}
	}
	if s.peek()|0x20 == 'e' {
		s.i++
		if s.peek() == '+' || s.peek() == '-' {
			s.i++
		}
		if !s.digits() {
			return s.fail("a number does not end")
		}
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.peek() >= '0' && s.peek() <= '9' {
		s.i++
	}
	return s.i > start
}
