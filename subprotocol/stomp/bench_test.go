package stomp

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// One frame is written and read over and over in the same memory: caches are warm, and
// growing dst is not measured. Bytes per second are those of the wire form.
func benchmarks(b *testing.B, run func(b *testing.B, writer, reader *framer, m *neutral, wire transport.Message)) {
	near, far := ends(b, New(nil), v12)
	for _, size := range []int{16, 1 << 10, 32 << 10} {
		body := bytes.Repeat([]byte("x"), size)
		for _, bm := range []struct {
			name string
			m    *neutral
		}{
			{"send", &neutral{Kind: subprotocol.KindSend, Destination: "/topic/rooms/7", ContentType: "application/json", Body: body}},
			{"send-headers", &neutral{Kind: subprotocol.KindSend, Destination: "/topic/rooms/7", ContentType: "application/json", Receipt: "1207",
				Header: fields("priority", "4", "trace", "a:b", "origin", "eu-west"), Body: body}},
			{"message", &neutral{Kind: subprotocol.KindDeliver, Subscription: "sub-1", ID: "4711", Destination: "/topic/rooms/7",
				ContentType: "application/json", Body: body}},
		} {
			m := bm.m
			writer, reader := near, far
			if m.Kind == subprotocol.KindDeliver {
				writer, reader = far, near
			}
			wire, typ, err := writer.Append(nil, m)
			require.NoError(b, err)
			b.Run(fmt.Sprintf("%s/%d", bm.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(wire)))
				run(b, writer, reader, m, transport.Message{Type: typ, Data: wire})
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	benchmarks(b, func(b *testing.B, _, reader *framer, _ *neutral, wire transport.Message) {
		var sink subprotocol.Sink = discard{}
		for b.Loop() {
			if err := reader.Decode(wire, sink); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Frames that lie in chunks of 1000 bytes, as a TCP connection brings them.
func BenchmarkDecodeChunks(b *testing.B) {
	benchmarks(b, func(b *testing.B, _, reader *framer, _ *neutral, wire transport.Message) {
		var sink subprotocol.Sink = discard{}
		for b.Loop() {
			for rest := wire.Data; len(rest) > 0; {
				n := min(len(rest), 1000)
				if err := reader.Decode(transport.Message{Type: wire.Type, Data: rest[:n:n]}, sink); err != nil {
					b.Fatal(err)
				}
				rest = rest[n:]
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	benchmarks(b, func(b *testing.B, writer, _ *framer, m *neutral, wire transport.Message) {
		dst := make([]byte, 0, len(wire.Data))
		for b.Loop() {
			if _, _, err := writer.Append(dst, m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The part that is each receiver's.
func BenchmarkAppendHead(b *testing.B) {
	_, server := ends(b, New(nil), v12)
	m := &neutral{Kind: subprotocol.KindDeliver, Subscription: "sub-1", ID: "4711"}
	dst := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := server.AppendHead(dst, m); err != nil {
			b.Fatal(err)
		}
	}
}
