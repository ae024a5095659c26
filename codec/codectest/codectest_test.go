package codectest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/codectest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sound is a codec without faults.
type sound struct{}

func (sound) Name() string        { return "json" }
func (sound) ContentType() string { return "application/json" }

func (sound) Append(dst []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, data...), nil
}

func (sound) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// faulty is sound but for the functions that are set.
type faulty struct {
	name, contentType func() string
	append            func(dst []byte, v any) ([]byte, error)
	unmarshal         func(data []byte, v any) error
}

func (f faulty) Name() string {
	if f.name != nil {
		return f.name()
	}
	return sound{}.Name()
}

func (f faulty) ContentType() string {
	if f.contentType != nil {
		return f.contentType()
	}
	return sound{}.ContentType()
}

func (f faulty) Append(dst []byte, v any) ([]byte, error) {
	if f.append != nil {
		return f.append(dst, v)
	}
	return sound{}.Append(dst, v)
}

func (f faulty) Unmarshal(data []byte, v any) error {
	if f.unmarshal != nil {
		return f.unmarshal(data, v)
	}
	return sound{}.Unmarshal(data, v)
}

func TestSound(t *testing.T) {
	t.Parallel()
	codectest.Run(t, sound{}, nil)
	require.Empty(t, codectest.Check(sound{}, nil))
}

func TestSoundWithOptions(t *testing.T) {
	t.Parallel()
	codectest.Run(t, sound{}, &codectest.Options{
		Values:      func() []any { return []any{map[string]string{"a": "b"}} },
		Equal:       func(want, got any) bool { return reflect.DeepEqual(want, got) },
		Unencodable: []any{make(chan int)},
		Nested:      func(n int) []byte { return []byte(strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)) },
		Huge:        [][]byte{[]byte(`"`)},
		Timeout:     time.Minute,
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	rules := codectest.Rules()
	require.GreaterOrEqual(t, len(rules), 10)
	seen := map[string]bool{}
	for _, r := range rules {
		require.False(t, seen[r.Name], r.Name)
		seen[r.Name] = true
		require.True(t, strings.HasSuffix(r.Text, "."), r.Text)
	}
}

// toggle returns a function that answers with each string in turn.
func toggle(ss ...string) func() string {
	var n atomic.Uint64
	return func() string { return ss[int(n.Add(1)-1)%len(ss)] }
}

// plain is unmarshalling without a bound on depth: lists within lists, read one
// byte at a time.
func plain(data []byte) (any, []byte) {
	if len(data) == 0 || data[0] != '[' {
		return nil, data
	}
	v, rest := plain(data[1:])
	if len(rest) > 0 && rest[0] == ']' {
		rest = rest[1:]
	}
	return []any{v}, rest
}

// shared is a codec's buffer that all its callers meet in.
type shared struct{ busy atomic.Int32 }

// few are fewer values than the kit's own, for speed.
func few() []any {
	return []any{
		codectest.Record{Name: "grüße", Bytes: []byte("\xff"), Float: 0.1},
		&codectest.Inner{ID: 1}, "a string", 0.1, []byte("bytes"),
	}
}

// along has the rules that can't hold where another one is broken: a value that
// is damaged on the way comes back as another one.
var along = map[string][]string{
	"round-trip":    {"append-prefix", "append-keeps", "unmarshal-copies", "concurrent"},
	"append-value":  {"round-trip", "append-prefix", "append-keeps", "unmarshal-copies", "concurrent"},
	"append-prefix": {"append-keeps"},
	"append-keeps":  {"append-prefix", "append-value", "unmarshal-copies", "unmarshal-data", "hostile", "concurrent"},
}

// TestKitBites plants one fault at a time. Each must be reported under the name of
// its own rule, and of no other that could hold beside it.
func TestKitBites(t *testing.T) {
	t.Parallel()
	s := sound{}
	var inUse shared
	planted := map[string]bool{}
	for _, tt := range []struct {
		fault string
		rule  string
		codec faulty
		opts  *codectest.Options
	}{
		{"no name", "names", faulty{name: func() string { return "" }}, nil},
		{"a name with a capital", "names", faulty{name: func() string { return "JSON" }}, nil},
		{"a name that changes", "names", faulty{name: toggle("json", "json2")}, nil},
		{"a content type with a blank", "names", faulty{contentType: func() string { return "application/json; charset=utf-8" }}, nil},
		{"no media type", "names", faulty{contentType: func() string { return "json" }}, nil},

		{"a float cut to six digits", "round-trip", faulty{unmarshal: func(data []byte, v any) error {
			err := s.Unmarshal(data, v)
			if f, ok := v.(*float64); ok {
				*f = float64(float32(*f))
			}
			return err
		}}, nil},

		{"dst thrown away when it has no room", "append-prefix", faulty{append: func(dst []byte, v any) ([]byte, error) {
			data, err := s.Append(nil, v)
			if err == nil && cap(dst) > 0 && cap(dst)-len(dst) < len(data) {
				return data, nil
			}
			return s.Append(dst, v)
		}}, nil},
		{"dst written from its start", "append-prefix", faulty{append: func(dst []byte, v any) ([]byte, error) {
			out, err := s.Append(dst[:0], v)
			if err != nil {
				return dst, err
			}
			return out, nil
		}}, nil},
		{"a byte of dst changed", "append-prefix", faulty{append: func(dst []byte, v any) ([]byte, error) {
			out, err := s.Append(dst, v)
			if err == nil && len(dst) > 0 {
				dst[0], out[0] = '[', '['
			}
			return out, err
		}}, nil},

		{"the value changed", "append-value", faulty{append: func(dst []byte, v any) ([]byte, error) {
			dst, err := s.Append(dst, v)
			if p, ok := v.(*codectest.Inner); ok {
				p.ID = 0
			}
			return dst, err
		}}, nil},

		{"a cache of encodings that lie in dst", "append-keeps", faulty{append: func() func([]byte, any) ([]byte, error) {
			var cache sync.Map
			return func(dst []byte, v any) ([]byte, error) {
				data, err := s.Append(nil, v)
				if err != nil {
					return dst, err
				}
				if cached, ok := cache.Load(string(data)); ok {
					return append(dst, cached.([]byte)...), nil
				}
				out := append(dst, data...)
				if cap(dst) > 0 && len(dst) == 0 {
					cache.Store(string(data), out)
				}
				return out, nil
			}
		}()}, nil},

		{"the result of an error", "append-error", faulty{append: func(dst []byte, v any) ([]byte, error) {
			out, err := s.Append(dst, v)
			if err != nil {
				return nil, err
			}
			return out, nil
		}}, nil},
		{"a part of a value before the error", "append-error", faulty{append: func(dst []byte, v any) ([]byte, error) {
			out, err := s.Append(dst, v)
			if err != nil {
				return append(dst, '{'), err
			}
			return out, nil
		}}, nil},
		{"a channel without an error", "append-error", faulty{append: func(dst []byte, v any) ([]byte, error) {
			if _, ok := v.(chan int); ok {
				return append(dst, "null"...), nil
			}
			return s.Append(dst, v)
		}}, nil},
		{"a panic for a function", "append-error", faulty{append: func(dst []byte, v any) ([]byte, error) {
			if _, ok := v.(func()); ok {
				panic("no functions")
			}
			return s.Append(dst, v)
		}}, nil},

		{"a string that lies in data", "unmarshal-copies", faulty{unmarshal: func(data []byte, v any) error {
			err := s.Unmarshal(data, v)
			if p, ok := v.(*string); ok && err == nil && len(data) == len(*p)+2 && len(*p) > 0 {
				*p = unsafe.String(&data[1], len(*p))
			}
			return err
		}}, nil},

		{"data changed in place", "unmarshal-data", faulty{unmarshal: func(data []byte, v any) error {
			err := s.Unmarshal(data, v)
			if _, ok := v.(*string); ok && err == nil {
				data[0] = 0
			}
			return err
		}}, nil},

		{"what is behind the value ignored", "trailing", faulty{unmarshal: func(data []byte, v any) error {
			return json.NewDecoder(bytes.NewReader(data)).Decode(v)
		}}, nil},
		{"one byte behind the value ignored", "trailing", faulty{unmarshal: func(data []byte, v any) error {
			err := s.Unmarshal(data, v)
			if err != nil && len(data) > 1 && data[len(data)-1] == 1 {
				return s.Unmarshal(data[:len(data)-1], v)
			}
			return err
		}}, nil},

		{"a panic for a nil target", "target", faulty{unmarshal: func(data []byte, v any) error {
			_ = reflect.TypeOf(v).Kind()
			return s.Unmarshal(data, v)
		}}, nil},
		{"a target that is no pointer ignored", "target", faulty{unmarshal: func(data []byte, v any) error {
			if v != nil && reflect.TypeOf(v).Kind() != reflect.Pointer {
				return nil
			}
			return s.Unmarshal(data, v)
		}}, nil},

		{"a panic for cut input", "hostile", faulty{unmarshal: func(data []byte, v any) error {
			if len(data) > 1 && data[0] == '{' && data[len(data)-1] == ':' {
				panic("index out of range")
			}
			return s.Unmarshal(data, v)
		}}, nil},
		{"a panic for empty input", "hostile", faulty{unmarshal: func(data []byte, v any) error {
			_ = data[0]
			return s.Unmarshal(data, v)
		}}, nil},

		{"depth without a bound", "nesting", faulty{unmarshal: func(data []byte, v any) error {
			if p, ok := v.(*any); ok && bytes.HasPrefix(data, []byte("[[[[")) {
				*p, _ = plain(data)
				return nil
			}
			return s.Unmarshal(data, v)
		}}, nil},

		{"an announced length allocated", "huge", faulty{unmarshal: func(data []byte, v any) error {
			if len(data) == 5 && data[0] == 0xc6 {
				buf := make([]byte, binary.BigEndian.Uint32(data[1:]))
				_, err := io.ReadFull(bytes.NewReader(data[5:]), buf)
				return err
			}
			return s.Unmarshal(data, v)
		}}, &codectest.Options{Huge: [][]byte{[]byte("\xc6\x04\x00\x00\x00")}}},

		{"one at a time only", "concurrent", faulty{append: func(dst []byte, v any) ([]byte, error) {
			defer inUse.busy.Add(-1)
			if inUse.busy.Add(1) > 1 {
				return dst, errors.New("in use")
			}
			runtime.Gosched()
			return s.Append(dst, v)
		}}, nil},
	} {
		planted[tt.rule] = true
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			var c codec.Codec = tt.codec
			opts := codectest.Options{Values: few}
			if tt.opts != nil {
				opts.Huge = tt.opts.Huge
			}
			var own *codectest.RuleError
			for _, err := range codectest.Check(c, &opts) {
				re, ok := errors.AsType[*codectest.RuleError](err)
				require.True(t, ok)
				if re.Rule == tt.rule {
					own = re
					continue
				}
				require.Contains(t, along[tt.rule], re.Rule, re.Detail)
			}
			require.NotNil(t, own, "not reported")
			require.NotEmpty(t, own.Detail)
			require.ErrorContains(t, own, own.Text)
		})
	}
	for _, r := range codectest.Rules() {
		require.True(t, planted[r.Name], "no fault is planted for the rule %s", r.Name)
	}
}

// A rule that never ends is broken, and the others are tested all the same.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	c := faulty{name: func() string { <-stop; return "json" }}
	errs := codectest.Check(c, &codectest.Options{
		Values:  func() []any { return []any{codectest.Record{Name: "n"}} },
		Timeout: 2 * time.Second,
	})
	require.Len(t, errs, 1)
	require.ErrorContains(t, errs[0], "names")
	require.ErrorContains(t, errs[0], "not done after 2s")
}

func BenchmarkJSON(b *testing.B) { codectest.Benchmark(b, sound{}, nil) }
