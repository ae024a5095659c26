package tcp

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// allocEcho echoes without a slice of its own for each message.
type allocEcho struct {
	c     transport.Conn
	batch [1]transport.Message
}

func (e *allocEcho) Receive(m transport.Message) {
	e.batch[0] = m
	_, _ = e.c.Write(e.batch[:])
}
func (e *allocEcho) Writable()    {}
func (e *allocEcho) Closed(error) {}

// rawDial connects to a plain server without a transport.
func rawDial(t testing.TB, url string) *net.TCPConn {
	t.Helper()
	_, addr, _ := strings.Cut(url, "://")
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

// TestAllocs: an echo costs the server nothing for the garbage collector.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself")
	}
	nc := rawDial(t, serve(t, "plain", nil, &acceptor{open: func(c transport.Conn) transport.Receiver { return &allocEcho{c: c} }}))
	for _, size := range []int{1, 16, 1000, 16 << 10} {
		out, in := bytes.Repeat([]byte("x"), size), make([]byte, size)
		echo := func() {
			_, _ = nc.Write(out)
			_, _ = io.ReadFull(nc, in)
		}
		for range 100 {
			echo()
		}
		require.Equal(t, out, in)
		// A collection empties the pools in the middle of a run. It happens in few of
		// them, so the best of several is what an echo costs.
		best := testing.AllocsPerRun(200, echo)
		for range 4 {
			best = min(best, testing.AllocsPerRun(200, echo))
		}
		require.Zero(t, best, "%d bytes", size)
	}
}

// TestIdleMemory: a silent connection holds no buffer. TLS has its own.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	const conns = 200
	url := serve(t, "plain", nil, &acceptor{open: func(c transport.Conn) transport.Receiver { return &allocEcho{c: c} }})
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	for range conns {
		nc := rawDial(t, url)
		_, err := nc.Write(make([]byte, 100))
		require.NoError(t, err)
		_, err = io.ReadFull(nc, make([]byte, 100))
		require.NoError(t, err)
	}
	each := int64(used()-before) / conns
	t.Logf("%d bytes of heap for both ends of a connection", each)
	require.Less(t, each, int64(4<<10))
}
