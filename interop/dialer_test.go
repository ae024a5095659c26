package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// weft's dialer talks to a server on npm's ws.
func TestInteropNPMServer(t *testing.T) {
	foreign(t)
	t.Parallel()
	dialerCases(t, start(t, "node", "js/server.mjs"), nil)
}

// weft's dialer talks to a server on python3-websockets.
func TestInteropPythonServer(t *testing.T) {
	foreign(t)
	t.Parallel()
	dialerCases(t, start(t, python, "py/server.py"), nil)
}

// end is what receives on the side that dials.
type end struct {
	conn     transport.Conn
	messages chan transport.Message
	writable chan struct{}
	closed   chan error
}

func (e *end) Receive(m transport.Message) {
	m.Data = bytes.Clone(m.Data)
	e.messages <- m
}

func (e *end) Writable()        { e.writable <- struct{}{} }
func (e *end) Closed(err error) { e.closed <- err }

func dial(t *testing.T, url string, cfg *transport.DialConfig) *end {
	t.Helper()
	e := &end{
		messages: make(chan transport.Message, 64),
		writable: make(chan struct{}, 1),
		closed:   make(chan error, 1),
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := gobwas.New(&gobwas.Options{MaxMessageSize: 16 << 20}).Dial(ctx, url, cfg,
		func(transport.Conn) transport.Receiver { return e })
	require.NoError(t, err)
	e.conn = conn
	return e
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("not reached")
	}
}

func (e *end) send(t *testing.T, typ transport.MessageType, data []byte) {
	t.Helper()
	for {
		n, err := e.conn.Write([]transport.Message{{Type: typ, Data: data}})
		require.NoError(t, err)
		if n == 1 {
			return
		}
		wait(t, e.writable)
	}
}

func (e *end) echo(t *testing.T, typ transport.MessageType, data []byte) {
	t.Helper()
	e.send(t, typ, data)
	m := wait(t, e.messages)
	require.Equal(t, typ, m.Type)
	require.True(t, bytes.Equal(data, m.Data), "%d bytes came back as %d others", len(data), len(m.Data))
}

// dialerCases runs every case over a server of its own path. Each connection ends
// with a line of the server's, so cases run one after the other. The server speaks
// TLS if config is not nil.
func dialerCases(t *testing.T, srv *process, config *tls.Config) {
	t.Helper()
	base := "ws://" + srv.address(t)
	if config != nil {
		base = "wss" + base[len("ws"):]
	}
	dial := func(t *testing.T, url string, protocols ...string) *end {
		t.Helper()
		return dial(t, url, &transport.DialConfig{SubProtocols: protocols, TLS: config})
	}

	// ends closes from this side and wants the server to have heard it.
	ends := func(t *testing.T, e *end, code transport.StatusCode, reason string) {
		t.Helper()
		require.NoError(t, e.conn.Close(code, reason))
		require.Equal(t, fmt.Sprintf("closed %d %s", code, reason), srv.line(t))
		err := wait(t, e.closed)
		require.ErrorIs(t, err, transport.ErrLocalClose)
		require.ErrorIs(t, err, net.ErrClosed)
	}

	for name, data := range map[string][]byte{
		"empty":                      {},
		"a few bytes":                []byte("hello"),
		"beyond ASCII":               []byte("Grüße, 世界 🧵"),
		"125 bytes":                  bytes.Repeat([]byte("a"), 125),
		"126 bytes":                  bytes.Repeat([]byte("b"), 126),
		"65535 bytes":                bytes.Repeat([]byte("c"), 65535),
		"65536 bytes":                bytes.Repeat([]byte("d"), 65536),
		"1 MiB":                      bytes.Repeat([]byte("0123456789abcdef"), 1<<16),
		"16 MiB, the dialer's limit": bytes.Repeat([]byte("0123456789abcdef"), 1<<20),
	} {
		t.Run("echo "+name, func(t *testing.T) {
			e := dial(t, base+"/echo")
			e.echo(t, transport.MessageText, data)
			e.echo(t, transport.MessageBinary, data)
			ends(t, e, transport.StatusNormalClosure, "over")
		})
	}

	t.Run("a message over the dialer's limit", func(t *testing.T) {
		e := dial(t, base+"/echo")
		e.send(t, transport.MessageBinary, make([]byte, 16<<20+1))
		err := wait(t, e.closed)
		require.ErrorIs(t, err, transport.ErrMessageTooBig)
		require.Contains(t, srv.line(t), "closed 1009")
	})

	t.Run("fragments with pings in between", func(t *testing.T) {
		e := dial(t, base+"/fragments")
		e.echo(t, transport.MessageText, []byte("The quick brown fox jumps over the lazy dog."))
		e.echo(t, transport.MessageBinary, bytes.Repeat([]byte{0, 255}, 50))
		ends(t, e, transport.StatusNormalClosure, "")
	})

	t.Run("pings are answered", func(t *testing.T) {
		e := dial(t, base+"/ping")
		for _, data := range []string{"a", strings.Repeat("p", 125)} {
			e.send(t, transport.MessageText, []byte(data))
			require.Equal(t, "pong "+data, string(wait(t, e.messages).Data))
		}
		ends(t, e, transport.StatusNormalClosure, "")
	})

	t.Run("the dialer's own pings are answered", func(t *testing.T) {
		e := dial(t, base+"/echo")
		p, ok := transport.As[transport.Pinger](e.conn)
		require.True(t, ok)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		rtt, err := p.Ping(ctx)
		require.NoError(t, err)
		require.Positive(t, rtt)
		ends(t, e, transport.StatusNormalClosure, "")
	})

	for _, c := range []struct {
		query string
		want  transport.CloseError
	}{
		{"?code=1000&reason=bye", transport.CloseError{Code: 1000, Reason: "bye"}},
		{"?code=1001", transport.CloseError{Code: 1001}},
		{"?code=3000&reason=library", transport.CloseError{Code: 3000, Reason: "library"}},
		{"?code=4999&reason=" + strings.Repeat("r", 123), transport.CloseError{Code: 4999, Reason: strings.Repeat("r", 123)}},
		{"", transport.CloseError{Code: transport.StatusNoStatusReceived}},
	} {
		t.Run("closed by the server "+strings.TrimRight(c.query, "r"), func(t *testing.T) {
			e := dial(t, base+"/close"+c.query)
			e.send(t, transport.MessageText, []byte("now"))
			err := wait(t, e.closed)
			got, ok := errors.AsType[*transport.CloseError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.want, *got)
			require.ErrorIs(t, err, net.ErrClosed)
			// The dialer's answer repeats the code.
			require.Contains(t, srv.line(t), fmt.Sprintf("closed %d", c.want.Code))
		})
	}

	for _, c := range []transport.CloseError{
		{Code: 1001}, {Code: 3999, Reason: "Tschüß 👋"}, {Code: 4000, Reason: strings.Repeat("r", 123)},
	} {
		t.Run(fmt.Sprintf("closed by the dialer %d", c.Code), func(t *testing.T) {
			ends(t, dial(t, base+"/echo"), c.Code, c.Reason)
		})
	}

	t.Run("the server chooses a sub-protocol", func(t *testing.T) {
		e := dial(t, base+"/echo", "first", "second")
		require.Equal(t, "second", e.conn.SubProtocol())
		e.echo(t, transport.MessageText, []byte("agreed"))
		ends(t, e, transport.StatusNormalClosure, "")
	})

	t.Run("the server refuses", func(t *testing.T) {
		_, err := gobwas.New(nil).Dial(t.Context(), base+"/refuse", &transport.DialConfig{TLS: config},
			func(transport.Conn) transport.Receiver { panic("opened although refused") })
		refusal, ok := errors.AsType[*transport.Refusal](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, 403, refusal.Status)
		require.Contains(t, refusal.Text, "not today")
	})
}
