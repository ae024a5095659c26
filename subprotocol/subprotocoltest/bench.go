package subprotocoltest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weftws/weft/subprotocol"
)

// discard is a Sink.
type discard struct{}

func (discard) Emit(*subprotocol.Message) error { return nil }

// Benchmark measures Append and Decode of the first Send with a body, in three
// sizes. It fails for a sub-protocol that breaks a rule: there is no number
// without a passing kit. opts are those of Check.
//
// One message is encoded and decoded over and over in the same memory: caches are
// warm, and growing dst is not measured. Bytes per second are those of the wire
// form.
func Benchmark(b *testing.B, p subprotocol.SubProtocol, opts *Options) {
	for _, err := range Check(p, opts) {
		b.Error(err)
	}
	if b.Failed() {
		return
	}
	k := &kit{Options: defaults(opts), sub: p}
	if names := p.Names(); len(names) > 0 {
		k.name = names[0]
	}
	ends, ss, err := k.open()
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		m := withBody(ss, false, bytes.Repeat([]byte("x"), size))
		if m == nil {
			b.Skip("no sample from the client has a body")
		}
		w, err := encode(ends.client, m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("append/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(w.Data)))
			dst := make([]byte, 0, len(w.Data))
			for b.Loop() {
				if _, _, err := ends.client.Append(dst, m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("decode/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(w.Data)))
			var sink subprotocol.Sink = discard{}
			for b.Loop() {
				if err := ends.server.Decode(w, sink); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
