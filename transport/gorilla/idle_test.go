package gorilla

import (
	"bufio"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// TestIdleMemory: an idle connection holds no buffer for writing, and for reading the
// least that gorilla can do with.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	const conns = 200
	opened := make(chan struct{}, conns)
	url := serve(t, "http", New(nil), &acceptor{open: func(c transport.Conn) transport.Receiver {
		opened <- struct{}{}
		return &allocEcho{c: c}
	}})
	used := func() (heap, stack uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.StackInuse
	}
	heap0, stack0 := used()
	for range conns {
		nc := rawDial(t, url)
		_, err := nc.Write([]byte(upgradeRequest))
		require.NoError(t, err)
		br := bufio.NewReaderSize(nc, 16)
		resp, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		_, err = nc.Write(frame(fin|opText, pattern(100), true))
		require.NoError(t, err)
		_, err = br.Discard(102)
		require.NoError(t, err)
		wait(t, opened)
	}
	heap1, stack1 := used()
	perConn := (heap1 - heap0) / conns
	t.Logf("%d bytes of heap for both ends of a connection, %d bytes of stack", perConn, (stack1-stack0)/conns)
	require.Less(t, perConn, uint64(6<<10))
}
