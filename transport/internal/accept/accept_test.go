package accept

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// What was read ahead is given back, and the connection is as it was.
func TestWatch(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	stop := Watch(far, func() { t.Error("the peer is still there") })
	require.Empty(t, stop())

	stop = Watch(far, func() { t.Error("the peer is still there") })
	_, err := near.Write([]byte("a")) // returns when it is read
	require.NoError(t, err)
	require.Equal(t, "a", string(stop()))
	go func() {
		_, _ = near.Write([]byte("bc"))
		near.Close()
	}()
	rest, err := io.ReadAll(far)
	require.NoError(t, err)
	require.Equal(t, "bc", string(rest))

	gone := make(chan struct{})
	stop = Watch(far, func() { close(gone) })
	<-gone
	require.Empty(t, stop())
}
