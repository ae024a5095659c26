package pipe_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func panicToGoexit() { runtime.Goexit() }

// acceptor is an Acceptor and its own Admission.
type acceptor struct {
	sub     string
	accept  func(*transport.Handshake) error
	open    func(transport.Conn) transport.Receiver
	aborted chan error
}

func (a *acceptor) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.accept != nil {
		if err := a.accept(h); err != nil {
			return nil, err
		}
	}
	return a, nil
}
func (a *acceptor) SubProtocol() string                      { return a.sub }
func (a *acceptor) Open(c transport.Conn) transport.Receiver { return a.open(c) }
func (a *acceptor) Abort(err error)                          { a.aborted <- err }

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		p := pipe.New(nil)
		server := newEnd(nil)
		p.Bind(&acceptor{sub: "b", open: server.open, accept: func(h *transport.Handshake) error {
			require.Equal(t, "pipe", h.Transport)
			require.Equal(t, "host:1", h.Host)
			require.Equal(t, "/a b", h.Path)
			require.Equal(t, "q=1&r=%20", h.Query)
			require.Equal(t, []string{"a", "b"}, h.SubProtocols)
			require.Equal(t, "tok", h.Header.Get("authorization"))
			require.Equal(t, "value", h.Context.Value(key{}))
			require.NotNil(t, h.RemoteAddr)
			require.Equal(t, "pipe", h.LocalAddr.Network())
			require.NotEqual(t, h.LocalAddr.String(), h.RemoteAddr.String())
			return nil
		}})
		client := newEnd(nil)
		c, err := p.Dial(ctx, "pipe://host:1/a%20b?q=1&r=%20", &transport.DialConfig{
			SubProtocols: []string{"a", "b"}, Header: http.Header{"authorization": {"tok"}},
		}, client.open)
		require.NoError(t, err)
		require.Same(t, client.conn, c)
		require.Equal(t, "b", c.SubProtocol())
		require.Equal(t, "b", server.conn.SubProtocol())
		write(t, c, "hello")
		require.Equal(t, "hello", <-server.got)
		require.NoError(t, c.Close(1000, ""))
		<-server.closed
	})
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1023) + "é"
	for name, tt := range map[string]struct {
		err  error
		want transport.Refusal
	}{
		"refusal":    {&transport.Refusal{Status: 403, Text: "no", Header: http.Header{"A": {"b"}}}, transport.Refusal{Status: 403, Text: "no", Header: http.Header{"A": {"b"}}}},
		"long text":  {&transport.Refusal{Status: 400, Text: long}, transport.Refusal{Status: 400, Text: long[:1023]}},
		"bad status": {&transport.Refusal{Status: 200, Text: "secret"}, transport.Refusal{Status: 500}},
		"error":      {errTest, transport.Refusal{Status: 500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pipe.New(nil)
			p.Bind(&acceptor{accept: func(*transport.Handshake) error { return tt.err }})
			_, err := p.Dial(t.Context(), "pipe://h/", nil, nil)
			require.Equal(t, &tt.want, err)
		})
	}
	for name, a := range map[string]*acceptor{
		"panic":  {accept: func(*transport.Handshake) error { panic("x") }},
		"goexit": {accept: func(*transport.Handshake) error { panicToGoexit(); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pipe.New(nil)
			p.Bind(a)
			_, err := p.Dial(t.Context(), "pipe://h/", nil, nil)
			require.Equal(t, &transport.Refusal{Status: 500}, err)
		})
	}
	p := pipe.New(nil)
	_, err := p.Dial(t.Context(), "pipe://h/", nil, nil)
	var r *transport.Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, 503, r.Status)
}

func TestDialMisuse(t *testing.T) {
	t.Parallel()
	p := pipe.New(nil)
	for _, u := range []string{"ws://h/", "pipe://%zz", ""} {
		_, err := p.Dial(t.Context(), u, nil, nil)
		require.Error(t, err)
	}
	_, err := p.Dial(t.Context(), "pipe://h/", &transport.DialConfig{Header: http.Header{"upgrade": {"x"}}}, nil)
	require.ErrorContains(t, err, "Upgrade")
}

func TestSubProtocolThatWasNotOffered(t *testing.T) {
	t.Parallel()
	p := pipe.New(nil)
	a := &acceptor{sub: "other", aborted: make(chan error, 1)}
	p.Bind(a)
	_, err := p.Dial(t.Context(), "pipe://h/", &transport.DialConfig{SubProtocols: []string{"a"}}, nil)
	require.ErrorContains(t, err, "other")
	require.ErrorContains(t, <-a.aborted, "other")
}

func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipe.New(nil)
		slow := make(chan struct{})
		a := &acceptor{aborted: make(chan error, 1), accept: func(*transport.Handshake) error { <-slow; return nil }}
		p.Bind(a)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Dial(ctx, "pipe://h/", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, a.aborted)
		close(slow)
		require.ErrorIs(t, <-a.aborted, context.DeadlineExceeded)
	})
}

func TestOpenWithoutReceiverOrWithPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipe.New(nil)
		server := newEnd(nil)
		p.Bind(&acceptor{open: server.open})
		_, err := p.Dial(t.Context(), "pipe://h/", nil, func(transport.Conn) transport.Receiver { return nil })
		require.NoError(t, err)
		require.EqualValues(t, 1011, transport.CloseStatus(<-server.closed))
		require.Panics(t, func() {
			_, _ = p.Dial(t.Context(), "pipe://h/", nil, func(transport.Conn) transport.Receiver { panic("x") })
		})
		require.ErrorIs(t, <-server.closed, pipe.ErrCut)
	})
}

func TestWriteAndCloseInsideOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipe.New(&pipe.Options{Buffer: 20})
		server := newEnd(nil)
		p.Bind(&acceptor{open: func(c transport.Conn) transport.Receiver {
			n, err := c.Write(batch("1", "2"))
			require.NoError(t, err)
			require.Equal(t, 1, n)
			return server.open(c)
		}})
		client := newEnd(nil)
		_, err := p.Dial(t.Context(), "pipe://h/", nil, client.open)
		require.NoError(t, err)
		require.Equal(t, "1", <-client.got)
		<-server.writable
		require.NoError(t, server.conn.Close(1000, ""))
		<-client.closed

		p.Bind(&acceptor{open: func(c transport.Conn) transport.Receiver {
			require.NoError(t, c.Close(4001, "no"))
			return server.open(c)
		}})
		_, err = p.Dial(t.Context(), "pipe://h/", nil, client.open)
		require.NoError(t, err)
		require.EqualValues(t, 4001, transport.CloseStatus(<-client.closed))
	})
}
