package jsoncodec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/codec/codectest"
	"github.com/weftws/weft/codec/jsoncodec"
)

var strict = jsoncodec.New(&jsoncodec.Options{DisallowUnknownFields: true, DisallowDuplicateNames: true, UseNumber: true})

// names of the options, by their bits in codecs.
var names = map[int]string{1: "fields ", 2: "names ", 4: "number "}

// codecs are all combinations of options.
func codecs() map[string]*jsoncodec.Codec {
	all := make(map[string]*jsoncodec.Codec)
	for i := range 8 {
		o := &jsoncodec.Options{DisallowUnknownFields: i&1 > 0, DisallowDuplicateNames: i&2 > 0, UseNumber: i&4 > 0}
		all[names[i&1]+names[i&2]+names[i&4]] = jsoncodec.New(o)
	}
	return all
}

func TestCodec(t *testing.T) {
	t.Parallel()
	codectest.Run(t, jsoncodec.New(nil), nil)
}

func TestStrictCodec(t *testing.T) {
	t.Parallel()
	codectest.Run(t, strict, nil)
}

func BenchmarkCodec(b *testing.B)       { codectest.Benchmark(b, jsoncodec.New(nil), nil) }
func BenchmarkStrictCodec(b *testing.B) { codectest.Benchmark(b, strict, nil) }

func TestAppend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v    any
		want string
	}{
		{nil, "null"},
		{"<a href='x'>&amp;\n", `"<a href='x'>&amp;\n"`},
		{"a\xffb", `"a\ufffdb"`},
		{"\u2028", `"\u2028"`},
		{map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{json.RawMessage("{ \"a\" : [ 1 , 2 ] }\n"), `{"a":[1,2]}`},
		{json.Number("12345678901234567890.5"), "12345678901234567890.5"},
	} {
		got, err := jsoncodec.New(nil).Append([]byte("x"), tt.v)
		require.NoError(t, err)
		require.Equal(t, "x"+tt.want, string(got))
	}
}

type fails struct{}

var errFails = errors.New("fails")

func (fails) MarshalJSON() ([]byte, error)  { return nil, errFails }
func (*fails) UnmarshalJSON(b []byte) error { return errFails }

type cycle struct{ Next *cycle }

func TestAppendFails(t *testing.T) {
	t.Parallel()
	c := new(cycle)
	c.Next = c
	for _, v := range []any{fails{}, []any{1, fails{}}, make(chan int), json.RawMessage("{"), json.Number("x"), c} {
		got, err := jsoncodec.New(nil).Append([]byte("dst"), v)
		require.ErrorContains(t, err, "jsoncodec: ", "%T", v)
		require.Equal(t, "dst", string(got))
		// The next user of the Encoder does not see the error.
		_, err = jsoncodec.New(nil).Append(nil, 1)
		require.NoError(t, err)
	}
	_, err := jsoncodec.New(nil).Append(nil, fails{})
	require.ErrorIs(t, err, errFails)
	require.ErrorIs(t, jsoncodec.New(nil).Unmarshal([]byte("1"), new(fails)), errFails)
}

// With every set of options what is invalid is refused in the same words.
func TestInvalid(t *testing.T) {
	t.Parallel()
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for data, want := range map[string]string{
				"":                         "unexpected end of JSON input",
				" ":                        "unexpected end of JSON input",
				"{":                        "unexpected end of JSON input",
				`{"a"`:                     "unexpected end of JSON input",
				`"a`:                       "unexpected end of JSON input",
				`"a\`:                      "invalid character",
				"1 2":                      "after top-level value",
				"{}x":                      "after top-level value",
				"{}]":                      "after top-level value",
				"{} {}":                    "after top-level value",
				"]":                        "invalid character",
				"{]":                       "invalid character",
				"[1,]":                     "invalid character",
				"nul":                      "invalid character",
				"\"\x00\"":                 "invalid character",
				"\"\xff\"":                 "invalid UTF-8",
				"\"\xed\xa0\x80\"":         "invalid UTF-8",
				"\xef\xbb\xbf1":            "invalid character",
				strings.Repeat("[", 10001): "exceeded max depth",
			} {
				err := c.Unmarshal([]byte(data), new(any))
				require.ErrorContains(t, err, want, "%.20q", data)
				require.True(t, strings.HasPrefix(err.Error(), "jsoncodec: "), err)
				require.NotErrorIs(t, err, io.EOF)
				require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			require.NoError(t, c.Unmarshal([]byte(" \t\r\n[ 1 ] \t\r\n"), new(any)))
			for _, to := range []any{nil, 1, (*any)(nil), map[string]any{}} {
				require.ErrorAs(t, c.Unmarshal([]byte("1"), to), new(*json.InvalidUnmarshalError))
			}
			wrong := new(json.UnmarshalTypeError)
			require.ErrorAs(t, c.Unmarshal([]byte(`{"Inner":{"ID":"x"}}`), new(codectest.Record)), &wrong)
			require.Equal(t, "Inner.ID", wrong.Field)
		})
	}
	require.ErrorIs(t, jsoncodec.New(nil).Unmarshal([]byte("\"\xff\""), new(string)), jsoncodec.ErrUTF8)
}

func TestUnknownFields(t *testing.T) {
	t.Parallel()
	data := []byte(`{"Name":"a","more":1}`)
	require.NoError(t, jsoncodec.New(nil).Unmarshal(data, new(codectest.Record)))
	require.ErrorContains(t, strict.Unmarshal(data, new(codectest.Record)), `unknown field "more"`)
	require.NoError(t, strict.Unmarshal(data, new(map[string]any)))
}

func TestUseNumber(t *testing.T) {
	t.Parallel()
	var got any
	require.NoError(t, strict.Unmarshal([]byte("12345678901234567890"), &got))
	require.Equal(t, json.Number("12345678901234567890"), got)
	require.NoError(t, jsoncodec.New(nil).Unmarshal([]byte("0.5"), &got))
	require.InDelta(t, 0.5, got, 0)
}

func TestOptionsAreCloned(t *testing.T) {
	t.Parallel()
	o := new(jsoncodec.Options)
	c := jsoncodec.New(o)
	o.DisallowDuplicateNames = true
	require.NoError(t, c.Unmarshal([]byte(`{"a":1,"a":2}`), new(any)))
}

func TestDuplicateNames(t *testing.T) {
	t.Parallel()
	for data, twice := range map[string]string{
		`{"a":1,"a":2}`:                            "a",
		`{"a":1,"b":{"a":1},"a":2}`:                "a",
		`{"a":{"b":[{"c":1,"c":2}]}}`:              "c",
		`{"a":1,"\u0061":2}`:                       "a",
		`{"\"":1,"\u0022":2}`:                      `"`,
		`{"":1,"":2}`:                              "",
		`[{"a":1},{"b":1,"b":1}]`:                  "b",
		`{"ü":1,"\u00fc":1}`:                       "ü",
		`{"😀":1,"\ud83d\ude00":1}`:                 "😀",
		`{"\ud800":1,"\udfff":1}`:                  "\ufffd",
		` { "a" : [ ] , "b" : { } , "a" : null } `: "a",
		`{"a":"x","b":"a","a":[]}`:                 "a",
		`{"a":[{}],"a":[]}`:                        "a",
		`{"unknown":{"a":1,"a":1}}`:                "a",

		`{"a":1,"b":2}`:                      "-",
		`{"a":{"a":{"a":1}}}`:                "-",
		`[{"a":1},{"a":1}]`:                  "-",
		`{"a":"a","b":"a"}`:                  "-",
		`{"a":["b","b"],"b":1}`:              "-",
		`{"a":"{\"a\":1,\"a\":2}","b":"\\"}`: "-",
		`{"a":1,"A":2}`:                      "-",
		`["a","a"]`:                          "-",
		`"a"`:                                "-",
		`{"x":{},"y":{}}`:                    "-",
	} {
		c := jsoncodec.New(&jsoncodec.Options{DisallowDuplicateNames: true})
		err := c.Unmarshal([]byte(data), new(any))
		if twice == "-" {
			require.NoError(t, err, data)
			continue
		}
		require.ErrorContains(t, err, "jsoncodec: duplicate name \""+strings.ReplaceAll(twice, `"`, `\"`)+`"`, data)
	}
}

func TestRawMessageIsACopy(t *testing.T) {
	t.Parallel()
	for _, c := range []*jsoncodec.Codec{jsoncodec.New(nil), strict} {
		data := []byte(`{"R":[1,2]}`)
		var got struct{ R json.RawMessage }
		require.NoError(t, c.Unmarshal(data, &got))
		clear(data)
		require.Equal(t, "[1,2]", string(got.R))
	}
}

func TestAllocations(t *testing.T) {
	c := jsoncodec.New(nil)
	type said struct {
		Text string `json:"text"`
		To   []int  `json:"to,omitempty"`
	}
	v := &said{Text: "hello, world", To: []int{1, 2, 3}}
	dst := make([]byte, 0, 256)
	data, err := c.Append(nil, v)
	require.NoError(t, err)
	var to said
	for name, tt := range map[string]struct {
		max float64
		f   func()
	}{
		"append":    {limit(0), func() { _, err = c.Append(dst, v) }},
		"unmarshal": {limit(6), func() { err = c.Unmarshal(data, &to) }}, // its state, the string, numbers
	} {
		got := testing.AllocsPerRun(100, tt.f)
		require.LessOrEqual(t, got, tt.max, name)
		require.NoError(t, err, name)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`null`, `1`, `-0.5e3`, `"a\u0000\ud83d\ude00"`, `{"a":[1,{"b":null}]}`, `{"Name":"a","Inner":{"ID":1},"Bytes":"AAE="}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `[`, `{}x`, "\"\xff\"", `1e999`, `{"a":"\\","b":"\""}`, "", " ",
	} {
		f.Add([]byte(seed))
	}
	all := codecs()
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		lenient := all[""].Unmarshal(data, new(any))
		for name, c := range all {
			to := new(codectest.Record)
			_ = c.Unmarshal(data, to)
			var first, second any
			if c.Unmarshal(data, &first) != nil {
				continue
			}
			if lenient != nil && !strings.Contains(name, "number") {
				t.Errorf("%s takes what is refused otherwise: %v", name, lenient)
			}
			again, err := c.Append(nil, first)
			if err == nil {
				err = c.Unmarshal(again, &second)
			}
			if err != nil || !reflect.DeepEqual(first, second) {
				t.Errorf("%s: %#v became %#v: %v", name, first, second, err)
			}
		}
		if !bytes.Equal(data, before) {
			t.Error("data was changed")
		}
	})
}
