package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
)

// appendMsgpack writes the parts p of m, which has the fields in have. The count of
// fields stands in the head of a deliver and must not depend on the tail: the
// fields of the tail always stand there, nil if there is nothing in them.
func appendMsgpack(dst []byte, m *subprotocol.Message, have set, p part) ([]byte, error) {
	all := have
	if m.Kind == subprotocol.KindDeliver {
		all |= common
	}
	b := dst
	if p&head != 0 {
		b = append(b, 0x80|byte(all.len())) // no kind has more than 15 fields
	}
	switch p {
	case head:
		all &^= common
	case tail:
		all &= common
	}
	for all != 0 {
		f := all.first()
		all &^= 1 << f
		name := fields[f].name
		b = append(append(b, 0xa0|byte(len(name))), name...)
		if !have.has(f) {
			b = append(b, 0xc0)
			continue
		}
		switch fields[f].value {
		case aString:
			s := text(m, f)
			if !utf8.ValidString(s) {
				return dst, notUTF8(f)
			}
			b = appendStr(b, s)
		case aBool:
			b = append(b, 0xc3)
		case anInterval:
			send, recv, err := intervals(m)
			if err != nil {
				return dst, err
			}
			b = appendUint(appendUint(append(b, 0x92), send), recv)
		case aHeader:
			b = appendArray(b, len(m.Header))
			for i := range m.Header {
				h := &m.Header[i]
				if !utf8.ValidString(h.Name) || !utf8.ValidString(h.Value) {
					return dst, notUTF8(f)
				}
				b = appendStr(appendStr(append(b, 0x92), h.Name), h.Value)
			}
		case aBody:
			if uint64(len(m.Body)) > math.MaxUint32 {
				return dst, fmt.Errorf("envelope: a body of %d bytes: %w", len(m.Body), errors.ErrUnsupported)
			}
			b = append(appendSize(b, 0xc4, len(m.Body)), m.Body...)
		}
	}
	return b, nil
}

// appendArray writes how many elements an array has.
func appendArray(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, 0x90|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, 0xdd), uint32(n))
	}
}

// appendSize writes the length of a str (0xd9) or a bin (0xc4).
func appendSize(b []byte, code byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, code, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, code+1), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, code+2), uint32(n))
	}
}

func appendStr(b []byte, s string) []byte {
	if len(s) < 32 {
		b = append(b, 0xa0|byte(len(s)))
	} else {
		b = appendSize(b, 0xd9, len(s))
	}
	return append(b, s...)
}

// appendUint writes n, which is at most maxInterval.
func appendUint(b []byte, n uint64) []byte {
	switch {
	case n < 0x80:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
}

// intervals returns the heartbeat of m in whole milliseconds, rounded up: what is
// not 0 stays so.
func intervals(m *subprotocol.Message) (send, recv uint64, err error) {
	for _, v := range []struct {
		d  time.Duration
		ms *uint64
	}{{m.Heartbeat.Send, &send}, {m.Heartbeat.Receive, &recv}} {
		if v.d < 0 || v.d > maxInterval*time.Millisecond {
			return 0, 0, fmt.Errorf("envelope: a heartbeat every %v has no wire form", v.d)
		}
		*v.ms = uint64((v.d + time.Millisecond - 1) / time.Millisecond)
	}
	return send, recv, nil
}

// readMsgpack reads an envelope in msgpack.
func (e *envelope) readMsgpack(data []byte) error {
	r := reader{data: data}
	v, ok := r.next()
	if !ok {
		return malformed(r.what, r.i)
	}
	if v.is != isMap {
		return malformed("a map does not begin", 0)
	}
	for range v.n {
		name, ok := r.next()
		if !ok {
			return malformed(r.what, r.i)
		}
		if name.is != isStr {
			return malformed("the name of a field is not a str", r.i)
		}
		start := r.i
		if !r.skip() {
			return malformed(r.what, r.i)
		}
		f, ok := lookup(name.bytes)
		if !ok {
			e.unknown(name.bytes)
			continue
		}
		if e.begin(f) && !e.readMsgpackValue(f, reader{data: data[start:r.i]}) {
			e.mistyped(f)
		}
	}
	if r.i < len(data) {
		return malformed("something stands behind the map", r.i)
	}
	return nil
}

// readMsgpackValue reads the value of a field, which is valid msgpack. It returns
// false if the field can't hold it.
func (e *envelope) readMsgpackValue(f field, r reader) bool {
	v, _ := r.next()
	if v.is == isNil {
		return true
	}
	switch fields[f].value {
	case aString:
		if !v.text() {
			return false
		}
		e.setString(f, v.bytes)
	case aBool:
		e.setBool(f, v.n == 1)
		return v.is == isBool
	case anInterval:
		send, _ := r.next()
		recv, ok := r.next()
		if !ok || v.is != isArray || v.n != 2 || send.is != isUint || recv.is != isUint {
			return false
		}
		e.setHeartbeat(send.n, recv.n)
	case aHeader:
		if v.is != isArray {
			return false
		}
		for range v.n {
			pair, _ := r.next()
			if pair.is != isArray || pair.n != 2 {
				return false
			}
			name, _ := r.next()
			value, _ := r.next()
			if !name.text() || !value.text() {
				return false
			}
			if !e.addHeader(name.bytes, value.bytes) {
				break
			}
		}
	case aBody:
		e.setBody(v.bytes)
		return v.is == isBin
	}
	return true
}

// is is a type of msgpack.
type is uint8

const (
	isNil is = iota
	isBool
	isUint // not negative
	isInt  // negative
	isFloat
	isStr
	isBin
	isExt
	isArray
	isMap
)

// item is one value, without the elements of an array or a map.
type item struct {
	is    is
	n     uint64 // the number, the count of elements, 1 for true
	bytes []byte // of a str, a bin
}

// text reports whether v is text.
func (v *item) text() bool { return v.is == isStr && utf8.Valid(v.bytes) }

// reader walks over msgpack. Nothing is allocated, whatever lengths are announced.
type reader struct {
	data []byte
	i    int
	what string // what is wrong at i
}

// next reads one item. It returns false if there is none, or not all of it.
func (r *reader) next() (item, bool) {
	if r.i == len(r.data) {
		r.what = "the message ends too early"
		return item{}, false
	}
	c := r.data[r.i]
	r.i++
	switch {
	case c < 0x80:
		return item{is: isUint, n: uint64(c)}, true
	case c < 0x90:
		return item{is: isMap, n: uint64(c & 0xf)}, true
	case c < 0xa0:
		return item{is: isArray, n: uint64(c & 0xf)}, true
	case c < 0xc0:
		return r.bytes(isStr, uint64(c&0x1f))
	case c >= 0xe0:
		return item{is: isInt}, true
	}
	switch c {
	case 0xc0:
		return item{is: isNil}, true
	case 0xc1:
		r.i--
		r.what = "a value of no type"
		return item{}, false
	case 0xc2, 0xc3:
		return item{is: isBool, n: uint64(c & 1)}, true
	case 0xca, 0xcb:
		return r.bytes(isFloat, 4<<(c-0xca))
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return r.bytes(isExt, 1+1<<(c-0xd4))
	}
	// The others have a number in 1, 2, 4 or 8 bytes, big-endian.
	w := wide[c]
	number, ok := r.bytes(w.is, uint64(w.size))
	if !ok {
		return item{}, false
	}
	var n uint64
	for _, b := range number.bytes {
		n = n<<8 | uint64(b)
	}
	switch w.is {
	case isStr, isBin:
		return r.bytes(w.is, n)
	case isExt:
		return r.bytes(isExt, n+1)
	case isInt:
		if n>>(8*w.size-1) == 0 {
			return item{is: isUint, n: n}, true
		}
	}
	return item{is: w.is, n: n}, true
}

// wide are the first bytes that a number follows, and its size.
var wide = [...]struct {
	is   is
	size uint8
}{
	0xc4: {isBin, 1}, 0xc5: {isBin, 2}, 0xc6: {isBin, 4},
	0xc7: {isExt, 1}, 0xc8: {isExt, 2}, 0xc9: {isExt, 4},
	0xcc: {isUint, 1}, 0xcd: {isUint, 2}, 0xce: {isUint, 4}, 0xcf: {isUint, 8},
	0xd0: {isInt, 1}, 0xd1: {isInt, 2}, 0xd2: {isInt, 4}, 0xd3: {isInt, 8},
	0xd9: {isStr, 1}, 0xda: {isStr, 2}, 0xdb: {isStr, 4},
	0xdc: {isArray, 2}, 0xdd: {isArray, 4},
	0xde: {isMap, 2}, 0xdf: {isMap, 4},
}

// bytes reads the n bytes of an item.
func (r *reader) bytes(is is, n uint64) (item, bool) {
	if n > uint64(len(r.data)-r.i) {
		r.what = "the message ends too early"
		return item{}, false
	}
	b := r.data[r.i : r.i+int(n)]
	r.i += int(n)
	return item{is: is, bytes: b}, true
}

// skip reads one value with all its elements.
func (r *reader) skip() bool {
	for left := uint64(1); left > 0; left-- {
		v, ok := r.next()
		if !ok {
			return false
		}
		switch v.is {
		case isArray:
			left += v.n
		case isMap:
			left += 2 * v.n
		}
		// Each element takes a byte at least.
		if left-1 > uint64(len(r.data)-r.i) {
			r.what = "the message ends too early"
			return false
		}
	}
	return true
}
