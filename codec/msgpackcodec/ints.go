package msgpackcodec

import (
	"fmt"
	"reflect"
	"strings"
)

// The library cuts an integer that its target is too narrow for. So the scanner notes
// how far the integers in data reach. Only if that is further than every number in the
// Go type holds, data is walked along the type before the library has it.

// span is the integers from low to high. The zero span, and up to 127, is within every
// type of number.
type span struct {
	low  int64
	high uint64
}

// add widens s to an integer.
func (s *span) add(n uint64, negative bool) {
	if negative {
		s.low = min(s.low, int64(n))
	} else {
		s.high = max(s.high, n)
	}
}

func (s span) within(t span) bool { return s.low >= t.low && s.high <= t.high }

// misfit is the error for an integer that its target can't hold.
type misfit struct {
	path string // of the field, or the end of a long path
	typ  reflect.Type
	why  string
}

const maxPath = 100 // bytes, and a name

func (m *misfit) Error() string {
	if m.path == "" {
		return fmt.Sprintf("msgpackcodec: a %s can't %s", m.typ, m.why)
	}
	return fmt.Sprintf("msgpackcodec: the field %q can't %s", m.path, m.why)
}

// fit checks that v can hold the integers of data, which reach as far as found.
func (c *Codec) fit(data []byte, v any, found span) error {
	to := reflect.ValueOf(v).Elem()
	if to.Kind() == reflect.Interface {
		if to = to.Elem(); to.Kind() != reflect.Pointer {
			return nil // an interface takes integers as they are
		}
	}
	p := c.plan(to.Type())
	if found.within(p.common) { // saves the walk
		return nil
	}
	if _, m := p.root.walk(data, 0); m != nil {
		return m
	}
	return nil
}

// walk checks the value at pos, which has been scanned, and returns where it ends.
func (s *shape) walk(data []byte, pos int) (end int, m *misfit) {
	h, _ := parse(data[pos:])
	end = pos + h.head + int(h.size)
	if s != nil && s.kind == reflect.Int {
		n, negative, ok := integer(data[pos], data[pos+h.head:end])
		var is span
		is.add(n, negative)
		if ok && !is.within(s.holds) {
			m = &misfit{typ: s.typ, why: fmt.Sprintf("hold %d", n)}
			if negative {
				m.why = fmt.Sprintf("hold %d", int64(n))
			}
			return end, m
		}
	}
	var f field // of a struct, that the next value is for
	for i := range h.values {
		var to *shape
		isKey := h.isMap && i%2 == 0
		switch {
		case s == nil:
		case s.kind == reflect.Slice && !h.isMap:
			to = s.elem
		case s.kind == reflect.Map && isKey:
			to = s.key
		case s.kind == reflect.Map && h.isMap:
			to = s.elem
		case s.kind == reflect.Struct && isKey:
			k, _ := parse(data[end:])
			if k.ext { // the library may see an earlier string in it
				return end, &misfit{typ: s.typ, why: "have an extension for a name"}
			}
			f = s.byName[string(data[end+k.head:][:k.size])]
		case s.kind == reflect.Struct && h.isMap:
			to = f.shape
		case s.kind == reflect.Struct && i < uint64(len(s.inOrder)):
			f = s.inOrder[i]
			to = f.shape
		}
		if end, m = to.walk(data, end); m != nil {
			if s.kind == reflect.Struct && len(m.path) < maxPath {
				m.path = strings.TrimSuffix(f.name+"."+m.path, ".")
			}
			return end, m
		}
	}
	return end, nil
}
