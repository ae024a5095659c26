package handler_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stack is an endpoint over a pipe.
type stack struct {
	t    testing.TB
	pipe *pipe.Transport
	ep   *handler.Endpoint
}

func newStack(t testing.TB, h handler.HandlerFunc, opts ...handler.Option) *stack {
	p := pipe.New(&pipe.Options{CloseTimeout: time.Second})
	opts = append([]handler.Option{handler.WithSubProtocols(raw.New(nil))}, opts...)
	return &stack{t, p, handler.NewEndpoint(p, h, opts...)}
}

// client is the other end. It records what comes.
type client struct {
	t      testing.TB
	conn   *pipe.Conn
	mu     sync.Mutex
	got    []string
	closed error
	more   chan struct{} // has room for one: something came
	gone   chan struct{}
}

func (s *stack) tryDial(cfg *transport.DialConfig) (*client, error) {
	c := &client{t: s.t, more: make(chan struct{}, 1), gone: make(chan struct{})}
	conn, err := s.pipe.Dial(context.Background(), "pipe://localhost/chat", cfg,
		func(transport.Conn) transport.Receiver { return c })
	if err != nil {
		return nil, err
	}
	c.conn, _ = transport.As[*pipe.Conn](conn)
	return c, nil
}

func (s *stack) dial() *client {
	s.t.Helper()
	c, err := s.tryDial(nil)
	require.NoError(s.t, err)
	return c
}

func (c *client) Receive(m transport.Message) {
	c.mu.Lock()
	c.got = append(c.got, string(m.Data))
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *client) Writable() {}

func (c *client) Closed(err error) {
	c.closed = err
	close(c.gone)
}

func (c *client) send(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		n, err := c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}})
		require.NoError(c.t, err)
		require.Equal(c.t, 1, n)
	}
}

// received returns all that has come so far.
func (c *client) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

// wait returns what has come once that is at least n messages.
func (c *client) wait(n int) []string {
	for {
		if got := c.received(); len(got) >= n {
			return got
		}
		select {
		case <-c.more:
		case <-c.gone:
			return c.received()
		}
	}
}

// leave ends the connection normally.
func (c *client) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
}

func only(kind subprotocol.Kind, f handler.HandlerFunc) handler.HandlerFunc {
	return func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind != kind {
			return nil
		}
		return f(ctx, r)
	}
}

func onSend(f handler.HandlerFunc) handler.HandlerFunc { return only(subprotocol.KindSend, f) }

func echo(_ context.Context, r handler.Request) error {
	_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
	return err
}

func nothing(context.Context, handler.Request) error { return nil }

func text(s string) *subprotocol.Message {
	return &subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: []byte(s)}
}

// theSession waits for the one session that there is. It needs a synctest bubble.
func (s *stack) theSession() *handler.Session {
	s.t.Helper()
	synctest.Wait()
	for x := range s.ep.Sessions().All() {
		return x
	}
	s.t.Fatal("there is no session")
	return nil
}

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

func TestEcho(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, onSend(echo))
		c := s.dial()
		c.send("one", "two", "three")
		require.Equal(t, []string{"one", "two", "three"}, c.wait(3))
		sess := s.theSession()
		require.Equal(t, "/chat", sess.Path())
		require.Equal(t, "pipe", sess.Transport())
		require.NotNil(t, sess.RemoteAddr())
		require.Len(t, sess.ID(), 26)
		require.Same(t, sess, s.ep.Sessions().Get(sess.ID()))
		st := s.ep.Stats()
		require.EqualValues(t, 3, st.MessagesIn)
		require.EqualValues(t, 11, st.BytesIn)
		require.EqualValues(t, 3, st.MessagesOut)
		require.EqualValues(t, 11, st.BytesOut)
		require.Equal(t, st.Traffic, s.ep.Traffic(sess.SubProtocol()))
		require.Zero(t, s.ep.Traffic("another"))
		c.leave()
		synctest.Wait()
		require.Zero(t, s.ep.Sessions().Len())
		require.Zero(t, s.ep.Stats().Live)
		require.ErrorIs(t, sess.Context().Err(), context.Canceled)
		require.EqualValues(t, 1000, transport.CloseStatus(context.Cause(sess.Context())))
	})
}

func TestSendIsQueuedAndWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing)
		c := s.dial()
		sess := s.theSession()
		for _, m := range []string{"a", "b", "c"} {
			status, err := sess.Send(text(m))
			require.NoError(t, err)
			require.Equal(t, handler.Queued, status)
		}
		require.Equal(t, []string{"a", "b", "c"}, c.wait(3))
		synctest.Wait()
		require.Zero(t, s.ep.Stats().QueuedBytes)
		require.NoError(t, sess.Close(transport.StatusNormalClosure, "bye"))
		require.Error(t, sess.Close(transport.StatusNormalClosure, "bye"))
		<-c.gone
		require.EqualValues(t, 1000, transport.CloseStatus(c.closed))
		status, err := sess.Send(text("late"))
		require.Equal(t, handler.Closed, status)
		require.Error(t, err)
	})
}

func TestPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var value any
		s := newStack(t, onSend(func(context.Context, handler.Request) error { panic("oops") }),
			handler.WithHooks(handler.Hooks{Panic: func(_ *handler.Session, v any, stack []byte) {
				value = v
				require.Contains(t, string(stack), "TestPanic")
			}}))
		c := s.dial()
		c.send("x", "y")
		<-c.gone
		require.EqualValues(t, 1011, transport.CloseStatus(c.closed))
		synctest.Wait()
		require.Equal(t, "oops", value)
		require.EqualValues(t, 1, s.ep.Stats().Panics)
		require.Zero(t, s.ep.Stats().Live)
	})
}

func TestShutdownClosesAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing)
		var cs []*client
		for range 1000 {
			cs = append(cs, s.dial())
		}
		begin := time.Now()
		require.NoError(t, s.ep.Shutdown(context.Background()))
		require.GreaterOrEqual(t, time.Since(begin), 900*time.Millisecond)
		require.LessOrEqual(t, time.Since(begin), 1100*time.Millisecond)
		for _, c := range cs {
			<-c.gone
			require.EqualValues(t, 1001, transport.CloseStatus(c.closed))
		}
		_, err := s.tryDial(nil)
		refusal, ok := errors.AsType[*transport.Refusal](err)
		require.True(t, ok)
		require.Equal(t, 503, refusal.Status)
		require.Equal(t, "5", refusal.Header.Get("Retry-After"))
		require.Zero(t, s.ep.Stats().Live)
	})
}
