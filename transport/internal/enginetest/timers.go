package enginetest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// inBubble runs f in a synctest bubble, where its time is nobody's, with a client of a
// server over an in-memory connection. Writes on it wait for a reader.
func (e *Engine) inBubble(t *testing.T, limits duplex.Limits, f func(t *testing.T, p *peer, c Conn, r *recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		opened := make(chan Conn, 1)
		near, nc := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			request, err := http.ReadRequest(bufio.NewReader(near))
			if err != nil {
				return
			}
			e.New(&limits, nil).ServeHTTP(piped{near}, request, &acceptor{open: func(c transport.Conn) transport.Receiver {
				opened <- c.(Conn)
				return r
			}})
		}()
		defer func() {
			nc.Close()
			<-served
			synctest.Wait()
			require.Empty(t, r.got, "all messages were looked at")
		}()
		go func() { _, _ = nc.Write([]byte(UpgradeRequest)) }()
		br := bufio.NewReader(nc)
		resp, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		f(t, &peer{t: t, nc: nc, br: br, client: true}, <-opened, r)
	})
}

// endOf waits for Closed and says how long it took since start.
func endOf(t *testing.T, r *recorder, start time.Time) (time.Duration, error) {
	t.Helper()
	err := <-r.closed
	require.ErrorIs(t, err, net.ErrClosed)
	return time.Since(start), err
}

var timers = duplex.Limits{PingInterval: 25 * time.Second, PongTimeout: 10 * time.Second, MessageTimeout: 30 * time.Second,
	WriteTimeout: 7 * time.Second, CloseTimeout: 5 * time.Second}

func (e *Engine) testKeepAlive(t *testing.T) {
	t.Parallel()
	t.Run("answered", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			for i := range 10 {
				f, err := p.next()
				require.NoError(t, err)
				require.Equal(t, byte(opPing), f.op)
				require.Equal(t, time.Duration(i+1)*25*time.Second, time.Since(start).Truncate(time.Second))
				time.Sleep(time.Second)
				p.write(Frame(fin|opPong, f.payload, true))
				synctest.Wait()
				require.Equal(t, time.Second, c.RoundTrip())
				start = start.Add(time.Since(start) % time.Second)
			}
			require.Empty(t, r.closed)
		})
	})
	t.Run("silent", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			go func() { _, _ = io.Copy(io.Discard, p.br) }()
			d, err := endOf(t, r, start)
			require.ErrorIs(t, err, transport.ErrTimeout)
			require.Equal(t, 35*time.Second, d)
		})
	})
	t.Run("vanished", func(t *testing.T) { // takes not even the ping
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			d, err := endOf(t, r, start)
			require.ErrorIs(t, err, transport.ErrTimeout)
			require.Equal(t, 32*time.Second, d)
		})
	})
	t.Run("any sign of life", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			go func() { _, _ = io.Copy(io.Discard, p.br) }()
			for range 20 {
				time.Sleep(9 * time.Second)
				p.send(fin|opText, "x")
				<-r.got
			}
			require.Empty(t, r.closed)
		})
	})
	t.Run("paused", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			go func() { _, _ = io.Copy(io.Discard, p.br) }()
			c.Pause()
			p.send(fin|opText, "x")
			time.Sleep(time.Hour)
			require.Empty(t, r.closed)
			require.Empty(t, r.got)
			c.Resume()
			require.Equal(t, "x", string((<-r.got).Data))
			// From here on silence counts again.
			d, err := endOf(t, r, time.Now())
			require.ErrorIs(t, err, transport.ErrTimeout)
			require.LessOrEqual(t, d, 60*time.Second)
		})
	})
}

// testKeepAliveInReceive: while Receive runs nothing is read, and that is not the
// peer's silence.
func (e *Engine) testKeepAliveInReceive(t *testing.T) {
	t.Parallel()
	e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
		go func() { _, _ = io.Copy(io.Discard, p.br) }()
		release := make(chan struct{})
		r.hold = release
		p.send(fin|opText, "x")
		time.Sleep(time.Hour)
		require.Empty(t, r.closed)
		close(release)
		synctest.Wait()
		require.Empty(t, r.closed)
		require.ErrorIs(t, <-r.closed, transport.ErrTimeout)
	})
}

// piped is the ResponseWriter of a request over an in-memory connection.
type piped struct{ net.Conn }

func (piped) Header() http.Header { return http.Header{} }
func (piped) WriteHeader(int)     {}
func (p piped) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.Conn, bufio.NewReadWriter(bufio.NewReader(p.Conn), bufio.NewWriter(p.Conn)), nil
}

func (e *Engine) testMessageTimeout(t *testing.T) {
	t.Parallel()
	quiet := timers
	quiet.PingInterval = -1
	t.Run("slow", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			go func() { // answers pings, so that it is not silence that ends it
				p.write([]byte{fin | opText})
				for _, b := range Announce(0, 100, true, 1)[1:] {
					time.Sleep(6 * time.Second)
					_, _ = p.nc.Write([]byte{b})
				}
			}()
			f, err := p.next()
			require.NoError(t, err)
			require.Equal(t, byte(opPing), f.op)
			p.expectClose(1008)
			p.nc.Close()
			d, err := endOf(t, r, start)
			require.ErrorIs(t, err, transport.ErrTimeout)
			require.Equal(t, 30*time.Second, d)
		})
	})
	t.Run("each message has its own time", func(t *testing.T) {
		e.inBubble(t, quiet, func(t *testing.T, p *peer, c Conn, r *recorder) {
			go func() { _, _ = io.Copy(io.Discard, p.br) }()
			f := Frame(fin|opText, pattern(100), true)
			p.write(f[:50])
			for range 10 { // each write ends one message and begins the next
				time.Sleep(20 * time.Second)
				p.write(append(append([]byte(nil), f[50:]...), f[:50]...))
				<-r.got
			}
			require.Empty(t, r.closed)
			// A ping inside a message gives it no more time.
			start := time.Now()
			p.write(f[50:])
			<-r.got
			p.write(Frame(opText, pattern(10), true))
			time.Sleep(20 * time.Second)
			p.write(Frame(fin|opPing, nil, true))
			d, _ := endOf(t, r, start)
			require.Less(t, d, 36*time.Second) // and CloseTimeout, for nobody answers
		})
	})
	t.Run("a pause does not count", func(t *testing.T) {
		e.inBubble(t, quiet, func(t *testing.T, p *peer, c Conn, r *recorder) {
			go func() { _, _ = io.Copy(io.Discard, p.br) }()
			f := Frame(fin|opText, pattern(100), true)
			p.write(f[:50])
			synctest.Wait()
			c.Pause()
			time.Sleep(time.Hour)
			require.Empty(t, r.closed)
			c.Resume()
			time.Sleep(20 * time.Second)
			p.write(append(append([]byte(nil), f[50:]...), f[:50]...))
			<-r.got
			for range 2 { // a pause that has ended counts as little
				time.Sleep(10 * time.Second)
				c.Pause()
				time.Sleep(10 * time.Second)
				c.Resume()
			}
			p.write(f[50:])
			<-r.got
			require.Empty(t, r.closed)
		})
	})
	t.Run("nothing begun", func(t *testing.T) {
		e.inBubble(t, quiet, func(t *testing.T, p *peer, c Conn, r *recorder) {
			p.write(Frame(fin|opText, pattern(10), true)[:3])
			p.write(Frame(fin|opText, pattern(10), true)[3:])
			<-r.got
			time.Sleep(time.Hour)
			require.Empty(t, r.closed)
		})
	})
}

// testWriteTimeout: a peer that takes nothing is given up, one that takes slowly is
// not, however long its message takes.
func (e *Engine) testWriteTimeout(t *testing.T) {
	t.Parallel()
	t.Run("nothing", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			n, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: pattern(100)}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.Zero(t, time.Since(start))
			d, end := endOf(t, r, start)
			require.ErrorIs(t, end, transport.ErrTimeout)
			require.Equal(t, 7*time.Second, d)
			_, err = c.Write([]transport.Message{{Type: transport.MessageBinary}})
			require.ErrorIs(t, err, net.ErrClosed)
			require.Empty(t, r.writable)
		})
	})
	t.Run("slowly", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			data := pattern(1 << 20)
			n, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: data}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			p.br = bufio.NewReaderSize(slowReader{p.nc}, 8<<10)
			start := time.Now()
			p.expect(opBin, data)
			require.Greater(t, time.Since(start), 4*time.Minute) // the keep-alive's ping waits behind it
			require.Empty(t, r.closed)
		})
	})
}

type slowReader struct{ net.Conn }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Conn.Read(p[:min(len(p), 4000)])
}

func (e *Engine) testCloseTimeout(t *testing.T) {
	t.Parallel()
	t.Run("stalled", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			_, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: pattern(100)}})
			require.NoError(t, err)
			start := time.Now()
			require.NoError(t, c.Close(1000, "bye"))
			require.ErrorIs(t, c.Close(1000, "bye"), net.ErrClosed)
			d, err := endOf(t, r, start)
			require.ErrorIs(t, err, transport.ErrLocalClose)
			require.Equal(t, 5*time.Second, d)
		})
	})
	t.Run("unanswered", func(t *testing.T) {
		e.inBubble(t, timers, func(t *testing.T, p *peer, c Conn, r *recorder) {
			start := time.Now()
			require.NoError(t, c.Close(1000, "bye"))
			p.expectClose(1000)
			d, _ := endOf(t, r, start)
			require.Equal(t, 5*time.Second, d)
		})
	})
	t.Run("half a message", func(t *testing.T) { // whose time ends before CloseTimeout
		opts := timers
		opts.MessageTimeout, opts.CloseTimeout = 2*time.Second, 6*time.Second
		e.inBubble(t, opts, func(t *testing.T, p *peer, c Conn, r *recorder) {
			p.write(Frame(fin|opText, pattern(100), true)[:50])
			synctest.Wait()
			start := time.Now()
			_, err := c.Write([]transport.Message{{Type: transport.MessageBinary, Data: pattern(100)}})
			require.NoError(t, err)
			require.NoError(t, c.Close(1000, "bye"))
			time.Sleep(4 * time.Second)
			p.expect(opBin, pattern(100))
			p.expectClose(1000)
			d, _ := endOf(t, r, start)
			require.Equal(t, 6*time.Second, d)
		})
	})
}
