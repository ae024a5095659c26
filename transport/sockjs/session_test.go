package sockjs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// writer is a ResponseWriter whose client may be slow or gone.
type writer struct {
	mu      sync.Mutex
	h       http.Header
	status  int
	body    bytes.Buffer
	err     error         // of Write
	stalled chan struct{} // if not nil, Write waits for it or for a deadline in the past
	killed  chan struct{}
}

func newWriter() *writer { return &writer{h: make(http.Header), killed: make(chan struct{})} }

func (w *writer) Header() http.Header { return w.h }

func (w *writer) WriteHeader(status int) { w.status = status }

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stalled := w.stalled; stalled != nil {
		w.mu.Unlock()
		select {
		case <-stalled:
			w.mu.Lock()
		case <-w.killed:
			w.mu.Lock()
			return 0, os.ErrDeadlineExceeded
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.body.Write(p)
}

func (w *writer) FlushError() error { return nil }

func (w *writer) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		close(w.killed)
	}
	return nil
}

// take returns what was written since the last time.
func (w *writer) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.body.String()
	w.body.Reset()
	return s
}

// bench is a transport whose requests are made without a network.
type bench struct {
	*Transport
	t   *testing.T
	app *app
}

func newBench(t *testing.T, o *Options) *bench {
	return &bench{New(nil, o), t, &app{peers: make(chan *peer, 100)}}
}

// call starts a request; cancel breaks it off, done is closed at its end.
func (b *bench) call(path, body string) (w *writer, cancel func(), done chan struct{}) {
	return b.callOn(endpoint(b.Transport, b.app), path, body)
}

func (b *bench) callOn(h http.Handler, path, body string) (w *writer, cancel func(), done chan struct{}) {
	ctx, stop := context.WithCancel(b.t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, nil)
	if body != "" {
		r.Body = io.NopCloser(bytes.NewReader([]byte(body)))
	}
	w, done = newWriter(), make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		h.ServeHTTP(w, r)
	}()
	return w, stop, done
}

// open opens a session with a poll.
func (b *bench) open(path string) *peer {
	b.t.Helper()
	w, _, done := b.call(path+"/xhr", "")
	<-done
	require.Equal(b.t, "o\n", w.take())
	return <-b.app.peers
}

// poll makes a request that is answered at once.
func (b *bench) poll(path string) string {
	b.t.Helper()
	w, _, done := b.call(path+"/xhr", "")
	<-done
	return w.take()
}

const goneAway = "c[3000,\"Go away!\"]\n"

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		start := time.Now()
		err := <-p.closed
		require.Equal(t, 5*time.Second, time.Since(start))
		e, ok := errors.AsType[*transport.EndError](err)
		require.True(t, ok)
		require.Equal(t, transport.StatusAbnormalClosure, e.Code)
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.Zero(t, b.Stats().Sessions)
		_, err = p.conn.Write([]transport.Message{{Type: transport.MessageText}})
		require.ErrorIs(t, err, errOver)
		b.open("/0/a") // is a new one
	})
}

func TestPollKeepsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		time.Sleep(4 * time.Second)
		start := time.Now()
		require.Equal(t, "h\n", b.poll("/0/a"))
		require.Equal(t, 25*time.Second, time.Since(start))
		time.Sleep(4 * time.Second)
		p.send("x")
		require.Equal(t, "a[\"x\"]\n", b.poll("/0/a"))
		p.send("y", "z")
		require.Equal(t, "a[\"y\",\"z\"]\n", b.poll("/0/a"))
		require.Empty(t, p.closed)
		<-p.closed
	})
}

func TestStreamHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		w, cancel, done := b.call("/0/a/xhr_streaming", "")
		p := <-b.app.peers
		synctest.Wait()
		w.take()
		time.Sleep(24 * time.Second)
		p.send("x") // is no silence
		synctest.Wait()
		require.Equal(t, "a[\"x\"]\n", w.take())
		time.Sleep(24 * time.Second)
		synctest.Wait()
		require.Empty(t, w.take())
		time.Sleep(26 * time.Second)
		synctest.Wait()
		require.Equal(t, "h\nh\n", w.take())
		cancel()
		<-done
		<-p.closed
		require.Equal(t, "c[1002,\"Connection interrupted\"]\n", b.poll("/0/a"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Zero(t, b.Stats().Sessions)
	})
}

func TestWithoutHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, &Options{HeartbeatInterval: -1})
		p := b.open("/0/a")
		w, _, done := b.call("/0/a/xhr", "")
		time.Sleep(time.Hour)
		p.send("x")
		<-done
		require.Equal(t, "a[\"x\"]\n", w.take())
		<-p.closed
	})
}

func TestCloseWithoutRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, &Options{CloseTimeout: 3 * time.Second})
		p := b.open("/0/a")
		start := time.Now()
		require.NoError(t, p.conn.Close(3000, "Go away!"))
		require.ErrorIs(t, p.conn.Close(3000, "Go away!"), errOver)
		err := <-p.closed
		require.Equal(t, 3*time.Second, time.Since(start))
		e, _ := errors.AsType[*transport.EndError](err)
		require.EqualValues(t, 3000, e.Code)
		require.ErrorIs(t, err, transport.ErrLocalClose)
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.Equal(t, goneAway, b.poll("/0/a"))
		w, _, done := b.call("/0/a/xhr_send", `["x"]`)
		<-done
		require.Equal(t, http.StatusNotFound, w.status)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Zero(t, b.Stats().Sessions)
	})
}

func TestCloseWithRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		w, _, done := b.call("/0/a/xhr", "")
		synctest.Wait()
		require.NoError(t, p.conn.Close(3000, "Go away!"))
		<-done
		require.Equal(t, goneAway, w.take())
		err := <-p.closed
		require.ErrorIs(t, err, transport.ErrLocalClose)
		require.NotErrorIs(t, err, transport.ErrTimeout)
	})
}

// What was taken before Close comes before the close frame, a poll for each.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		w, _, done := b.call("/0/a/xhr", "")
		synctest.Wait()
		p.send("x")
		require.NoError(t, p.conn.Close(3000, "Go away!"))
		<-done
		require.Equal(t, "a[\"x\"]\n", w.take())
		require.Equal(t, goneAway, b.poll("/0/a"))
		require.ErrorIs(t, <-p.closed, transport.ErrLocalClose)
	})
}

func TestCloseStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, &Options{CloseTimeout: time.Second})
		w, _, done := b.call("/0/a/xhr_streaming", "")
		p := <-b.app.peers
		synctest.Wait()
		w.mu.Lock()
		w.stalled = make(chan struct{})
		w.mu.Unlock()
		p.send("x")
		synctest.Wait()
		start := time.Now()
		require.NoError(t, p.conn.Close(3000, "Go away!"))
		require.ErrorIs(t, <-p.closed, transport.ErrLocalClose)
		require.Equal(t, time.Second, time.Since(start))
		<-done
	})
}

// A peer that does not read holds two arrays, and no more is taken.
func TestStalledIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		w, cancel, done := b.call("/0/a/xhr_streaming", "")
		p := <-b.app.peers
		synctest.Wait()
		w.mu.Lock()
		stalled := make(chan struct{})
		w.stalled = stalled
		w.mu.Unlock()
		m := []transport.Message{{Type: transport.MessageText, Data: bytes.Repeat([]byte("x"), 40<<10)}}
		taken := 0
		for range 10 {
			n, err := p.conn.Write(append(m, m...))
			require.NoError(t, err)
			taken += n
			synctest.Wait()
		}
		require.Equal(t, 2, taken)
		close(stalled)
		cancel()
		<-done
		<-p.closed
	})
}

func TestAbort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		_, cancel, done := b.call("/0/a/xhr", "")
		synctest.Wait()
		cancel()
		<-done
		err := <-p.closed
		require.ErrorIs(t, err, errInterrupted)
		e, _ := errors.AsType[*transport.EndError](err)
		require.Equal(t, transport.StatusAbnormalClosure, e.Code)
		require.Equal(t, "c[1002,\"Connection interrupted\"]\n", b.poll("/0/a"))
	})
}

// A batch that was taken for a poll which is then broken off, before its answer began, is
// the next one's, also if that comes before anybody has noticed.
func TestAbortBeforeAnswer(t *testing.T) {
	t.Parallel()
	for _, noticed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			p := b.open("/0/a")
			s, ok := p.conn.(*session)
			require.True(t, ok)
			ctx, cancel := context.WithCancel(t.Context())
			w := newWriter()
			l, ok := b.newLeg(xhr, w, &request{Request: httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)})
			require.True(t, ok)
			require.NoError(t, l.start())
			require.Nil(t, s.attach(l))
			n, err := s.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("x")}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			cancel()
			if noticed {
				s.serve(l)
			}
			p.send("y")
			require.Equal(t, "a[\"x\"]\n", b.poll("/0/a"))
			if !noticed {
				s.serve(l)
			}
			require.Empty(t, w.take())
			require.Equal(t, "a[\"y\"]\n", b.poll("/0/a"))
			<-p.closed
		})
	}
}

// Messages do not come in the place of those before them, whose answer is still being
// written and may fail.
func TestPollBehindStalled(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, nil)
			p := b.open("/0/a")
			w1, _, done1 := b.call("/0/a/xhr", "")
			synctest.Wait()
			stalled := make(chan struct{})
			w1.mu.Lock()
			w1.stalled = stalled
			w1.mu.Unlock()
			p.send("x")
			synctest.Wait()
			w2, _, done2 := b.call("/0/a/xhr", "")
			synctest.Wait()
			p.send("y")
			synctest.Wait()
			require.Empty(t, w2.take())
			w1.mu.Lock()
			if fails {
				w1.err = io.ErrClosedPipe
			}
			w1.mu.Unlock()
			close(stalled)
			<-done1
			<-done2
			if fails {
				require.Equal(t, "c[1002,\"Connection interrupted\"]\n", w2.take())
				require.ErrorIs(t, <-p.closed, errInterrupted)
				return
			}
			require.Equal(t, "a[\"x\"]\n", w1.take())
			require.Equal(t, "a[\"y\"]\n", w2.take())
			<-p.closed
		})
	}
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	for _, leg := range []string{"/xhr", "/xhr_streaming"} {
		t.Run(leg, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				p := b.open("/0/a")
				w, _, done := b.call("/0/a"+leg, "")
				synctest.Wait()
				w.mu.Lock()
				w.err = io.ErrClosedPipe
				w.mu.Unlock()
				p.send("x")
				<-done
				require.ErrorIs(t, <-p.closed, errInterrupted)
			})
		})
	}
}

// A client that is gone before it has the open frame opens nothing.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var aborted *peer
		b.app.accept = func(*transport.Handshake) error { return nil }
		for _, leg := range []string{"xhr", "xhr_streaming"} {
			w := newWriter()
			w.err = io.ErrClosedPipe
			b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/0/a/"+leg, nil), acceptor(func() transport.Admission {
				aborted = &peer{app: b.app, closed: make(chan error, 1)}
				return aborted
			}))
			require.ErrorIs(t, <-aborted.closed, io.ErrClosedPipe)
			require.Zero(t, b.Stats().Sessions)
		}
		require.Zero(t, b.Stats().Legs["xhr"].Opened)
	})
}

type acceptor func() transport.Admission

func (a acceptor) Accept(*transport.Handshake) (transport.Admission, error) { return a(), nil }

// While the receiver is paused a send request waits; no more than four do.
func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var got []string
		b.app.receive = func(_ *peer, m transport.Message) { got = append(got, string(m.Data)) }
		p := b.open("/0/a")
		p.conn.(transport.Pauser).Pause()
		var sent []chan struct{}
		for range maxSends {
			_, _, done := b.call("/0/a/xhr_send", `["x","y"]`)
			sent = append(sent, done)
		}
		synctest.Wait()
		require.Empty(t, got)
		w, _, done := b.call("/0/a/xhr_send", `["z"]`)
		<-done
		require.Equal(t, http.StatusServiceUnavailable, w.status)
		p.conn.(transport.Pauser).Resume()
		for _, done := range sent {
			<-done
		}
		require.Equal(t, []string{"x", "y", "x", "y", "x", "y", "x", "y"}, got)
		<-p.closed
	})
}

// A Receive that yields lets the next message come, and the request end.
func TestYield(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		hold := make(chan struct{})
		b.app.receive = func(p *peer, _ transport.Message) {
			p.mu.Lock()
			p.received++
			p.mu.Unlock()
			if p.conn.(transport.Yielder).Yield() {
				<-hold
			}
		}
		p := b.open("/0/a")
		require.False(t, p.conn.(transport.Yielder).Yield())
		_, _, done := b.call("/0/a/xhr_send", `["x","y","z"]`)
		<-done
		synctest.Wait()
		p.mu.Lock()
		require.Equal(t, 3, p.received)
		p.mu.Unlock()
		<-p.closed // a Receive that has yielded may still run
		close(hold)
	})
}

func TestBinary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		p := b.open("/0/a")
		w, _, done := b.call("/0/a/xhr", "")
		synctest.Wait()
		n, err := p.conn.Write([]transport.Message{{Type: transport.MessageBinary}})
		require.ErrorIs(t, err, errBinary)
		require.Zero(t, n)
		text := transport.Message{Type: transport.MessageText, Data: []byte("x")}
		n, err = p.conn.Write([]transport.Message{text, {Type: transport.MessageBinary}})
		require.ErrorIs(t, err, errBinary)
		require.Equal(t, 1, n)
		<-done
		require.Equal(t, "a[\"x\"]\n", w.take())
		<-p.closed
	})
}

// TestRefusedSessionLetsSendsGo: a send request that came while the acceptor was asked does
// not wait for ever.
func TestRefusedSessionLetsSendsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		refuse := make(chan struct{})
		b.app.accept = func(*transport.Handshake) error {
			<-refuse
			return &transport.Refusal{Status: 401, Text: "who are you?"}
		}
		_, _, opened := b.call("/0/a/xhr", "")
		synctest.Wait()
		_, _, sent := b.call("/0/a/xhr_send", `["x"]`)
		synctest.Wait()
		close(refuse)
		<-opened
		<-sent
		require.Zero(t, b.Stats().Sessions)
	})
}

// TestSessionEndsWhileItOpens: what the second poll has ended was not open any more, though the
// first one's answer fails only then.
func TestSessionEndsWhileItOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		w := newWriter()
		w.stalled, w.err = make(chan struct{}), io.ErrClosedPipe
		first := make(chan struct{})
		go func() {
			defer close(first)
			b.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/0/a/xhr", nil), b.app)
		}()
		synctest.Wait()
		_, cancel, second := b.call("/0/a/xhr", "")
		synctest.Wait()
		cancel()
		<-second
		close(w.stalled)
		<-first
		require.Zero(t, b.Stats().Legs["xhr"].Open)
	})
}
