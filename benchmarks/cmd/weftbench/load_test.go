package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func serverFrame(op byte, payload []byte) []byte {
	b := []byte{op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// However the stream is cut, the counter sees the same: messages, not their
// fragments, no control frames, and markers of payloads alone.
func TestCounter(t *testing.T) {
	t.Parallel()
	big := append(bytes.Repeat([]byte("x"), 70_000), '#')
	stream := bytes.Join([][]byte{
		serverFrame(0x81, []byte("a#b")),
		serverFrame(0x81, nil),
		serverFrame(0x89, []byte("ping#")),
		serverFrame(0x82, bytes.Repeat([]byte("x"), '#')), // the length is the marker
		serverFrame(0x01, []byte("#")),
		serverFrame(0x80, []byte("#")),
		serverFrame(0x82, big),
		maskedFrame(message{Type: "text", Data: []byte("comes back from a TCP row")}),
		serverFrame(0x81, []byte("##")),
	}, nil)
	for _, step := range []int{1, 2, 3, 7, 1000, len(stream)} {
		c := counter{marker: '#'}
		for rest := stream; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			c.feed(rest[:min(step, len(rest))])
		}
		require.Equal(t, 7, c.frames, "in steps of %d", step)
		require.Equal(t, 6, c.marks, "in steps of %d", step)
		require.Equal(t, int64(len(stream)), c.bytes)
	}
}

func TestCounterKeepsAMessage(t *testing.T) {
	t.Parallel()
	c := counter{keep: true}
	c.feed(serverFrame(0x81, []byte("one")))
	c.feed(serverFrame(0x81, []byte("two")))
	require.Equal(t, "two", string(c.last))
}

func TestMaskedFrame(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 125, 126, 65535, 65536} {
		f := maskedFrame(message{Type: "binary", Data: bytes.Repeat([]byte("m"), n)})
		require.Equal(t, byte(0x82), f[0])
		c := counter{keep: true}
		c.feed(f)
		require.Equal(t, 1, c.frames, "%d bytes", n)
		require.Len(t, c.last, n)
		for i, x := range c.last {
			require.Equal(t, byte('m'), x^f[len(f)-n-4+i%4])
		}
	}
}
