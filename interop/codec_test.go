package interop

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
)

// @msgpack/msgpack reads what weft writes and the other way round.
func TestInteropNPMMsgpack(t *testing.T) {
	foreign(t)
	t.Parallel()
	codecCases(t, msgpackcodec.New(nil), append(jsonValues(), msgpackValues()...), "node", "js/msgpack_codec.mjs")
}

// python3-msgpack reads what weft writes and the other way round.
func TestInteropPythonMsgpack(t *testing.T) {
	foreign(t)
	t.Parallel()
	codecCases(t, msgpackcodec.New(nil), append(jsonValues(), msgpackValues()...), python, "py/msgpack_codec.py")
}

// The JSON of node and weft's. Integers beyond 2^53 are left out: node has no
// other numbers than float64.
func TestInteropNodeJSON(t *testing.T) {
	foreign(t)
	t.Parallel()
	codecCases(t, jsoncodec.New(&jsoncodec.Options{UseNumber: true}), jsonValues(), "node", "js/msgpack_codec.mjs")
}

// Python's json and weft's codec.
func TestInteropPythonJSON(t *testing.T) {
	foreign(t)
	t.Parallel()
	values := append(jsonValues(), int64(math.MinInt64), int64(math.MaxInt64), uint64(math.MaxUint64), int64(1<<53+1))
	codecCases(t, jsoncodec.New(&jsoncodec.Options{UseNumber: true}), values, python, "py/msgpack_codec.py")
}

// jsonValues are what both formats carry.
func jsonValues() []any {
	vs := []any{
		nil, true, false,
		0.5, -0.1, 1e300, -1e-300, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Ldexp(1, 64), math.Pi,
		"", "plain", "grüße, 世界 🧵", "e\u0301 \u2028\u2029 \ufeff\uffff \U0010ffff", "</script>&'", "\"\\/\b\f\n\r\t\x00\x1f\x7f",
		[]any{}, []any{nil, true, int64(-1), 0.5, "x", []any{[]any{}}},
		map[string]any{}, map[string]any{"": "", "ü": nil, "a b": map[string]any{"c": []any{map[string]any{"d": int64(1)}}}},
	}
	for _, n := range []int64{31, 32, 127, 128, 255, 256, 32767, 32768, 65535, 65536, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32, math.MaxUint32 + 1, 1<<53 - 1} {
		vs = append(vs, n, -n, -n-1+n>>52)
	}
	vs = append(vs, int64(0), int8(-8), int16(-300), int32(70000), uint8(200), uint16(60000), uint32(4e9))
	for _, n := range []int{31, 32, 255, 256, 300, 65535, 65536, 70000} {
		vs = append(vs, strings.Repeat("s", n), strings.Repeat("ü", n/2))
	}
	for _, n := range []int{15, 16, 65535, 65536} {
		list, table := make([]any, n), make(map[string]any, n)
		for i := range list {
			list[i] = int64(i)
			table[strconv.Itoa(i)] = int64(i)
		}
		vs = append(vs, list, table)
	}
	return vs
}

// msgpackValues are what JSON can't carry.
func msgpackValues() []any {
	vs := []any{
		int64(math.MinInt64), int64(math.MinInt64 + 1), int64(math.MaxInt64), uint64(math.MaxInt64 + 1), uint64(math.MaxUint64), int64(1<<53 + 1),
		math.Inf(1), math.Inf(-1),
		map[string]any{"at": time.Unix(5, 6), "bin": []byte{1}},
	}
	for _, n := range []int{0, 1, 255, 256, 65535, 65536, 70000} {
		vs = append(vs, []byte(strings.Repeat("\xff\x00", (n+1)/2)[:n]))
	}
	for _, sec := range []int64{0, 1, 1<<32 - 1, 1 << 32, 1<<34 - 1, 1 << 34, -1, -62135596800, 253402300799, 1e12} {
		for _, nsec := range []int64{0, 1, 5e8, 999999999} {
			vs = append(vs, time.Unix(sec, nsec))
		}
	}
	return vs
}

// A codecCase is one value on its way to another language or back.
type codecCase struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // described
	Data  string `json:"data"`  // encoded, in hexadecimal
}

// codecCases has a script decode each value as weft encodes it, compare it with its
// description, and encode what is described, for weft to decode.
func codecCases(t *testing.T, c codec.Codec, values []any, program, file string) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	var cases []codecCase
	for i, v := range values {
		data, err := c.Append(nil, v)
		require.NoError(t, err)
		name := fmt.Sprintf("%d %T %.30q", i, v, fmt.Sprint(v))
		cases = append(cases, codecCase{strings.ReplaceAll(name, ": ", ":"), describe(t, v), hex.EncodeToString(data)})
	}
	list, err := json.Marshal(cases)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ours, list, 0o600))

	script(t, nil, program, file, c.Name(), ours, theirs)

	list, err = os.ReadFile(theirs)
	require.NoError(t, err)
	var back []codecCase
	require.NoError(t, json.Unmarshal(list, &back))
	require.Len(t, back, len(cases))
	for i, b := range back {
		require.Equal(t, cases[i].Name, b.Name)
		data, err := hex.DecodeString(b.Data)
		require.NoError(t, err)
		var untyped any
		require.NoError(t, c.Unmarshal(data, &untyped), b.Name)
		require.Equal(t, cases[i].Value, describe(t, untyped), b.Name)
		if values[i] == nil {
			continue
		}
		typed := reflect.New(reflect.TypeOf(values[i]))
		require.NoError(t, c.Unmarshal(data, typed.Interface()), b.Name)
		require.Equal(t, cases[i].Value, describe(t, typed.Elem().Interface()), b.Name)
	}
}

// describe puts v into a form that every language can compare: the kind and a text
// without any freedom. A number is an integer if 64 bits hold it and it was not
// written as a float.
func describe(t *testing.T, v any) any {
	t.Helper()
	float := func(f float64) any { return []any{"float", fmt.Sprintf("%016x", math.Float64bits(f))} }
	switch v := v.(type) {
	case nil:
		return []any{"nil"}
	case bool:
		return []any{"bool", v}
	case string:
		return []any{"str", v}
	case []byte:
		return []any{"bin", hex.EncodeToString(v)}
	case time.Time:
		return []any{"time", strconv.FormatInt(v.Unix(), 10), strconv.Itoa(v.Nanosecond())}
	case json.Number:
		if _, err := strconv.ParseUint(strings.TrimPrefix(v.String(), "-"), 10, 64); err == nil {
			return []any{"int", v.String()}
		}
		f, err := v.Float64()
		require.NoError(t, err)
		return float(f)
	case float64:
		return float(v)
	case []any:
		elems := []any{"list"}
		for _, e := range v {
			elems = append(elems, describe(t, e))
		}
		return elems
	case map[string]any:
		var names []string
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		table := []any{"map"}
		for _, name := range names {
			table = append(table, []any{name, describe(t, v[name])})
		}
		return table
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return []any{"int", strconv.FormatInt(r.Int(), 10)}
	case r.CanUint():
		return []any{"int", strconv.FormatUint(r.Uint(), 10)}
	}
	require.FailNow(t, "no description", "%T", v)
	return nil
}
