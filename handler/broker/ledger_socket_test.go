package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/tcp"
)

// overTCP has the consumers' ends in plain net.Conns, which are reset to kill them.
func overTCP() carrier {
	return carrier{
		protocol: stomp.New(nil),
		serve: func(t *testing.T, h handler.Handler, sp subprotocol.SubProtocol) (func(transport.Receiver) transport.Conn, func()) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ep := handler.NewEndpoint(tcp.New(nil), h, handler.WithSubProtocols(sp), handler.WithHeartbeat(0, 0))
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- ep.Serve(ctx, ln) }()
			dial := func(r transport.Receiver) transport.Conn {
				nc, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return nil
				}
				c := &socket{nc}
				go c.read(r)
				return c
			}
			return dial, func() {
				cancel()
				require.NoError(t, <-served)
				require.NoError(t, ep.Shutdown(context.Background()))
			}
		},
		kill: func(c transport.Conn) {
			nc, _ := c.(*socket).Conn.(*net.TCPConn)
			_ = nc.SetLinger(0) // a reset instead of an end
			nc.Close()
		},
	}
}

// socket is a connection of a client that may wait for its server.
type socket struct{ net.Conn }

func (c *socket) SubProtocol() string { return "" }

func (c *socket) Write(batch []transport.Message) (int, error) {
	for i, m := range batch {
		if _, err := c.Conn.Write(append(m.Head[:len(m.Head):len(m.Head)], m.Data...)); err != nil {
			return i, errors.Join(err, net.ErrClosed)
		}
	}
	return len(batch), nil
}

func (c *socket) Close(transport.StatusCode, string) error { return c.Conn.Close() }

func (c *socket) read(r transport.Receiver) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Conn.Read(buf)
		if n > 0 {
			r.Receive(transport.Message{Type: transport.MessageBinary, Data: buf[:n]})
		}
		if err != nil {
			c.Conn.Close()
			r.Closed(err)
			return
		}
	}
}

// TestLedgerOverSockets is TestLedger with what a kernel has in store.
func TestLedgerOverSockets(t *testing.T) {
	t.Parallel()
	seeds := 20
	if testing.Short() || raceEnabled {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runLedger(t, overTCP(), uint64(seed)) })
	}
}
