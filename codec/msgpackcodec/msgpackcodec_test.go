package msgpackcodec_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weftws/weft/codec/codectest"
	"github.com/weftws/weft/codec/msgpackcodec"
)

var strict = msgpackcodec.New(&msgpackcodec.Options{DisallowUnknownFields: true, DisallowDuplicateKeys: true, MaxDepth: 10000})

func TestCodec(t *testing.T) {
	t.Parallel()
	codectest.Run(t, msgpackcodec.New(nil), nil)
}

func TestStrictCodec(t *testing.T) {
	t.Parallel()
	codectest.Run(t, strict, nil)
}

func BenchmarkCodec(b *testing.B) { codectest.Benchmark(b, msgpackcodec.New(nil), nil) }

type said struct {
	Text string `json:"text"`
	To   []int  `json:"to,omitempty" msgpack:"dest,omitempty"`
	None string `json:"-"`
}

func TestTags(t *testing.T) {
	t.Parallel()
	data, err := msgpackcodec.New(nil).Append(nil, said{Text: "hi", To: []int{1}, None: "x"})
	require.NoError(t, err)
	require.Equal(t, "\x82\xa4text\xa2hi\xa4dest\x91\x01", string(data))
	var got said
	require.NoError(t, msgpackcodec.New(nil).Unmarshal(data, &got))
	require.Equal(t, said{Text: "hi", To: []int{1}}, got)

	own := msgpackcodec.New(&msgpackcodec.Options{IgnoreJSONTags: true})
	data, err = own.Append(nil, said{Text: "hi"})
	require.NoError(t, err)
	require.Equal(t, "\x82\xa4Text\xa2hi\xa4None\xa0", string(data))
}

func TestOptionsAreCloned(t *testing.T) {
	t.Parallel()
	o := &msgpackcodec.Options{}
	c := msgpackcodec.New(o)
	o.DisallowUnknownFields = true
	require.NoError(t, c.Unmarshal([]byte("\x81\xa1x\x01"), new(said)))
}

func TestMaxDepth(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{-1, 10001} {
		require.Panics(t, func() { msgpackcodec.New(&msgpackcodec.Options{MaxDepth: depth}) })
	}
	nested := func(n int) []byte { return []byte(strings.Repeat("\x91", n) + "\xc0") }
	maps := func(n int) []byte { return []byte(strings.Repeat("\x81\xa0", n) + "\xc0") }
	for _, max := range []int{0, 1, 3, 10000} {
		c := msgpackcodec.New(&msgpackcodec.Options{MaxDepth: max})
		if max == 0 {
			max = 1000
		}
		for _, make := range []func(int) []byte{nested, maps} {
			require.NoError(t, c.Unmarshal(make(max), new(any)))
			require.ErrorContains(t, c.Unmarshal(make(max+1), new(any)), "nesting")
			require.NoError(t, c.Unmarshal(make(max), new(msgpack.RawMessage)))
		}
	}
	// Depth is what is open at a time, not what was opened.
	wide := "\xdc\x00\xc8" + strings.Repeat("\x90", 200)
	require.NoError(t, msgpackcodec.New(&msgpackcodec.Options{MaxDepth: 2}).Unmarshal([]byte(wide), new(any)))
}

func TestUntyped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		data string
		want any
	}{
		{"\xc0", nil},
		{"\xc3", true},
		{"\x05", int8(5)},
		{"\xff", int8(-1)},
		{"\xcc\xff", uint8(255)},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", uint64(math.MaxUint64)},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", int64(math.MinInt64)},
		{"\xca\x3f\x80\x00\x00", float32(1)},
		{"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 1.0},
		{"\xa1a", "a"},
		{"\xd9\x01a", "a"},
		{"\xc4\x01\xff", []byte{0xff}},
		{"\x92\x01\xc0", []any{int8(1), nil}},
		{"\x81\xa1a\x81\xa1b\x90", map[string]any{"a": map[string]any{"b": []any{}}}},
		{"\x81\xa1a\xc4\x00", map[string]any{"a": []byte{}}},
	} {
		got := any("what was there") // is replaced, whatever it was
		require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte(tt.data), &got), "%q", tt.data)
		require.Equal(t, tt.want, got)
		got = nil
		require.NoError(t, strict.Unmarshal([]byte(tt.data), &got), "%q", tt.data)
		require.Equal(t, tt.want, got)
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	type table = map[string]string
	for _, tt := range []struct {
		data, want string
		to         any
	}{
		{"", "cut short", new(any)},
		{"\xc1", "no meaning", new(any)},
		{"\x91\xc1", "no meaning", new(any)},
		{"\xa5abc", "cut short", new(string)},
		{"\xcd\x01", "cut short", new(int)},
		{"\xd9", "cut short", new(string)},
		{"\x92\x01", "cut short", new(any)},
		{"\x81\xa1a", "cut short", new(any)},
		{"\xd4", "cut short", new(any)},
		{"\xd4\x05", "cut short", new(any)},
		{"\xc7\x00", "cut short", new(any)},
		{"\xdf\xff\xff\xff\xff", "2 GiB", new(any)},
		{"\xdd\x7f\xff\xff\xff", "cut short", new(any)},
		{"\xdf\x00\x00\x00\x01\x01", "cut short", new(table)},
		{"\x01\x01", "behind the value", new(int)},
		{"\xa1a", "decoding int64", new(int)},
		{"\x81\x01\x02", "string", new(any)},
		{"\x81\x90\x02", "does not fit", new(map[any]int)}, // a key that can't be hashed
		{"\xd4\x05\x00", "unknown ext", new(any)},
		{"\x81\xa1T\xc0", "does not fit", new(struct{ T time.Time })},
		{"\x01", "does not fit", new(error)},
	} {
		err := msgpackcodec.New(nil).Unmarshal([]byte(tt.data), tt.to)
		require.ErrorContains(t, err, tt.want, "%q", tt.data)
		require.True(t, strings.HasPrefix(err.Error(), "msgpackcodec: "), err)
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	for _, to := range []any{nil, 1, said{}, map[string]any{}, (*string)(nil), (*[]string)(nil), (*map[string]any)(nil), (*any)(nil)} {
		require.ErrorContains(t, msgpackcodec.New(nil).Unmarshal([]byte("\x90"), to), "a pointer that is not nil", "%T", to)
	}
}

// The library steps over the header of an extension where it wants a map. What is
// in the extension has not been checked and must not be read as a value.
func TestExtensionIsNoMap(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{
		"\xd6\x05\x81\xa1a\x01",
		"\xc7\x05\x05\xdf\x7f\xff\xff\xff",
		"\xd6\xff\xdf\x7f\xff\xff",
		"\xc8\x00\x05\x05\xdf\x7f\xff\xff\xff",
		"\xc9\x00\x00\x00\x05\x05\xdf\x7f\xff\xff\xff",
	} {
		for _, to := range []any{new(map[string]any), new(map[string]string), new(map[int]int)} {
			require.Error(t, msgpackcodec.New(nil).Unmarshal([]byte(ext), to), "%q", ext)
			// As a value in a struct, behind another extension that is skipped.
			in := "\x82\xa1x" + ext + "\xa1M" + ext
			require.Error(t, msgpackcodec.New(nil).Unmarshal([]byte(in), &struct{ M map[string]int }{}), "%q", ext)
		}
	}
}

func TestUnknownExtensionIsSkipped(t *testing.T) {
	t.Parallel()
	var got said
	require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte("\x83\xa1x\xd6\x05\xdf\x7f\xff\xff\xa1y\xc7\x01\x05\xc1\xa4text\xa2hi"), &got))
	require.Equal(t, "hi", got.Text)
}

// JavaScript writes 1.0 as an integer.
func TestFloatFromInteger(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]float64{
		"\x01": 1, "\xff": -1, "\xcd\x01\x00": 256, "\xca\x3f\x00\x00\x00": 0.5,
	} {
		var got struct{ F float64 }
		require.NoError(t, strict.Unmarshal([]byte("\x81\xa1F"+data), &got))
		require.InDelta(t, want, got.F, 0)
	}
}

func TestUnknownFields(t *testing.T) {
	t.Parallel()
	data := []byte("\x82\xa4text\xa2hi\xa1x\x91\x01")
	require.NoError(t, msgpackcodec.New(nil).Unmarshal(data, new(said)))
	require.ErrorContains(t, strict.Unmarshal(data, new(said)), `unknown field "x"`)
	require.NoError(t, strict.Unmarshal(data, new(map[string]any)))
}

func TestDuplicateKeys(t *testing.T) {
	t.Parallel()
	type numbers = map[int64]int
	for _, tt := range []struct {
		data string
		to   func() any
		dup  bool
	}{
		{"\x82\xa1a\x01\xa1a\x02", func() any { return new(any) }, true},
		{"\x82\xa1a\x01\xa1b\x02", func() any { return new(any) }, false},
		{"\x82\xa1a\x01\xd9\x01a\x02", func() any { return new(any) }, true},
		{"\x82\xa1a\x01\xc4\x01a\x02", func() any { return new(any) }, true},
		{"\x82\xa1a\x81\xa1a\x01\xa1b\x81\xa1a\x01", func() any { return new(any) }, false},
		{"\x92\x81\xa1a\x01\x81\xa1a\x01", func() any { return new(any) }, false},
		{"\x82\xa1a\x82\xa1b\x01\xa1b\x01\xa1c\x01", func() any { return new(any) }, true},
		{"\x81\xa1x\x82\xa1a\x01\xa1a\x02", func() any { return new(said) }, true}, // in what is skipped
		{"\x82\x01\x01\xcc\x01\x01", func() any { return new(numbers) }, true},
		{"\x82\xd1\x00\x01\x01\xcf\x00\x00\x00\x00\x00\x00\x00\x01\x01", func() any { return new(numbers) }, true},
		{"\x82\xff\x01\xd0\xff\x01", func() any { return new(numbers) }, true},
		{"\x82\xd2\xff\xff\xff\xff\x01\xd3\xff\xff\xff\xff\xff\xff\xff\xff\x01", func() any { return new(numbers) }, true},
		{"\x82\xd3\xff\xff\xff\xff\xff\xff\xff\xff\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01", func() any { return new(map[any]int) }, false},
		{"\x82\xc2\x01\xc3\x01", func() any { return new(map[bool]int) }, false},
		{"\x82\xc3\x01\xc3\x01", func() any { return new(map[bool]int) }, true},
	} {
		require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte(tt.data), tt.to()), "%q", tt.data)
		err := strict.Unmarshal([]byte(tt.data), tt.to())
		if tt.dup {
			require.ErrorContains(t, err, "duplicate key", "%q", tt.data)
		} else {
			require.NoError(t, err, "%q", tt.data)
		}
	}
	for _, key := range []string{"\x90", "\x80", "\xd4\x05\x00"} {
		require.ErrorContains(t, strict.Unmarshal([]byte("\x81"+key+"\x01"), new(any)), "no plain value")
	}
	for _, cut := range []string{"\x81", "\x81\xa1", "\x81\xd9", "\x81\xcd\x00"} {
		require.ErrorContains(t, strict.Unmarshal([]byte(cut), new(any)), "cut short")
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		at   time.Time
		head string // of the form in which it travels
	}{
		{time.Unix(0, 0), "\xd6\xff"},
		{time.Unix(1<<32-1, 0), "\xd6\xff"},
		{time.Unix(1<<32, 0), "\xd7\xff"},
		{time.Unix(1, 999999999), "\xd7\xff"},
		{time.Unix(1<<34, 0), "\xc7\x0c\xff"},
		{time.Unix(-1, 5), "\xc7\x0c\xff"},
		{time.Time{}, "\xc7\x0c\xff"},
		{time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), "\xc7\x0c\xff"},
	} {
		data, err := strict.Append(nil, tt.at)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(data, []byte(tt.head)), "%q", data)
		var got time.Time
		require.NoError(t, strict.Unmarshal(data, &got))
		require.True(t, tt.at.Equal(got), "%v is %v", tt.at, got)
		var untyped any
		require.NoError(t, strict.Unmarshal(data, &untyped))
		require.True(t, tt.at.Equal(untyped.(time.Time)))
		var in struct{ T, U *time.Time }
		require.NoError(t, strict.Unmarshal(append([]byte("\x82\xa1U\xc0\xa1T"), data...), &in))
		require.True(t, tt.at.Equal(*in.T))
		require.Nil(t, in.U)
	}
}

func TestRawMessageIsACopy(t *testing.T) {
	t.Parallel()
	data := []byte("\x81\xa1R\x92\xa1a\xc4\x02bc")
	var got struct{ R msgpack.RawMessage }
	require.NoError(t, msgpackcodec.New(nil).Unmarshal(data, &got))
	want := string(data[3:])
	clear(data)
	require.NoError(t, msgpackcodec.New(nil).Unmarshal([]byte("\xaasomethinga"), new(string)))
	require.Equal(t, want, string(got.R))
}

func TestMarshalers(t *testing.T) {
	t.Parallel()
	want := netip.MustParseAddr("192.0.2.1")
	data, err := msgpackcodec.New(nil).Append(nil, want)
	require.NoError(t, err)
	require.Equal(t, "\xc4\x04\xc0\x00\x02\x01", string(data))
	var got netip.Addr
	require.NoError(t, msgpackcodec.New(nil).Unmarshal(data, &got))
	require.Equal(t, want, got)
}

type panics struct{}

func (*panics) UnmarshalMsgpack([]byte) error { panic("ouch") }

type fails struct{}

var errFails = errors.New("fails")

func (*fails) UnmarshalMsgpack([]byte) error { return errFails }
func (fails) MarshalMsgpack() ([]byte, error) {
	return nil, errFails
}

func TestOwnMethods(t *testing.T) {
	t.Parallel()
	c := msgpackcodec.New(nil)
	require.ErrorContains(t, c.Unmarshal([]byte("\x01"), new(panics)), "does not fit a *msgpackcodec_test.panics: ouch")
	require.ErrorIs(t, c.Unmarshal([]byte("\x01"), new(fails)), errFails)
	dst, err := c.Append([]byte("dst"), []any{1, fails{}})
	require.ErrorIs(t, err, errFails)
	require.Equal(t, "dst", string(dst))
}

// partial reads less than the value that it is given.
type partial struct{}

func (*partial) DecodeMsgpack(d *msgpack.Decoder) error {
	_, err := d.DecodeArrayLen()
	return err
}

func TestPartOfAValue(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, msgpackcodec.New(nil).Unmarshal([]byte("\x92\x01\x02"), new(partial)), "leaves 2 bytes")
}

func TestAllocations(t *testing.T) {
	c := msgpackcodec.New(nil)
	v := &said{Text: "hello, world", To: []int{1, 2, 3}}
	dst := make([]byte, 0, 256)
	data, err := c.Append(nil, v)
	require.NoError(t, err)
	var to said
	for name, tt := range map[string]struct {
		max float64
		f   func()
	}{
		"append":    {limit(2), func() { _, err = c.Append(dst, v) }},      // both for omitempty
		"unmarshal": {limit(2), func() { err = c.Unmarshal(data, &to) }},   // the string and a slice header
		"refuse":    {limit(4), func() { _ = c.Unmarshal(data[:5], &to) }}, // the error
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, tt.f), tt.max, name)
		require.NoError(t, err, name)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		"\xc0", "\x01", "\xff", "\xcc\xff", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xa1a", "\xc4\x01\xff",
		"\x82\xa4Name\xa1a\xa5Inner\x81\xa2ID\x01", "\x92\x01\x91\xc0", "\xd6\xff\x00\x00\x00\x01", "\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xdf\x00\x00\x00\x01\xa1a\x01", "\xd6\x05\x81\xa1a\x01", "\xdd\xff\xff\xff\xff", "\xc1", "\x91\x91\x91\x91", "\x82\xa1a\x01\xa1a\x02",
		"\xd4\x80\x00",
	} {
		f.Add([]byte(seed))
	}
	c := msgpackcodec.New(nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, to := range []any{new(codectest.Record), new(map[string]any), new(map[string]string), new(map[int]any), new([]string), new(string), new(time.Time), new(msgpack.RawMessage)} {
			lenient, err := c.Unmarshal(data, to), strict.Unmarshal(data, to)
			if err == nil && lenient != nil {
				t.Errorf("into %T: strict takes what is refused otherwise: %v", to, lenient)
			}
		}
		var first, second, third any
		if c.Unmarshal(data, &first) == nil {
			// What is decoded can be encoded, and after the first time, when numbers
			// lose the width in which they came, nothing changes any more.
			second = again(t, c, first)
			third = again(t, c, second)
			if fmt.Sprint(first) != fmt.Sprint(second) || fmt.Sprintf("%#v", second) != fmt.Sprintf("%#v", third) {
				t.Errorf("%#v, %#v, %#v", first, second, third)
			}
		}
		if !bytes.Equal(data, before) {
			t.Error("data was changed")
		}
	})
}

func again(t *testing.T, c *msgpackcodec.Codec, v any) (decoded any) {
	data, err := c.Append(nil, v)
	if err == nil {
		err = c.Unmarshal(data, &decoded)
	}
	if err != nil {
		t.Fatalf("%#v: %v", v, err)
	}
	return decoded
}
