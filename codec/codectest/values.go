package codectest

import (
	"math"
	"strings"
	"unicode/utf8"
)

// Record is the struct among Values.
type Record struct {
	Name    string
	Yes     bool
	Int     int64
	Uint    uint64
	Float   float64
	Bytes   []byte
	List    []string
	Table   map[string]int64
	Inner   Inner
	Pointer *Inner
	Missing *Inner
}

// Inner is the struct within Record.
type Inner struct {
	ID   int32
	Tags []string
}

// Values makes what every codec of Go data can carry: structs, nested ones and
// pointers to them, maps, slices, byte slices, strings of all kinds of runes, and
// numbers at their limits. Lengths lie on both sides of the limits that binary
// formats have.
func Values() []any {
	vs := []any{
		Record{
			Name:    "grüße",
			Yes:     true,
			Int:     math.MinInt64,
			Uint:    math.MaxUint64,
			Float:   0.1,
			Bytes:   []byte("\x00\x01\xfe\xff bytes"),
			List:    []string{"a", "", "c"},
			Table:   map[string]int64{"one": 1, "": 0, "minus": -1},
			Inner:   Inner{ID: -7, Tags: []string{"x"}},
			Pointer: &Inner{ID: 7, Tags: []string{}},
		},
		Record{},
		&Inner{ID: 1},
		[]Record{{Name: "first"}, {Name: "second"}},
		map[string]Inner{"a": {ID: 1}, "b": {ID: 2}},
		[]*Inner{nil, {ID: 1}},
		[][]int64{{}, {1}, {1, 2}},
		true, false,
		int8(math.MinInt8), int16(math.MinInt16), int32(math.MinInt32), int64(math.MinInt64),
		int8(math.MaxInt8), int16(math.MaxInt16), int32(math.MaxInt32), int64(math.MaxInt64),
		uint8(math.MaxUint8), uint16(math.MaxUint16), uint32(math.MaxUint32), uint64(math.MaxUint64),
		0.0, -1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, float32(0.1),
		"", "plain", "\x00\x1f\x7f\t\r\n\"\\/", "</script>&", "é e\u0301 \u2028\u2029\ufeff\ufffd\uffff", "\U0001f600\U0010ffff",
	}
	for _, n := range []int64{0, 1, -1, -32, -33, 127, 128, -128, -129, 1 << 53, 1<<53 + 1} {
		vs = append(vs, n)
	}
	for _, n := range []int{0, 15, 16, 31, 32, 255, 256, 65535, 65536} {
		vs = append(vs, strings.Repeat("s", n), []byte(strings.Repeat("\xff", n)))
	}
	for _, n := range []int{0, 15, 16, 255, 256} {
		vs = append(vs, make([]bool, n))
	}
	vs = append(vs, make([]uint16, 65536))
	var runes strings.Builder
	for r := rune(0); r <= utf8.MaxRune; r += 1 + r/32 {
		if utf8.ValidRune(r) {
			runes.WriteRune(r)
		}
	}
	return append(vs, runes.String())
}

func unencodable() []any {
	return []any{
		make(chan int),
		func() {},
		[]any{"before", make(chan int)},
		struct {
			Before string
			Broken func()
		}{strings.Repeat("x", 100), func() {}},
	}
}

// nested makes lists within lists, for the formats that it knows.
func nested(contentType string, levels int) []byte {
	switch contentType {
	case "application/json":
		return []byte(strings.Repeat("[", levels) + strings.Repeat("]", levels))
	case "application/msgpack", "application/x-msgpack", "application/vnd.msgpack":
		return []byte(strings.Repeat("\x91", levels) + "\xc0")
	case "application/cbor":
		return []byte(strings.Repeat("\x81", levels) + "\xf6")
	}
	return nil
}

// huge has inputs that announce 64 MiB of bytes, 16 Mi elements and 4 Mi pairs:
// enough to be seen, not enough to end a process that falls for it.
func huge(contentType string) [][]byte {
	switch contentType {
	case "application/msgpack", "application/x-msgpack", "application/vnd.msgpack":
		return [][]byte{
			[]byte("\xc6\x04\x00\x00\x00"),     // bin
			[]byte("\xdb\x04\x00\x00\x00"),     // str
			[]byte("\xc9\x04\x00\x00\x00\x05"), // ext
			[]byte("\xdd\x01\x00\x00\x00"),     // array
			[]byte("\xdf\x00\x40\x00\x00"),     // map
		}
	case "application/cbor":
		return [][]byte{
			[]byte("\x5a\x04\x00\x00\x00"), // bytes
			[]byte("\x7a\x04\x00\x00\x00"), // text
			[]byte("\x9a\x01\x00\x00\x00"), // array
			[]byte("\xba\x00\x40\x00\x00"), // map
		}
	}
	return nil
}
