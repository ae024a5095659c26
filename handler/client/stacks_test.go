package client_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/sockjs"
	"github.com/weftws/weft/transport/tcp"
)

// dialers are those of the carriers that need no certificate.
var dialers = map[string]transport.Dialer{
	"gobwas": gobwas.New(nil), "gobwas-bare": gobwas.New(nil), "gobwas-deflate": gobwas.New(nil),
	"gorilla": gorilla.New(nil), "gorilla-deflate": gorilla.New(nil),
	"tcp":    tcp.New(nil),
	"sockjs": sockjs.NewDialer(gobwas.New(nil), nil), "sockjs-streaming": only("xhr-streaming"), "sockjs-polling": only("xhr-polling"),
}

func only(name string) transport.Dialer {
	return sockjs.NewDialer(nil, &sockjs.DialerOptions{Transports: []string{name}})
}

// cutter passes bytes on between clients and a server, until it is told to break all
// connections.
type cutter struct {
	ln net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newCutter(t *testing.T, to string) *cutter {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{ln: ln, to: to}
	c.wg.Go(c.serve)
	t.Cleanup(func() {
		ln.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) serve() {
	for {
		a, err := c.ln.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", c.to)
		if err != nil {
			a.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, a, b)
		c.mu.Unlock()
		for _, p := range [][2]net.Conn{{a, b}, {b, a}} {
			c.wg.Go(func() {
				io.Copy(p[0], p[1])
				p[0].Close()
				p[1].Close()
			})
		}
	}
}

// cut breaks all connections without a word.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if tc, ok := conn.(*net.TCPConn); ok {
			tc.SetLinger(0)
		}
		conn.Close()
	}
	c.conns = nil
}

// Over real sockets: publish, acknowledge, lose the connection, go on, say good-bye.
func TestStacks(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if dialers[st.Carrier] == nil || strings.HasPrefix(st.Format, "raw/") {
			continue
		}
		t.Run(st.Name, func(t *testing.T) {
			t.Parallel()
			b := broker.New(nil)
			t.Cleanup(b.Close)
			srv := st.Start(t, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
				if r.Message.Destination == "" {
					return nil
				}
				return b.Handle(ctx, r)
			}))
			relay := newCutter(t, srv.Addr)
			address := strings.Replace(srv.URL, srv.Addr, relay.ln.Addr().String(), 1)
			ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
			defer cancel()
			lost := make(chan struct{}, 100)
			c, err := client.Dial(ctx, address, dialers[st.Carrier], st.SubProtocol, &client.Options{
				Codecs: st.Codecs, Reconnect: client.Reconnect{FirstDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
				Hooks: client.Hooks{State: func(ch client.StateChange) {
					if ch.State == client.Waiting {
						lost <- struct{}{}
					}
				}},
			})
			require.NoError(t, err)
			cut := func() {
				for {
					var again <-chan time.Time
					if st.Requests {
						again = time.After(100 * time.Millisecond) // between two requests it does no harm
					}
					relay.cut()
					select {
					case <-lost:
						return
					case <-again:
					}
				}
			}
			sub, err := c.Subscribe(ctx, "/queue/a", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual}, nil)
			require.NoError(t, err)
			type job struct {
				N    int
				Text string
			}
			for n := range 5 {
				m := &subprotocol.Message{Destination: "/queue/a"}
				require.NoError(t, c.Encode(m, job{n, strings.Repeat("x", 1000)}))
				require.NoError(t, c.SendReceipt(ctx, m))
			}
			var got job
			first := take(t, sub, 2)
			require.NoError(t, c.Decode(&first[1].Message, &got))
			require.Equal(t, 1, got.N)
			cut()
			for n, d := range take(t, sub, 5) {
				require.NoError(t, c.Decode(&d.Message, &got))
				require.Equal(t, n, got.N, "none was acknowledged")
				require.NoError(t, d.Ack(ctx))
			}
			require.ErrorIs(t, first[0].Ack(ctx), client.ErrStale)
			require.NoError(t, c.SendReceipt(ctx, text("/topic/a", "x")))
			cut()
			require.NoError(t, c.Connect(ctx))
			require.NoError(t, c.SendReceipt(ctx, text("/queue/a", "last")))
			require.Equal(t, "last", string(take(t, sub, 1)[0].Body), "all others were acknowledged")
			require.NoError(t, c.Close(ctx))
		})
	}
}

// A client that was there before its server is, and after it has gone.
func TestServerComesAndGoes(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()

	changes := make(chan client.StateChange, 1000)
	c := client.New("stomp://"+addr, tcp.New(nil), protocols["stomp"], &client.Options{
		Reconnect: client.Reconnect{First: true, FirstDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
		Hooks:     client.Hooks{State: func(ch client.StateChange) { changes <- ch }},
	})
	until := func(s client.State) {
		for ch := range changes {
			if ch.State == s {
				return
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
	defer cancel()
	sub, err := c.Subscribe(ctx, "/topic/a", nil, nil)
	require.NoError(t, err)
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(ctx) }()
	for range 3 {
		until(client.Waiting)
	}
	for range 2 {
		b := broker.New(nil)
		ep := handler.NewEndpoint(tcp.New(nil), b, handler.WithSubProtocols(protocols["stomp"]), handler.WithShutdownSpread(0))
		ln, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- ep.Serve(ctx, ln) }()
		until(client.Connected)
		require.NoError(t, c.SendReceipt(ctx, text("/topic/a", "hello")))
		require.Equal(t, "hello", string(take(t, sub, 1)[0].Body))
		require.NoError(t, ep.Shutdown(ctx))
		<-served
		b.Close()
		until(client.Waiting)
	}
	require.NoError(t, <-connected)
	require.NoError(t, c.Close(ctx))
}
