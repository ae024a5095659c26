package msgpackcodec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var (
	errCut  = errors.New("data is cut short")
	errTail = errors.New("bytes behind the value")
)

// level is an array or a map that has not ended.
type level struct {
	left   uint64 // values that are still to come; a pair is two
	object int    // the number of the map if keys are compared, else 0
}

// key is a map's number and a key in the form in which it is compared.
type key struct {
	object int
	kind   byte
	number uint64
	text   string
}

// scanner checks that data is one whole value, in one pass and without recursion.
type scanner struct {
	levels []level
	exts   []extent
	seen   map[key]struct{}
	keys   int // how many maps were begun
	ints   span
}

// maxKept is the number of elements up to which the scanner's memory is used again.
const maxKept = 1024

// run checks data and leaves the extents of its extensions in s.exts, in order, and
// how far its integers reach in s.ints.
func (s *scanner) run(data []byte, depth int, unique bool) error {
	s.levels, s.exts, s.keys, s.ints = s.levels[:0], s.exts[:0], 0, span{}
	if len(s.seen) > maxKept {
		s.seen = nil // clearing takes as long as it was ever large
	}
	clear(s.seen)
	for pos := 0; ; {
		top := len(s.levels) - 1
		if top >= 0 && unique && s.levels[top].object > 0 && s.levels[top].left%2 == 0 {
			if err := s.key(data, pos, s.levels[top].object); err != nil {
				return err
			}
		}
		h, err := parse(data[pos:])
		if err != nil {
			return fmt.Errorf("%w at byte %d", err, pos)
		}
		if top >= 0 {
			s.levels[top].left--
		}
		start := pos
		pos += h.head
		if pos > len(data) {
			return fmt.Errorf("%w at byte %d", errCut, start)
		}
		rest := uint64(len(data) - pos)
		switch {
		case h.size > rest || h.values > rest:
			// An element has one byte at least.
			return fmt.Errorf("%w at byte %d", errCut, start)
		case h.ext:
			s.exts = append(s.exts, extent{pos, pos + int(h.size)})
		case h.container:
			if len(s.levels) >= depth {
				return fmt.Errorf("nesting deeper than %d at byte %d", depth, start)
			}
			l := level{left: h.values}
			if h.isMap && unique {
				s.keys++
				l.object = s.keys
			}
			s.levels = append(s.levels, l)
		case data[start] > 0x7f: // less is an integer that all numbers hold
			if n, negative, ok := integer(data[start], data[pos:pos+int(h.size)]); ok {
				s.ints.add(n, negative)
			}
		}
		pos += int(h.size)
		for len(s.levels) > 0 && s.levels[len(s.levels)-1].left == 0 {
			s.levels = s.levels[:len(s.levels)-1]
		}
		if len(s.levels) == 0 {
			if pos < len(data) {
				return fmt.Errorf("%w at byte %d", errTail, pos)
			}
			return nil
		}
	}
}

// key notes the key that begins at pos.
func (s *scanner) key(data []byte, pos, object int) error {
	h, err := parse(data[pos:])
	if err != nil {
		return fmt.Errorf("%w at byte %d", err, pos)
	}
	if h.container || h.ext {
		return fmt.Errorf("a key that is no plain value at byte %d", pos)
	}
	body := data[pos+h.head:]
	if h.size > uint64(len(body)) {
		return fmt.Errorf("%w at byte %d", errCut, pos)
	}
	k := key{object: object}
	if n, negative, ok := integer(data[pos], body[:h.size]); ok {
		k.kind, k.number = 'u', n
		if negative {
			k.kind = 'i'
		}
	} else if h.text {
		k.kind, k.text = 's', string(body[:h.size])
	} else {
		k.kind, k.text = 'x', string(data[pos:pos+h.head+int(h.size)])
	}
	if _, ok := s.seen[k]; ok {
		return fmt.Errorf("duplicate key at byte %d", pos)
	}
	if s.seen == nil {
		s.seen = make(map[key]struct{})
	}
	s.seen[k] = struct{}{}
	return nil
}

// integer returns the value of an integer, in 64 bits and with its sign.
func integer(code byte, body []byte) (n uint64, negative, ok bool) {
	switch {
	case code <= 0x7f:
		return uint64(code), false, true
	case code >= 0xe0:
		return uint64(int64(int8(code))), true, true
	case code >= 0xcc && code <= 0xcf:
		for _, b := range body {
			n = n<<8 | uint64(b)
		}
		return n, false, true
	case code >= 0xd0 && code <= 0xd3:
		for _, b := range body {
			n = n<<8 | uint64(b)
		}
		shift := 64 - 8*len(body)
		signed := int64(n<<shift) >> shift
		return uint64(signed), signed < 0, true
	}
	return 0, false, false
}

// header is what the first bytes of a value say.
type header struct {
	head      int    // bytes before the contents
	size      uint64 // bytes of contents: of a number, a str, a bin or an extension
	values    uint64 // of an array or a map
	container bool
	isMap     bool
	text      bool // str or bin
	ext       bool
}

// parse reads the header of a value. The contents may be missing.
func parse(data []byte) (header, error) {
	if len(data) == 0 {
		return header{}, errCut
	}
	switch c := data[0]; {
	case c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3:
		return header{head: 1}, nil
	case c <= 0x8f:
		return header{head: 1, values: 2 * uint64(c&0x0f), container: true, isMap: true}, nil
	case c <= 0x9f:
		return header{head: 1, values: uint64(c & 0x0f), container: true}, nil
	case c <= 0xbf:
		return header{head: 1, size: uint64(c & 0x1f), text: true}, nil
	case c >= 0xc4 && c <= 0xc6: // bin 8, 16, 32
		return sized(data, 1<<(c-0xc4), header{text: true})
	case c >= 0xc7 && c <= 0xc9: // ext 8, 16, 32, with a type behind the length
		h, err := sized(data, 1<<(c-0xc7), header{ext: true})
		h.head++
		return h, err
	case c == 0xca || c == 0xcb: // float 32, 64
		return header{head: 1, size: 4 << (c - 0xca)}, nil
	case c >= 0xcc && c <= 0xcf: // uint 8 to 64
		return header{head: 1, size: 1 << (c - 0xcc)}, nil
	case c >= 0xd0 && c <= 0xd3: // int 8 to 64
		return header{head: 1, size: 1 << (c - 0xd0)}, nil
	case c >= 0xd4 && c <= 0xd8: // fixext 1 to 16
		return header{head: 2, size: 1 << (c - 0xd4), ext: true}, nil
	case c >= 0xd9 && c <= 0xdb: // str 8, 16, 32
		return sized(data, 1<<(c-0xd9), header{text: true})
	case c == 0xdc || c == 0xdd: // array 16, 32
		h, err := sized(data, 2<<(c-0xdc), header{container: true})
		h.size, h.values = 0, h.size
		return h, err
	case c == 0xde || c == 0xdf: // map 16, 32
		h, err := sized(data, 2<<(c-0xde), header{container: true, isMap: true})
		h.size, h.values = 0, 2*h.size
		return h, err
	default:
		return header{}, fmt.Errorf("code %#x, which has no meaning,", c)
	}
}

// sized adds to h a length of so many bytes.
func sized(data []byte, width int, h header) (header, error) {
	if len(data) < 1+width {
		return h, errCut
	}
	h.head = 1 + width
	switch width {
	case 1:
		h.size = uint64(data[1])
	case 2:
		h.size = uint64(binary.BigEndian.Uint16(data[1:]))
	default:
		h.size = uint64(binary.BigEndian.Uint32(data[1:]))
	}
	if h.size > math.MaxInt32 {
		return h, errors.New("a length of more than 2 GiB")
	}
	return h, nil
}
