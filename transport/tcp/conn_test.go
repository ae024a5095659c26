package tcp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/enginetest"
)

// acceptNext starts a server of that kind, whose next connection has receiver r.
func acceptNext(t testing.TB, kind string, opts *Options, r transport.Receiver) (url string, conns chan *conn) {
	conns = make(chan *conn, 1)
	url = serve(t, kind, opts, &acceptor{open: func(c transport.Conn) transport.Receiver {
		conns <- c.(*conn)
		return r
	}})
	return url, conns
}

// fill writes messages until there is no room, and returns all that was taken.
func fill(t *testing.T, c *conn) (taken []byte) {
	t.Helper()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	for range 1 << 12 {
		n, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: data}})
		require.NoError(t, err)
		if n == 0 {
			return taken
		}
		taken = append(taken, data...)
	}
	require.Fail(t, "there is always room")
	return nil
}

// end waits for Closed and takes its error apart.
func end(t *testing.T, r *recorder) *transport.EndError {
	t.Helper()
	err := wait(t, r.closed)
	require.ErrorIs(t, err, net.ErrClosed)
	ee, ok := errors.AsType[*transport.EndError](err)
	require.True(t, ok, "%v", err)
	return ee
}

// A peer that does not read costs one message here, and what the kernel keeps. It does not run
// beside other tests: it counts what is allocated.
func TestStalledIsBounded(t *testing.T) {
	server := newRecorder()
	url, conns := acceptNext(t, "plain", nil, server)
	nc := rawDial(t, url)
	c := wait(t, conns)
	taken := fill(t, c)
	require.LessOrEqual(t, c.Held(), 16<<10)

	// A Shared is kept without a copy, also behind a head.
	got := make([]byte, len(taken))
	_, err := io.ReadFull(nc, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(taken, got))
	wait(t, server.writable)
	shared := transport.NewShared(transport.MessageBinary, bytes.Repeat([]byte("s"), 4<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := c.Write([]transport.Message{shared.Message([]byte("head")), {Type: transport.MessageText, Data: []byte("more")}})
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Equal(t, 1, n)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	require.Greater(t, c.Held(), 1<<20)
	got = make([]byte, 4+4<<20)
	_, err = io.ReadFull(nc, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(append([]byte("head"), shared.Data()...), got))
	wait(t, server.writable)
	nc.Close()
	require.ErrorIs(t, end(t, server), io.EOF)
}

func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server, client := newRecorder(), newRecorder()
			url, conns := acceptNext(t, kind, &Options{WriteTimeout: 20 * time.Millisecond}, server)
			c := dial(t, New(nil), url, client)
			c.(*conn).Pause()
			s := wait(t, conns)
			_, err := s.Write([]transport.Message{{Type: transport.MessageBinary, Data: make([]byte, 32<<20)}})
			require.NoError(t, err)
			e := end(t, server)
			require.ErrorIs(t, e, transport.ErrTimeout)
			require.Equal(t, transport.StatusAbnormalClosure, e.Code)
			_, err = s.Write(message("late"))
			require.ErrorIs(t, err, net.ErrClosed)
			c.(*conn).Resume()
			end(t, client)
		})
	}
}

// A peer that ends its half still gets what was taken.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url, conns := acceptNext(t, "plain", nil, server)
	nc := rawDial(t, url)
	_, err := nc.Write([]byte("ask"))
	require.NoError(t, err)
	c := wait(t, conns)
	server.expect(t, []byte("ask"))
	taken := fill(t, c)
	require.NoError(t, nc.CloseWrite())
	ending := func() bool {
		c.BeginWrite()
		defer c.EndWrite()
		return c.Cause() != nil
	}
	for !ending() { // the server has seen it, and nothing is read yet
		require.Empty(t, server.closed)
		runtime.Gosched()
	}
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(taken, got), "%d bytes of %d", len(got), len(taken))
	e := end(t, server)
	require.ErrorIs(t, e, io.EOF)
	require.Equal(t, transport.StatusAbnormalClosure, e.Code)
}

// A peer that ends its half and takes nothing is not waited for longer than CloseTimeout.
func TestHalfClosedAndStalled(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url, conns := acceptNext(t, "plain", &Options{CloseTimeout: 20 * time.Millisecond}, server)
	nc := rawDial(t, url)
	c := wait(t, conns)
	fill(t, c)
	require.NoError(t, nc.CloseWrite())
	require.ErrorIs(t, end(t, server), io.EOF)
}

func TestReset(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url, conns := acceptNext(t, "plain", nil, server)
	nc := rawDial(t, url)
	wait(t, conns)
	require.NoError(t, nc.SetLinger(0))
	nc.Close()
	e := end(t, server)
	require.NotErrorIs(t, e, io.EOF)
	require.Equal(t, transport.StatusAbnormalClosure, e.Code)
}

// Over TLS the end is a goodbye, after which the peer may still say something: without
// one it would see the end only with that of the socket, in an hour.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tls", "tls-listener", "tls-own"} {
		server := newRecorder()
		url, conns := acceptNext(t, kind, &Options{CloseTimeout: time.Hour}, server)
		nc := tls.Client(rawDial(t, url), enginetest.ClientTLS)
		require.NoError(t, nc.Handshake())
		require.NoError(t, wait(t, conns).Close(transport.StatusNormalClosure, ""))
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(20*time.Second)))
		_, err := nc.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Empty(t, server.closed)
		require.NoError(t, nc.Close())
		require.ErrorIs(t, end(t, server), transport.ErrLocalClose)
	}
}

// chunks notes their sizes.
type chunks struct {
	*recorder
	sizes chan int
}

func (r chunks) Receive(m transport.Message) { r.sizes <- len(m.Data) }

// A record comes as one chunk, although it was waited for without a buffer.
func TestRecords(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tls", "tls-listener", "tls-own"} {
		server := chunks{newRecorder(), make(chan int, 8)}
		url, _ := acceptNext(t, kind, nil, server)
		client := newRecorder()
		c := dial(t, New(nil), url, client)
		for _, size := range []int{2, 1000, 16 << 10} {
			_, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: make([]byte, size)}})
			require.NoError(t, err)
			for n := 0; n < size; { // crypto/tls begins with small records
				got := wait(t, server.sizes)
				if size > 2 { // of the first one a byte may have been read ahead
					require.Greater(t, got, 1)
				}
				n += got
			}
		}
		require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
		wait(t, client.closed)
		wait(t, server.closed)
	}
}

// The bytes of a peer that goes on after Close are dropped, and do not keep the
// connection.
func TestCloseAgainstAFlood(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url, conns := acceptNext(t, "plain", &Options{CloseTimeout: 50 * time.Millisecond}, server)
	nc := rawDial(t, url)
	c := wait(t, conns)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for p := make([]byte, 32<<10); ; {
			if _, err := nc.Write(p); err != nil {
				return
			}
		}
	}()
	require.NoError(t, c.Close(transport.StatusGoingAway, "bye"))
	e := end(t, server)
	require.ErrorIs(t, e, transport.ErrLocalClose)
	require.Equal(t, transport.StatusGoingAway, e.Code)
	wait(t, flooded)
}

// A receiver may end the goroutine that calls it, as a failed test does.
type goexit struct{ *recorder }

func (g goexit) Receive(m transport.Message) {
	g.recorder.Receive(m)
	runtime.Goexit()
}

func TestReceiveEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url, conns := acceptNext(t, "plain", nil, goexit{server})
	nc := rawDial(t, url)
	wait(t, conns)
	var sent []byte
	for i := range 3 {
		_, err := fmt.Fprint(nc, i)
		require.NoError(t, err)
		sent = fmt.Append(sent, i)
		server.expect(t, sent)
	}
	nc.Close()
	end(t, server)
}
