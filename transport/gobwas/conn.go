package gobwas

import (
	"net"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// conn is one WebSocket connection.
type conn struct {
	duplex.WebSocket
	dec parser // the reader's; windows.sent is Write's
}

var _ transport.Conn = (*conn)(nil)

// start opens a connection whose handshake is done and begins to read; early is
// what the peer sent behind its handshake.
func (t *Transport) start(nc net.Conn, sub string, agreed *agreement, client bool, early []byte, open func(transport.Conn) transport.Receiver) *conn {
	c := new(conn)
	c.Init(nc, &t.limits, sub, client, early)
	c.dec.limit = int64(t.limits.MaxMessage(client))
	c.dec.state = ws.StateServerSide
	if client {
		c.dec.state = ws.StateClientSide
	}
	c.agree(agreed)
	c.Open(c, open)
	return c
}
