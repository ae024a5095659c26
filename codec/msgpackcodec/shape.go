package msgpackcodec

import (
	"cmp"
	"encoding"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
)

// plan is what is known of a Go type.
type plan struct {
	root   *shape
	common span // that all numbers in the type hold
}

// shape is what the library decodes a type from. It is nil for a type without numbers
// and for one that decodes itself.
type shape struct {
	kind      reflect.Kind // Int for all numbers, Slice for arrays too, Map or Struct
	typ       reflect.Type
	holds     span   // of a number
	key, elem *shape // of a map; a slice has elem only
	fields           // of a struct
}

// fields are the fields of a struct, those of a map and those of an array.
type fields struct {
	byName  map[string]field
	inOrder []field
}

type field struct {
	name  string
	shape *shape
}

func (fs *fields) add(f field) {
	fs.byName[f.name] = f
	fs.inOrder = append(fs.inOrder, f)
}

// plan returns the plan for a type.
func (c *Codec) plan(t reflect.Type) *plan {
	if p, ok := c.plans.Load(t); ok {
		return p.(*plan)
	}
	pl := planner{tag: c.tag, shapes: make(map[reflect.Type]*shape), common: span{math.MinInt64, math.MaxUint64}}
	p := &plan{root: pl.shape(t), common: pl.common}
	c.plans.Store(t, p)
	return p
}

// planner makes the shapes of one plan.
type planner struct {
	tag    string
	shapes map[reflect.Type]*shape // also those that are not complete: types may be recursive
	common span
}

var ownDecoders = []reflect.Type{
	reflect.TypeFor[msgpack.CustomDecoder](), reflect.TypeFor[msgpack.Unmarshaler](),
	reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

func decodesItself(t reflect.Type) bool {
	return slices.ContainsFunc(ownDecoders, reflect.PointerTo(t).Implements)
}

func (p *planner) shape(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		return p.shape(t.Elem())
	}
	if s, ok := p.shapes[t]; ok || decodesItself(t) {
		return s
	}
	s := &shape{kind: t.Kind(), typ: t}
	p.shapes[t] = s
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.holds = span{math.MinInt64 >> (64 - t.Bits()), math.MaxInt64 >> (64 - t.Bits())}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.holds = span{0, math.MaxUint64 >> (64 - t.Bits())}
	case reflect.Float32, reflect.Float64: // the library makes integers int64 first
		s.holds = span{math.MinInt64, math.MaxInt64}
	case reflect.Array, reflect.Slice:
		s.kind = reflect.Slice
		if t.Elem().Kind() != reflect.Uint8 { // which are bytes
			s.elem = p.shape(t.Elem())
		}
		return s
	case reflect.Map:
		s.key, s.elem = p.shape(t.Key()), p.shape(t.Elem())
		return s
	case reflect.Struct:
		s.fields = p.fields(t)
		return s
	default:
		p.shapes[t] = nil
		return nil
	}
	s.kind = reflect.Int
	p.common = span{max(p.common.low, s.holds.low), min(p.common.high, s.holds.high)}
	return s
}

// fields finds the fields of a struct, and their names, by the rules of the library.
func (p *planner) fields(t reflect.Type) fields {
	fs := fields{byName: make(map[string]field)}
	for sf := range t.Fields() {
		name, opts := parseTag(sf.Tag.Get("msgpack"))
		if sf.Tag.Get("msgpack") == "" && p.tag != "" {
			name, opts = parseTag(sf.Tag.Get(p.tag))
		}
		if name == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		f := field{cmp.Or(name, sf.Name), p.shape(sf.Type)}
		if p.inline(&fs, sf, opts) {
			fs.byName[f.name] = f
			continue
		}
		fs.add(f)
		if alias, ok := opts["alias"]; ok {
			fs.byName[alias] = field{alias, f.shape}
		}
	}
	return fs
}

// inline adds the fields of an embedded struct to fs. By itself the library does that
// where no name is there already; by the option, for the names that are not.
func (p *planner) inline(fs *fields, sf reflect.StructField, opts map[string]string) bool {
	t := sf.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	_, never := opts["noinline"]
	_, always := opts["inline"]
	if !sf.Anonymous || never || t.Kind() != reflect.Struct || decodesItself(t) && !always {
		return false
	}
	inner := p.fields(t).inOrder
	isTaken := func(f field) bool { _, ok := fs.byName[f.name]; return ok }
	if !always && slices.ContainsFunc(inner, isTaken) {
		return false
	}
	for _, f := range inner {
		if !always || !isTaken(f) {
			fs.add(f)
		}
	}
	return true
}

// parseTag splits a tag into a name and options. Unlike the library it knows no quotes.
func parseTag(tag string) (name string, opts map[string]string) {
	opts = make(map[string]string)
	for i, part := range strings.Split(tag, ",") {
		key, value, ok := strings.Cut(part, ":")
		if !ok {
			key, value = "", part
		}
		switch key, value = strings.TrimSpace(key), strings.TrimSpace(value); {
		case key != "":
			opts[key] = value
		case i == 0:
			name = value
		default:
			opts[value] = ""
		}
	}
	return name, opts
}
