package gorilla

import (
	"bufio"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// pair is a server's conn, its recorder, and a raw peer of it.
func pair(t *testing.T, kind string, opts *Options) (p *peer, c *conn, r *recorder) {
	t.Helper()
	opened := make(chan *conn, 1)
	r = newRecorder()
	url := serve(t, kind, New(opts), &acceptor{open: func(c transport.Conn) transport.Receiver {
		opened <- c.(*conn)
		return r
	}})
	nc := rawDial(t, url)
	_, err := nc.Write([]byte(upgradeRequest))
	require.NoError(t, err)
	p = newPeer(t, nc, bufio.NewReader(nc), true)
	resp, err := http.ReadResponse(p.br, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	return p, wait(t, opened), r
}

// TestWriteBesideBrokenRule: gorilla reports a broken rule before the reader of the
// connection knows. A Write in that moment finds no room, and the close frame that goes
// out is the connection's.
func TestWriteBesideBrokenRule(t *testing.T) {
	t.Parallel()
	p, c, r := pair(t, "http", nil)
	require.NoError(t, c.ws.WriteControl(websocket.CloseMessage, nil, time.Now().Add(time.Minute)))
	shared := transport.NewShared(transport.MessageText, pattern(10))
	for _, m := range []transport.Message{{Type: transport.MessageText, Data: pattern(10)}, shared.Message(nil), shared.Message(pattern(5))} {
		n, err := c.Write([]transport.Message{m, m})
		require.NoError(t, err)
		require.Zero(t, n)
	}
	p.send(fin|opPing, "asked")
	p.expect(opPong, []byte("asked"))
	p.send(fin|opCont, "broken")
	p.expectClose(1002)
	p.nc.Close()
	var end *transport.EndError
	require.ErrorAs(t, wait(t, r.closed), &end)
	require.Equal(t, transport.StatusProtocolError, end.Code)
}
