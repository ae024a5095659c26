package wire

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// reads is a connection from which data can be read, and which counts the reads.
type reads struct {
	net.Conn
	data  io.Reader
	count int
}

func (r *reads) Read(p []byte) (int, error) {
	r.count++
	return r.data.Read(p)
}

func TestBlockingReadsMuchOfWhatHasBegun(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	nc := &reads{data: bytes.NewReader(make([]byte, size))}
	s := &blocking{nc: nc}
	var b Buffer
	for n := 0; n < size; {
		require.NoError(t, s.Read(&b))
		n += b.Len()
		b.Consume(b.Len())
		b.More = n < size
	}
	require.LessOrEqual(t, nc.count, 1+size/BufferSize+1)
	b.More = false
	require.Error(t, s.Read(&b))
	require.Nil(t, b.blk, "an idle connection holds no block")
}
