package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// end is a receiver that notes what it is told.
type end struct {
	conn      transport.Conn
	onReceive func(transport.Message)
	got       chan string
	writable  chan struct{}
	closed    chan error
}

func newEnd(onReceive func(transport.Message)) *end {
	return &end{
		onReceive: onReceive,
		got:       make(chan string, 10_000),
		writable:  make(chan struct{}, 10_000),
		closed:    make(chan error, 2),
	}
}

func (e *end) open(c transport.Conn) transport.Receiver { e.conn = c; return e }

func (e *end) Receive(m transport.Message) {
	if e.onReceive != nil {
		e.onReceive(m)
	}
	e.got <- string(m.Data)
}
func (e *end) Writable()        { e.writable <- struct{}{} }
func (e *end) Closed(err error) { e.closed <- err }

func text(s string) transport.Message {
	return transport.Message{Type: transport.MessageText, Data: []byte(s)}
}

func batch(ss ...string) []transport.Message {
	var b []transport.Message
	for _, s := range ss {
		b = append(b, text(s))
	}
	return b
}

// pair connects two ends that only take notes.
func pair(opts *pipe.Options) (a, b *end, ca, cb *pipe.Conn) {
	a, b = newEnd(nil), newEnd(nil)
	ca, cb = pipe.Pair(opts, a.open, b.open)
	return a, b, ca, cb
}

func write(t *testing.T, c transport.Conn, ss ...string) {
	t.Helper()
	n, err := c.Write(batch(ss...))
	require.NoError(t, err)
	require.Equal(t, len(ss), n)
}

func TestMessagesAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(nil)
		n, err := ca.Write([]transport.Message{
			text("one"), {Type: transport.MessageBinary, Head: []byte("tw"), Data: []byte("o")},
		})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		write(t, cb, "three")
		require.Equal(t, "one", <-b.got)
		require.Equal(t, "two", <-b.got)
		require.Equal(t, "three", <-a.got)

		require.NoError(t, ca.Close(transport.StatusGoingAway, "bye"))
		require.ErrorIs(t, ca.Close(transport.StatusGoingAway, "bye"), net.ErrClosed)
		require.Equal(t, &transport.CloseError{Code: 1001, Reason: "bye"}, <-b.closed)
		require.Equal(t, &transport.EndError{Code: 1001, Err: transport.ErrLocalClose}, <-a.closed)
		for _, c := range []*pipe.Conn{ca, cb} {
			_, err = c.Write(batch("late"))
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = c.Ping(t.Context())
			require.ErrorIs(t, err, net.ErrClosed)
			require.False(t, c.Yield())
			c.Pause()
			c.Resume()
		}
	})
}

func TestCloseTimesOutOnStalledPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(&pipe.Options{CloseTimeout: time.Minute})
		cb.Pause()
		write(t, ca, "kept")
		start := time.Now()
		require.NoError(t, ca.Close(4000, "later"))
		err := <-a.closed
		require.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.ErrorIs(t, err, transport.ErrLocalClose)
		cb.Resume()
		require.Equal(t, "kept", <-b.got)
		require.Equal(t, &transport.CloseError{Code: 4000, Reason: "later"}, <-b.closed)
	})
}

func TestSimultaneousClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(nil)
		cb.Pause() // so that both close before either sees the other's frame
		require.NoError(t, ca.Close(1000, "a"))
		require.NoError(t, cb.Close(1001, "b"))
		require.Equal(t, &transport.EndError{Code: 1000, Err: transport.ErrLocalClose}, <-a.closed)
		require.Equal(t, &transport.EndError{Code: 1001, Err: transport.ErrLocalClose}, <-b.closed)
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(nil)
		cb.Pause()
		write(t, ca, "last")
		ca.Cut()
		lost := &transport.EndError{Code: transport.StatusAbnormalClosure, Err: pipe.ErrCut}
		require.Equal(t, lost, <-a.closed)
		_, err := cb.Write(batch("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		cb.Resume()
		require.Equal(t, "last", <-b.got)
		require.Equal(t, lost, <-b.closed)
	})
}

func TestCutWhilePausedWithNothingQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, ca, cb := pair(nil)
		cb.Pause()
		ca.Cut()
		require.ErrorIs(t, <-b.closed, pipe.ErrCut)
	})
}

func TestVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(&pipe.Options{Buffer: 100})
		ca.Vanish()
		require.ErrorIs(t, <-a.closed, pipe.ErrCut)
		_, err := ca.Write(batch("x"))
		require.ErrorIs(t, err, net.ErrClosed)

		n, err := cb.Write(batch("0123456789", "0123456789", "0123456789", "0123456789", "0123456789"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = cb.Ping(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, cb.Close(1000, ""))
		require.ErrorIs(t, <-b.closed, transport.ErrTimeout)
		require.Empty(t, b.writable)
	})
}

func TestWritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(&pipe.Options{Buffer: 2 * (16 + 1)})
		cb.Pause()
		n, err := ca.Write(batch("1", "2", "3", "4"))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		n, err = ca.Write(batch("3", "4"))
		require.NoError(t, err)
		require.Zero(t, n)
		synctest.Wait()
		require.Empty(t, a.writable)
		cb.Resume()
		synctest.Wait()
		require.Len(t, a.writable, 2, "once for each short Write")
		write(t, ca, "3", "4")
		for i := 1; i <= 4; i++ {
			require.Equal(t, fmt.Sprint(i), <-b.got)
		}
		ca.SetFull(true)
		n, err = ca.Write(batch("5"))
		require.NoError(t, err)
		require.Zero(t, n)
		ca.SetFull(false)
		synctest.Wait()
		require.Len(t, a.writable, 3)
		write(t, ca, "5")
		require.Equal(t, "5", <-b.got)
		require.NoError(t, ca.Close(1000, ""))
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, ca, _ := pair(nil)
		ca.SetDelay(time.Second)
		start := time.Now()
		write(t, ca, "1", "2")
		<-b.got
		require.Equal(t, time.Second, time.Since(start))
		<-b.got
		require.Equal(t, 2*time.Second, time.Since(start))
		rtt, err := ca.Ping(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Second, rtt)
		require.Equal(t, time.Second, ca.RoundTrip())
		write(t, ca, "3", "4")
		ca.SetDelay(0)
		<-b.got
		<-b.got
		require.NoError(t, ca.Close(1000, ""))
		<-b.closed
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newEnd(nil)
		hold := make(chan struct{})
		b.onReceive = func(m transport.Message) {
			if string(m.Data) == "first" {
				y := b.conn.(transport.Yielder)
				require.True(t, y.Yield())
				<-hold
				require.Equal(t, "first", string(m.Data))
			}
		}
		a := newEnd(nil)
		ca, cb := pipe.Pair(nil, a.open, b.open)
		require.False(t, cb.Yield())
		write(t, ca, "first", "second")
		require.Equal(t, "second", <-b.got)
		_, err := ca.Ping(t.Context())
		require.NoError(t, err)
		close(hold)
		require.Equal(t, "first", <-b.got)
		require.NoError(t, ca.Close(1000, ""))
		<-b.closed
	})
}

func TestBrokenMessagesEndTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			send  string
			code  transport.StatusCode
			cause error
		}{
			{"\xff", transport.StatusInvalidPayloadData, pipe.ErrNotUTF8},
			{"12345", transport.StatusMessageTooBig, transport.ErrMessageTooBig},
		} {
			a, b, ca, _ := pair(&pipe.Options{MaxMessageSize: 4})
			write(t, ca, "1234", tt.send, "more")
			require.Equal(t, &transport.EndError{Code: tt.code, Err: tt.cause}, <-b.closed)
			require.Equal(t, "1234", <-b.got)
			require.Empty(t, b.got)
			var ce *transport.CloseError
			require.ErrorAs(t, <-a.closed, &ce)
			require.Equal(t, tt.code, ce.Code)
		}
	})
}

func TestTypeThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, ca, _ := pair(nil)
		n, err := ca.Write([]transport.Message{text("1"), {Data: []byte("x")}, text("2")})
		require.Equal(t, 1, n)
		require.Error(t, err)
		require.NotErrorIs(t, err, net.ErrClosed)
		write(t, ca, "2")
		require.Equal(t, "1", <-b.got)
		require.Equal(t, "2", <-b.got)
		require.NoError(t, ca.Close(1000, ""))
	})
}

// FailNow inside Receive ends the goroutine that delivers.
func TestReceiveThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newEnd(nil)
		seen := make(chan string, 2)
		b := newEnd(func(m transport.Message) {
			seen <- string(m.Data)
			panicToGoexit()
		})
		ca, _ := pipe.Pair(nil, a.open, b.open)
		write(t, ca, "x")
		write(t, ca, "y")
		require.Equal(t, "x", <-seen)
		require.Equal(t, "y", <-seen)
		require.NoError(t, ca.Close(1000, ""))
		require.EqualValues(t, 1000, transport.CloseStatus(<-b.closed))
		<-a.closed
	})
}

func TestAbandonedPingsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ca, cb := pair(nil)
		cb.Pause()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			_, err := ca.Ping(ctx)
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Zero(t, pipe.QueuedItems(cb))
		go func() { <-a.closed }()
		errs := make(chan error)
		go func() {
			_, err := ca.Ping(t.Context())
			errs <- err
		}()
		synctest.Wait()
		require.Equal(t, 1, pipe.QueuedItems(cb))
		ca.Cut()
		require.ErrorIs(t, <-errs, net.ErrClosed)
		cb.Resume()
		<-b.closed
	})
}

// TestIdleHasNoGoroutine relies on goleak: ends that are never closed leave nothing.
func TestIdleHasNoGoroutine(t *testing.T) {
	_, b, ca, _ := pair(nil)
	write(t, ca, "x")
	<-b.got
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	pipe.New(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil), nil)
	require.Equal(t, http.StatusNotImplemented, w.Code)
	require.NotEmpty(t, w.Body.String())
}

func TestNegativeOptionsPanic(t *testing.T) {
	t.Parallel()
	for _, o := range []*pipe.Options{{Buffer: -1}, {CloseTimeout: -1}} {
		require.Panics(t, func() { pipe.New(o) })
	}
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	_, b, ca, _ := pair(&pipe.Options{MaxMessageSize: -1})
	big := strings.Repeat("x", 3<<20)
	write(t, ca, big)
	require.Equal(t, big, <-b.got)
	require.NoError(t, ca.Close(1000, ""))
	<-b.closed
}

var errTest = errors.New("secret")

// slowWaker is an end whose Writable takes its time.
type slowWaker struct {
	*end
	hold chan struct{}
}

func (s slowWaker) Writable() {
	s.writable <- struct{}{}
	<-s.hold
}

// No call follows Closed, so it waits for a Writable that is under way.
func TestClosedWaitsForWritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := slowWaker{newEnd(nil), make(chan struct{})}
		b := newEnd(nil)
		ca, cb := pipe.Pair(nil, func(transport.Conn) transport.Receiver { return a }, b.open)
		ca.SetFull(true)
		_, err := ca.Write(batch("x"))
		require.NoError(t, err)
		ca.SetFull(false)
		<-a.writable
		require.NoError(t, cb.Close(1000, ""))
		synctest.Wait()
		require.Empty(t, a.closed)
		require.Len(t, b.closed, 1)
		close(a.hold)
		require.EqualValues(t, 1000, transport.CloseStatus(<-a.closed))
	})
}
