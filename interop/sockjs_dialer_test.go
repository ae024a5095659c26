package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/sockjs"
)

// sockJSConn is a session of weft's dialer. failed has the transports that were tried
// before.
type sockJSConn struct {
	*end
	transport string
	failed    []string
}

func dialSockJS(t *testing.T, ws transport.Dialer, url string, transports ...string) *sockJSConn {
	t.Helper()
	s := &sockJSConn{end: &end{
		messages: make(chan transport.Message, 64),
		writable: make(chan struct{}, 1),
		closed:   make(chan error, 1),
	}}
	d := sockjs.NewDialer(ws, &sockjs.DialerOptions{Transports: transports, Failed: func(name string, err error) {
		t.Logf("%s: %v", name, err)
		s.failed = append(s.failed, name)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.Dial(ctx, url, nil, func(transport.Conn) transport.Receiver { return s.end })
	require.NoError(t, err)
	s.conn = conn
	name, ok := transport.As[sockjs.TransportNamer](conn)
	require.True(t, ok)
	s.transport = name.TransportName()
	return s
}

// exchange sends the server's texts, and wants them back.
func (s *sockJSConn) exchange(t *testing.T) {
	t.Helper()
	s.send(t, transport.MessageText, []byte("texts"))
	var texts []string
	require.NoError(t, json.Unmarshal(wait(t, s.messages).Data, &texts))
	require.Len(t, texts, 20)
	for _, text := range texts {
		s.echo(t, transport.MessageText, []byte(text))
	}
	s.send(t, transport.MessageText, []byte("texts")) // and all at once
	wait(t, s.messages)
	for _, text := range texts {
		s.send(t, transport.MessageText, []byte(text))
	}
	for _, text := range texts {
		require.Equal(t, text, string(wait(t, s.messages).Data))
	}
}

// weft's dialer talks to npm's sockjs over each transport, and both sides close.
func TestInteropSockJSDialer(t *testing.T) {
	foreign(t)
	t.Parallel()
	srv := start(t, "node", "js/sockjs_server.mjs")
	url := "http://" + srv.address(t) + "/echo"
	for name, d := range map[string]struct {
		ws        transport.Dialer
		transport string
	}{
		"websocket on gobwas":  {gobwas.New(nil), "websocket"},
		"websocket on gorilla": {gorilla.New(nil), "websocket"},
		"xhr-streaming":        {nil, "xhr-streaming"},
		"eventsource":          {nil, "eventsource"},
		"xhr-polling":          {nil, "xhr-polling"},
	} {
		t.Run(name, func(t *testing.T) {
			s := dialSockJS(t, d.ws, url, d.transport)
			require.Equal(t, d.transport, s.transport)
			s.exchange(t)
			s.send(t, transport.MessageText, []byte("close 3456 Auf Wiederseh’n, 世界"))
			require.Equal(t, &transport.CloseError{Code: 3456, Reason: "Auf Wiederseh’n, 世界"}, wait(t, s.closed))
			require.Equal(t, "closed /echo", srv.line(t))

			s = dialSockJS(t, d.ws, url, d.transport)
			s.exchange(t)
			require.NoError(t, s.conn.Close(transport.StatusNormalClosure, "over"))
			require.ErrorIs(t, wait(t, s.closed), transport.ErrLocalClose)
			require.Equal(t, "closed /echo", srv.line(t))
		})
	}
}

// Where there is no WebSocket the dialer finds another way: info says so, or a proxy
// answers no handshake.
func TestInteropSockJSDialerFallsBack(t *testing.T) {
	foreign(t)
	t.Parallel()
	srv := start(t, "node", "js/sockjs_server.mjs")
	addr := srv.address(t)
	for _, tt := range []struct{ name, url, path string }{
		{"disabled", "http://" + addr, "/no_websocket"},
		{"swallowed", "http://" + swallowUpgrades(t, addr), "/echo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := dialSockJS(t, gobwas.New(nil), tt.url+tt.path)
			require.Equal(t, []string{"websocket"}, s.failed)
			require.Equal(t, "xhr-streaming", s.transport)
			s.exchange(t)
			require.NoError(t, s.conn.Close(transport.StatusNormalClosure, ""))
			wait(t, s.closed)
			require.Equal(t, "closed "+tt.path, srv.line(t))
		})
	}
}

// swallowUpgrades relays connections, but for those that begin with the handshake of a
// WebSocket: nothing comes of these.
func swallowUpgrades(t *testing.T, to string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	keep := func(nc net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, nc)
	}
	relay := func(a net.Conn) {
		defer a.Close()
		br := bufio.NewReader(a)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			_, _ = io.Copy(io.Discard, br)
			return
		}
		b, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer b.Close()
		keep(b)
		if r.Write(b) != nil {
			return
		}
		wg.Go(func() { _, _ = io.Copy(b, br); b.Close() })
		_, _ = io.Copy(a, b)
	}
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			keep(nc)
			wg.Go(func() { relay(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range slices.Clone(conns) {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}
