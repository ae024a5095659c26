package gorilla

import (
	"bufio"
	"io"
	"net/http"
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

// TestAllocs: what an echo costs the server for the garbage collector is gorilla's
// reader of a message and the box in which its write buffer goes to the pool. The client writes a
// frame that is already masked and reads into memory that it has.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself")
	}
	for _, size := range []int{0, 16, 125, 1000, 16 << 10, 60 << 10} {
		url := serve(t, "http", New(&Options{MaxMessageSize: 1 << 20}), &acceptor{open: func(c transport.Conn) transport.Receiver {
			return &allocEcho{c: c}
		}})
		nc := rawDial(t, url)
		_, err := nc.Write([]byte(upgradeRequest))
		require.NoError(t, err)
		br := bufio.NewReaderSize(nc, 1<<10)
		resp, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 101, resp.StatusCode)
		require.Zero(t, br.Buffered())
		out := frame(fin|opText, pattern(size), true)
		in := make([]byte, len(out)-4) // not masked
		echo := func() {
			_, _ = nc.Write(out)
			_, _ = io.ReadFull(nc, in)
		}
		for range 100 {
			echo()
		}
		require.Equal(t, frame(fin|opText, pattern(size), false), in)
		// A collection empties the pools in the middle of a run. It happens in few of
		// them, so the best of several is what an echo costs.
		best := testing.AllocsPerRun(200, echo)
		for range 4 {
			best = min(best, testing.AllocsPerRun(200, echo))
		}
		t.Logf("%d bytes: %v", size, best)
		require.LessOrEqual(t, best, 2.0, "%d bytes", size)
		nc.Close()
	}
}
