package inspect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

type kind uint8

const (
	literal kind = iota // null, true, false and numbers, as text
	str
	bin
	ext
	array
	object // the items are names and values by turns
)

// node is a value of JSON or msgpack.
type node struct {
	kind  kind
	text  string // of a literal, str, bin or ext
	items []node
}

// maxDepth bounds how deep values may lie in each other, also across strings that hold values.
const maxDepth = 64

var errFormat = errors.New("inspect: not in this format")

// parseJSON returns the value that data is.
func parseJSON(data []byte) (node, error) {
	if !json.Valid(data) || !utf8.Valid(data) {
		return node{}, errFormat
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return jsonValue(dec, 0)
}

func jsonValue(dec *json.Decoder, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errFormat
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, errFormat
	}
	switch v := tok.(type) {
	case string:
		return node{kind: str, text: v}, nil
	case json.Number:
		return node{text: v.String()}, nil
	case bool:
		return node{text: strconv.FormatBool(v)}, nil
	case json.Delim:
		n := node{kind: array}
		if v == '{' {
			n.kind = object
		}
		for dec.More() { // names are tokens too
			item, err := jsonValue(dec, depth+1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, item)
		}
		_, err := dec.Token()
		return n, err
	default:
		return node{text: "null"}, nil
	}
}

// parseMsgpack returns the value that data is.
func parseMsgpack(data []byte) (node, error) {
	p := unpacker{data}
	n, err := p.value(0)
	if err == nil && len(p.rest) > 0 {
		err = errFormat
	}
	return n, err
}

type unpacker struct{ rest []byte }

func (p *unpacker) next(n uint64) ([]byte, error) {
	if n > uint64(len(p.rest)) {
		return nil, errFormat
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

// number reads a big-endian number of 1, 2, 4 or 8 bytes.
func (p *unpacker) number(size uint64) (uint64, error) {
	b, err := p.next(size)
	if err != nil {
		return 0, err
	}
	var all [8]byte
	copy(all[8-size:], b)
	return binary.BigEndian.Uint64(all[:]), nil
}

func (p *unpacker) value(depth int) (node, error) {
	b, err := p.next(1)
	if err != nil || depth > maxDepth {
		return node{}, errFormat
	}
	switch c := b[0]; {
	case c <= 0x7f:
		return node{text: strconv.Itoa(int(c))}, nil
	case c >= 0xe0:
		return node{text: strconv.Itoa(int(int8(c)))}, nil
	case c <= 0x8f:
		return p.container(object, 2*uint64(c&0xf), depth)
	case c <= 0x9f:
		return p.container(array, uint64(c&0xf), depth)
	case c <= 0xbf:
		return p.bytes(str, uint64(c&0x1f))
	case c == 0xc0:
		return node{text: "null"}, nil
	case c == 0xc2 || c == 0xc3:
		return node{text: strconv.FormatBool(c == 0xc3)}, nil
	case c >= 0xc4 && c <= 0xc6:
		return p.sized(bin, 1<<(c-0xc4), 0)
	case c >= 0xc7 && c <= 0xc9:
		return p.sized(ext, 1<<(c-0xc7), 1) // and the type
	case c == 0xca:
		v, err := p.number(4)
		return node{text: strconv.FormatFloat(float64(math.Float32frombits(uint32(v))), 'g', -1, 32)}, err
	case c == 0xcb:
		v, err := p.number(8)
		return node{text: strconv.FormatFloat(math.Float64frombits(v), 'g', -1, 64)}, err
	case c >= 0xcc && c <= 0xcf:
		v, err := p.number(1 << (c - 0xcc))
		return node{text: strconv.FormatUint(v, 10)}, err
	case c >= 0xd0 && c <= 0xd3:
		size := uint64(1) << (c - 0xd0)
		v, err := p.number(size)
		shift := 64 - 8*size
		return node{text: strconv.FormatInt(int64(v<<shift)>>shift, 10)}, err
	case c >= 0xd4 && c <= 0xd8:
		return p.bytes(ext, 1+1<<(c-0xd4))
	case c >= 0xd9 && c <= 0xdb:
		return p.sized(str, 1<<(c-0xd9), 0)
	case c == 0xdc || c == 0xdd:
		n, err := p.number(2 << (c - 0xdc))
		if err != nil {
			return node{}, err
		}
		return p.container(array, n, depth)
	case c == 0xde || c == 0xdf:
		n, err := p.number(2 << (c - 0xde))
		if err != nil {
			return node{}, err
		}
		return p.container(object, 2*n, depth)
	}
	return node{}, errFormat // 0xc1 is never used
}

func (p *unpacker) sized(k kind, size, more uint64) (node, error) {
	n, err := p.number(size)
	if err != nil {
		return node{}, err
	}
	return p.bytes(k, n+more)
}

func (p *unpacker) bytes(k kind, n uint64) (node, error) {
	b, err := p.next(n)
	if k == str && !utf8.Valid(b) {
		k = bin
	}
	return node{kind: k, text: string(b)}, err
}

func (p *unpacker) container(k kind, n uint64, depth int) (node, error) {
	if n > uint64(len(p.rest)) { // an item has a byte at least
		return node{}, errFormat
	}
	c := node{kind: k}
	for range n {
		item, err := p.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		c.items = append(c.items, item)
	}
	return c, nil
}
