package handlertest_test

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs f over the table, without those rows that differ from others by their
// codec alone: nothing but typed handlers calls one.
func each(t *testing.T, f func(t *testing.T, st handlertest.Stack)) {
	t.Helper()
	rows(t, f, func(st handlertest.Stack) bool {
		return st.Format == "raw/none" || st.Format == "json/json" || st.Format == "msgpack/msgpack" || st.Format == "stomp/json"
	})
}

// handshakes is each without the rows that have none.
func handshakes(t *testing.T, f func(t *testing.T, st handlertest.Stack)) {
	t.Helper()
	each(t, func(t *testing.T, st handlertest.Stack) {
		if !st.Stream {
			f(t, st)
		}
	})
}

// rows runs f over the rows that are wanted.
func rows(t *testing.T, f func(t *testing.T, st handlertest.Stack), want func(st handlertest.Stack) bool) {
	t.Helper()
	for _, st := range handlertest.Stacks() {
		if !want(st) {
			continue
		}
		t.Run(st.Name, func(t *testing.T) {
			t.Parallel()
			f(t, st)
		})
	}
}

// recorder is a handler that keeps the beginnings and the ends of sessions.
type recorder struct {
	inner       handler.HandlerFunc
	sessions    chan *handler.Session
	causes      chan error // of contexts, seen at Disconnect
	connects    atomic.Int64
	disconnects atomic.Int64
}

// record lets inner handle all else; nil is Echo.
func record(inner handler.HandlerFunc) *recorder {
	if inner == nil {
		inner = handlertest.Echo
	}
	return &recorder{inner: inner, sessions: make(chan *handler.Session, 2048), causes: make(chan error, 2048)}
}

func (r *recorder) Handle(ctx context.Context, req handler.Request) error {
	switch req.Message.Kind {
	case subprotocol.KindConnect:
		r.connects.Add(1)
		r.sessions <- req.Session
		return nil
	case subprotocol.KindDisconnect:
		r.disconnects.Add(1)
		r.causes <- context.Cause(ctx)
		return nil
	}
	return r.inner(ctx, req)
}

// take receives from ch in time.
func take[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(handlertest.Timeout):
		require.FailNow(t, "nothing came in time")
		panic("unreachable")
	}
}

// pair dials and returns both ends.
func pair(t testing.TB, s *handlertest.Server, r *recorder) (*handlertest.Client, *handler.Session) {
	t.Helper()
	c := s.Dial(t)
	return c, take(t, r.sessions)
}

func text(format string, args ...any) *subprotocol.Message {
	return &subprotocol.Message{
		Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: fmt.Appendf(nil, format, args...),
	}
}

func send(t testing.TB, c *handlertest.Client, body string) {
	t.Helper()
	require.NoError(t, c.Send(&subprotocol.Message{Type: transport.MessageText, Body: []byte(body)}))
}

func receive(t testing.TB, c *handlertest.Client) string {
	t.Helper()
	m, err := c.Receive()
	require.NoError(t, err)
	return string(m.Body)
}

// bodyType is that of bodies which are text, on rows that carry no others.
func bodyType(st handlertest.Stack) transport.MessageType {
	if st.Text {
		return transport.MessageText
	}
	return transport.MessageBinary
}

func roundTrip(t testing.TB, c *handlertest.Client, body string) {
	t.Helper()
	send(t, c, body)
	require.Equal(t, body, receive(t, c))
}

// requireClosed checks what the server said when it closed.
func requireClosed(t testing.TB, c *handlertest.Client, code transport.StatusCode, reason string) {
	t.Helper()
	requireSaid(t, c.Stack(), c.Closed(), code, reason)
}

// requireSaid checks what the other side said when it closed. A stream only ends.
func requireSaid(t testing.TB, st handlertest.Stack, err error, code transport.StatusCode, reason string) {
	t.Helper()
	if st.Stream {
		requireEnd(t, err, transport.StatusAbnormalClosure)
		require.ErrorIs(t, err, io.EOF)
		return
	}
	var said *transport.CloseError
	require.ErrorAs(t, err, &said)
	require.Equal(t, transport.CloseError{Code: code, Reason: reason}, *said)
}

// requireStatus checks the status that the server closed with.
func requireStatus(t testing.TB, c *handlertest.Client, code transport.StatusCode) {
	t.Helper()
	err := c.Closed()
	if c.Stack().Stream {
		requireEnd(t, err, transport.StatusAbnormalClosure)
		return
	}
	require.Equal(t, code, transport.CloseStatus(err), "%v", err)
}

// requireEnd checks what was found or done on the side that asks.
func requireEnd(t testing.TB, err error, code transport.StatusCode) {
	t.Helper()
	var end *transport.EndError
	require.ErrorAs(t, err, &end)
	require.Equal(t, code, end.Code, "%v", err)
}

func pause(t testing.TB, c *handlertest.Client) (resume func()) {
	t.Helper()
	p, ok := transport.As[transport.Pauser](c.Conn())
	require.True(t, ok)
	p.Pause()
	return p.Resume
}

func eventually(t testing.TB, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, handlertest.Timeout, time.Millisecond, what)
}
