package msgpackcodec_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weftws/weft/codec/msgpackcodec"
)

// The types of the tables: each has an integer of 8 bits somewhere.
type (
	tiny  uint8
	plain struct{ N uint8 }
	inner struct {
		B uint8 `json:"b"`
	}
	outer struct {
		A  inner `json:"a"`
		PA **inner
	}
	embedding struct {
		inner
		Other string
	}
	Pointed   struct{ B uint8 }
	byPointer struct{ *Pointed }
	shadowing struct {
		B int64 `json:"b"`
		inner
	}
	shadowed struct {
		inner
		B int64 `json:"b"`
	}
	forced struct {
		B     int64 `json:"b"`
		inner `msgpack:",inline"`
	}
	apart struct {
		inner `msgpack:",noinline"`
	}
	tagged struct {
		N uint8  `msgpack:"n,alias:old,omitempty" json:"other"`
		J uint8  `json:"j,omitempty"`
		C uint8  `json:"xml:lang"` // the library takes no colon for a part of a name
		D uint8  `json:"-"`
		E string `msgpack:"-"`
	}
	array struct {
		_msgpack struct{} `msgpack:",as_array"` //nolint:unused // the library reads the tag
		S        string
		N        uint8
		inner
	}
	tree struct {
		N    uint8
		Left *tree
		List []tree
		Map  map[string]*tree
	}
	loop  []loop
	anys  struct{ V any }
	blobs struct {
		B []byte
		A [4]byte
		T []tiny
	}
	signs struct {
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		I   int
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		U   uint
		F32 float32
		F64 float64
		D   time.Duration
	}
	itself    int8
	itselfToo struct{ X uint8 }
	ambiguous struct { // has no method of either
		itself //nolint:unused // only its method matters
		itselfToo
	}
	others struct {
		N  uint8
		T  time.Time
		P  *time.Time
		IP netip.Addr
		R  msgpack.RawMessage
		I  itself
		L  []itself
		M  map[string]*itself
	}
)

func (i *itself) DecodeMsgpack(d *msgpack.Decoder) error {
	n, err := d.DecodeInt64()
	*i = itself(n >> 8)
	return err
}

func (*itselfToo) DecodeMsgpack(*msgpack.Decoder) error { return nil }

type m = map[string]any

func TestIntegersThatDoNotFit(t *testing.T) {
	t.Parallel()
	huge := uint64(1 << 63)
	for _, tt := range []struct {
		to   any
		from any
		want string // nothing if it fits
	}{
		{new(uint8), 255, ""},
		{new(uint8), 256, "a uint8 can't hold 256"},
		{new(uint8), -1, "a uint8 can't hold -1"},
		{new(tiny), 300, "a msgpackcodec_test.tiny can't hold 300"},
		{new(*uint8), 300, "a uint8 can't hold 300"},
		{new(uint8), nil, ""},
		{new(int8), 128, "a int8 can't hold 128"},
		{new(int64), huge, "a int64 can't hold 9223372036854775808"},
		{new(uint64), uint64(math.MaxUint64), ""},
		{new(uint64), int64(math.MinInt64), "can't hold -9223372036854775808"},
		{new(float64), huge - 1, ""},
		{new(float64), huge, "a float64 can't hold 9223372036854775808"},
		{new(float64), -1, ""},
		{new(time.Duration), huge, "a time.Duration can't hold 9223372036854775808"},

		{new(plain), m{"N": 300}, `the field "N" can't hold 300`},
		{new(plain), m{"n": 300, "M": m{"N": []int{300}}}, ""},
		{new(plain), m{"n": 300, "N": 255}, ""},
		{new(plain), []int{300}, `the field "N" can't hold 300`},
		{new(plain), []int{255}, ""},
		{new([]plain), []m{{"N": 1}, {"N": -1}}, `the field "N" can't hold -1`},
		{new([2]plain), []m{{"N": 1}, {"N": -1}}, `the field "N" can't hold -1`},
		{new([]int8), []int{1, 200}, "a int8 can't hold 200"},
		{new([2]int8), []int{1, 200}, "a int8 can't hold 200"},
		{new(outer), m{"a": m{"b": 300}}, `the field "a.b" can't hold 300`},
		{new(outer), m{"PA": m{"b": -2}, "a": nil}, `the field "PA.b" can't hold -2`},
		{new(outer), m{"A": m{"b": 300}, "b": 300}, ""},
		{new(struct{ M map[string]plain }), m{"M": m{"N": m{"N": 300}}}, `the field "M.N" can't hold 300`},
		{new(struct{ M map[string]uint8 }), m{"M": m{"k": 300}}, `the field "M" can't hold 300`},
		{new(map[uint8]string), map[int]string{300: "a"}, "a uint8 can't hold 300"},
		{new(map[uint8]int), map[int]int{3: 300}, ""},
		{new(map[int]uint8), map[int]int{300: 3}, ""},
		{new(map[int]uint8), map[int]int{300: 300}, "a uint8 can't hold 300"},

		{new(embedding), m{"b": 300}, `the field "b" can't hold 300`},
		{new(embedding), m{"inner": m{"b": 300}}, `the field "inner.b" can't hold 300`},
		{new(byPointer), m{"B": 300}, `the field "B" can't hold 300`},
		{new(shadowing), m{"b": 300}, ""},
		{new(shadowed), m{"b": 300}, ""},
		{new(forced), m{"b": 300}, ""},
		{new(apart), m{"b": 300}, ""},
		{new(tagged), m{"n": 300}, `the field "n" can't hold 300`},
		{new(tagged), m{"old": 300}, `the field "old" can't hold 300`},
		{new(tagged), m{"j": 300}, `the field "j" can't hold 300`},
		{new(tagged), m{"C": 300}, `the field "C" can't hold 300`},
		{new(tagged), m{"N": 300, "J": 300, "D": 300, "E": 300, "other": 300, "-": 300, "xml": 300}, ""},
		{new(plain), []int{1, 300}, "number of fields"},
		{new(ambiguous), m{"X": 300}, ""},
		{new(array), []any{"s", 300, 1}, `the field "N" can't hold 300`},
		{new(array), []any{"s", 1, 300}, `the field "b" can't hold 300`},
		{new(array), m{"b": 300}, `the field "b" can't hold 300`},

		{new(tree), m{"Left": m{"List": []m{{}, {"Map": m{"x": m{"N": 300}}}}}}, `the field "Left.List.Map.N" can't hold 300`},
		{new(tree), m{"Left": m{"List": []m{{}, {"Map": m{"x": m{"n": 300}}}}}}, ""},
		{new(loop), []any{[]any{}}, ""},
		{new(anys), m{"V": huge}, ""},
		{new(any), []any{-1, huge}, ""},
		{new(map[string]any), m{"V": huge}, ""},
		{new(blobs), m{"B": []byte{255}, "A": []byte("abcd"), "T": []byte{255}, "x": 300}, ""},
		{new(others), m{"I": 0x7fff, "L": []int{300}, "M": m{"x": 300}, "N": 1}, ""},
		{new(others), m{"I": 0x7fff, "N": 300}, `the field "N" can't hold 300`},
		{new(others), m{"T": time.Unix(1<<40, 1), "P": time.Now(), "IP": netip.MustParseAddr("::1"), "R": []int{-1, 300}}, ""},
		{new(signs), m{"F32": -5000000, "D": -1, "I64": -1, "I": math.MinInt32}, ""},
		{new(signs), m{"F32": huge}, `the field "F32" can't hold`},
		{new(signs), m{"F64": huge}, `the field "F64" can't hold`},
		{new(signs), m{"D": huge}, `the field "D" can't hold`},
	} {
		data, err := msgpackcodec.New(nil).Append(nil, tt.from)
		require.NoError(t, err)
		for _, c := range []*msgpackcodec.Codec{msgpackcodec.New(nil), msgpackcodec.New(&msgpackcodec.Options{DisallowDuplicateKeys: true})} {
			to := reflect.New(reflect.TypeOf(tt.to).Elem()).Interface()
			err = c.Unmarshal(data, to)
			if tt.want == "" {
				require.NoError(t, err, "%T from %v", to, tt.from)
				continue
			}
			require.ErrorContains(t, err, tt.want, "%T from %v", to, tt.from)
			require.True(t, strings.HasPrefix(err.Error(), "msgpackcodec: "), err)
			require.True(t, reflect.ValueOf(to).Elem().IsZero(), "decoded nevertheless")
		}
	}
}

func TestIntegersAndJSONTags(t *testing.T) {
	t.Parallel()
	own := msgpackcodec.New(&msgpackcodec.Options{IgnoreJSONTags: true})
	require.NoError(t, own.Unmarshal([]byte("\x81\xa1b\xcd\x01\x2c"), new(inner)))
	require.ErrorContains(t, own.Unmarshal([]byte("\x81\xa1B\xcd\x01\x2c"), new(inner)), `the field "B" can't hold 300`)
	require.ErrorContains(t, own.Unmarshal([]byte("\x81\xa1n\xcd\x01\x2c"), new(tagged)), `the field "n" can't hold 300`)
}

func TestIntegersBehindAnInterface(t *testing.T) {
	t.Parallel()
	var n uint8
	to := any(&n)
	require.ErrorContains(t, msgpackcodec.New(nil).Unmarshal([]byte("\xcd\x01\x2c"), &to), "a uint8 can't hold 300")
	require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte("\xcc\xff"), &to))
	require.EqualValues(t, 255, n)
	to = n
	require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte("\xcd\x01\x2c"), &to))
	require.EqualValues(t, 300, to)
}

// Every form in which a number travels, into every type.
func TestIntegersInEveryWidth(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 1, -1, -32, -33, 127, 128, -128, -129, 255, 256, math.MaxInt16, math.MinInt16, math.MaxInt16 + 1, math.MaxUint16, math.MaxUint16 + 1,
		math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, math.MinInt64} {
		for width := 1; width <= 8; width *= 2 {
			full := binary.BigEndian.AppendUint64(nil, uint64(n))[8-width:]
			code := map[int]byte{1: 0, 2: 1, 4: 2, 8: 3}[width]
			if shift := 64 - 8*width; n<<shift>>shift == n {
				checkNumber(t, append([]byte{0xd0 + code}, full...), n)
			}
			if shift := 64 - 8*width; n >= 0 && uint64(n)<<shift>>shift == uint64(n) {
				checkNumber(t, append([]byte{0xcc + code}, full...), n)
			}
		}
		if n >= -32 && n <= 127 {
			checkNumber(t, []byte{byte(n)}, n)
		}
	}
}

func checkNumber(t *testing.T, number []byte, n int64) {
	typ := reflect.TypeFor[signs]()
	for i := range typ.NumField() {
		f, to := typ.Field(i), new(signs)
		data := append([]byte{0x81, 0xa0 | byte(len(f.Name))}, f.Name...)
		err := msgpackcodec.New(nil).Unmarshal(append(data, number...), to)
		v := reflect.ValueOf(to).Elem().Field(i)
		if fits(v, n) {
			require.NoError(t, err, "%d as %x into %v", n, number, f.Type)
		} else {
			require.ErrorContains(t, err, fmt.Sprintf("the field %q can't hold %d", f.Name, n), "as %x", number)
		}
	}
}

// fits is the reference: a conversion and back changes nothing.
func fits(v reflect.Value, n int64) bool {
	switch {
	case v.CanInt():
		return !v.OverflowInt(n)
	case v.CanUint():
		return n >= 0 && !v.OverflowUint(uint64(n))
	}
	return true // a float takes any, and may round it
}

// A struct of wide integers, decoded into one of the same names with narrow ones.
func TestIntegersOfRandomStructs(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	narrow := []reflect.Type{
		reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[int](),
		reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[tiny](),
	}
	c := msgpackcodec.New(nil)
	refused := 0
	for range 500 {
		var fields, wide []reflect.StructField
		for i := range 1 + rnd.IntN(4) {
			f := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: narrow[rnd.IntN(len(narrow))]}
			if rnd.IntN(2) == 0 {
				f.Tag = reflect.StructTag(fmt.Sprintf(`json:"f%d,omitempty"`, i))
			}
			w := f
			w.Type = reflect.TypeFor[int64]()
			switch rnd.IntN(4) {
			case 0:
				f.Type, w.Type = reflect.PointerTo(f.Type), reflect.PointerTo(w.Type)
			case 1:
				if f.Type.Kind() != reflect.Uint8 {
					f.Type, w.Type = reflect.SliceOf(f.Type), reflect.SliceOf(w.Type)
				}
			case 2:
				f.Type, w.Type = reflect.MapOf(f.Type, f.Type), reflect.MapOf(w.Type, w.Type)
			}
			fields, wide = append(fields, f), append(wide, w)
		}
		from, to := reflect.New(reflect.StructOf(wide)).Elem(), reflect.New(reflect.StructOf(fields))
		all := true
		for i, f := range fields {
			number := func(t reflect.Type) reflect.Value {
				n := int64(rnd.Uint64()) >> (rnd.IntN(8) * 8)
				if rnd.IntN(2) == 0 {
					n &= math.MaxInt64
				}
				all = all && fits(reflect.Zero(t), n)
				return reflect.ValueOf(n)
			}
			switch w := from.Field(i); w.Kind() {
			case reflect.Pointer:
				w.Set(reflect.New(w.Type().Elem()))
				w.Elem().Set(number(f.Type.Elem()))
			case reflect.Slice:
				w.Set(reflect.Append(w, number(f.Type.Elem()), number(f.Type.Elem())))
			case reflect.Map:
				w.Set(reflect.MakeMap(w.Type()))
				w.SetMapIndex(number(f.Type.Key()), number(f.Type.Elem()))
			default:
				w.Set(number(f.Type))
			}
		}
		data, err := c.Append(nil, from.Interface())
		require.NoError(t, err)
		err = c.Unmarshal(data, to.Interface())
		if !all {
			refused++
			require.ErrorContains(t, err, "can't hold", "%v into %v", from, to.Type())
			continue
		}
		require.NoError(t, err, "%v into %v", from, to.Type())
		back, err := c.Append(nil, to.Interface())
		require.NoError(t, err)
		require.Equal(t, data, back)
	}
	require.Greater(t, refused, 50)
	require.Less(t, refused, 450)
}

func TestIntegersInTheDeep(t *testing.T) {
	t.Parallel()
	c := msgpackcodec.New(&msgpackcodec.Options{MaxDepth: 10000})
	data := []byte(strings.Repeat("\x81\xa4Left", 9999) + "\x81\xa1N\xcd\x01\x2c")
	err := c.Unmarshal(data, new(tree))
	require.ErrorContains(t, err, `Left.Left.N" can't hold 300`)
	require.Less(t, len(err.Error()), 200)
	require.ErrorContains(t, msgpackcodec.New(nil).Unmarshal(data, new(tree)), "nesting")
	// What no field takes is passed over, however deep it is.
	deep := "\x82\xa1x" + strings.Repeat("\x91", 9999) + "\xcd\x01\x2c\xa1N"
	require.NoError(t, c.Unmarshal([]byte(deep+"\x01"), new(tree)))
	require.ErrorContains(t, c.Unmarshal([]byte(deep+"\xff"), new(tree)), `the field "N" can't hold -1`)
}

// The library would find "Num" for the extension.
func TestNoFieldByAnInternedName(t *testing.T) {
	t.Parallel()
	type interning struct {
		S   string `msgpack:",intern"`
		Num uint8
	}
	data := "\x82\xa1S\xa3Num\xd5\x80\x00\x00\xcd\x01\x2c"
	require.ErrorContains(t, msgpackcodec.New(nil).Unmarshal([]byte(data), new(interning)), "an extension for a name")
}

// tree8 and tree64 differ only in the width of their integers.
type (
	tree8 struct {
		N    int8
		P    *int8
		Next *tree8          `json:"next"`
		List []tree8         `msgpack:"list"`
		Map  map[int8]*tree8 `json:"map"`
		Deep [][]map[string]int8
	}
	tree64 struct {
		N    int64
		P    *int64
		Next *tree64           `json:"next"`
		List []tree64          `msgpack:"list"`
		Map  map[int64]*tree64 `json:"map"`
		Deep [][]map[string]int64
	}
)

// What fits is the same in both widths, and what does not fit is in the wide one.
func FuzzIntegers(f *testing.F) {
	c := msgpackcodec.New(&msgpackcodec.Options{DisallowDuplicateKeys: true, MaxDepth: 100})
	for _, seed := range []any{
		m{"N": 1, "P": -1, "next": m{"N": 300}}, m{"list": []m{{"N": 128}}}, m{"map": map[int]any{-129: nil, 5: m{"N": 2}}},
		m{"Deep": []any{[]any{m{"x": -5, "y": int64(1 << 40)}}}}, []any{1, nil, nil, nil, nil, []any{}}, m{"x": -1000},
	} {
		data, err := c.Append(nil, seed)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var narrow tree8
		var wide tree64
		narrowErr, wideErr := c.Unmarshal(data, &narrow), c.Unmarshal(data, &wide)
		switch {
		case narrowErr == nil && wideErr != nil:
			t.Errorf("only the wide one is refused: %v", wideErr)
		case narrowErr == nil:
			var same tree64
			sent, err := c.Append(nil, narrow)
			require.NoError(t, err)
			require.NoError(t, c.Unmarshal(sent, &same))
			require.Equal(t, wide, same)
		case wideErr == nil:
			require.ErrorContains(t, narrowErr, "can't hold")
			require.True(t, needsMore(reflect.ValueOf(wide)), "all of %+v fits", wide)
		}
	})
}

// needsMore reports whether an integer in v takes more than 8 bits.
func needsMore(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Int64:
		return v.Int() != int64(int8(v.Int()))
	case reflect.Pointer:
		return !v.IsNil() && needsMore(v.Elem())
	case reflect.Struct:
		for _, f := range v.Fields() {
			if needsMore(f) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if needsMore(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if needsMore(k) || needsMore(v.MapIndex(k)) {
				return true
			}
		}
	}
	return false
}

type wideStruct struct {
	Name  string
	ID    int64
	At    int64
	Table map[string]int64
	List  []int64
}

type narrowStruct struct {
	Name  string
	ID    int32
	At    int64
	Table map[string]uint16
	List  []int16
}

// Small numbers are within every integer of both types; among large ones is a time
// that is not.
func BenchmarkIntegers(b *testing.B) {
	c := msgpackcodec.New(nil)
	from := wideStruct{"name", 1000, 1, map[string]int64{"a": 1, "b": 2, "c": 300}, []int64{1, 2, 3, 400}}
	small, err := c.Append(nil, from)
	require.NoError(b, err)
	from.At = 1790000000000
	large, err := c.Append(nil, from)
	require.NoError(b, err)
	for _, bb := range []struct {
		name string
		data []byte
		to   any
	}{
		{"wide/small", small, new(wideStruct)},
		{"wide/large", large, new(wideStruct)},
		{"narrow/small", small, new(narrowStruct)},
		{"narrow/large", large, new(narrowStruct)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Unmarshal(bb.data, bb.to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
