package codectest

import (
	"strings"
	"testing"

	"github.com/weftws/weft/codec"
)

// Benchmark measures Append and Unmarshal of a Record in three sizes. It fails
// for a codec that breaks a rule: there is no number without a passing kit. opts are
// those of Check.
//
// One value is encoded over and over into the same memory: caches are warm, and
// growing dst is not measured. Bytes per second are those of the encoding.
func Benchmark(b *testing.B, c codec.Codec, opts *Options) {
	for _, err := range Check(c, opts) {
		b.Error(err)
	}
	if b.Failed() {
		return
	}
	for _, size := range []struct {
		name string
		n    int
	}{{"small", 1}, {"medium", 16}, {"large", 256}} {
		v := Record{Name: strings.Repeat("n", 16*size.n), Int: 42, Float: 1.5, Yes: true}
		for range size.n {
			v.List = append(v.List, "an element")
		}
		data, err := c.Append(nil, &v)
		if err != nil {
			b.Logf("no benchmark of a struct: %v", err)
			return
		}
		b.Run("append/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			dst := make([]byte, 0, 2*len(data))
			for b.Loop() {
				if _, err := c.Append(dst, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("unmarshal/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var to Record
				if err := c.Unmarshal(data, &to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
