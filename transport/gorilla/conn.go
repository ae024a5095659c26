package gorilla

import (
	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// conn is one WebSocket connection, which reads through gorilla and lets gorilla encode
// messages into memory.
type conn struct {
	duplex.WebSocket
	ws    *websocket.Conn
	level *Compression // nil: no compression on this connection
	limit int          // of a message

	// The reader's.
	guard   guard
	refused error    // why there is nothing more to read, a *duplex.Violation if the guard says so
	ioErr   error    // the same, once gorilla was told
	beyond  [16]byte // where the first bytes go that have no room

	// Where gorilla's bytes go, during a Write.
	out      []byte
	borrow   bool // do not copy a frame but remember it in borrowed
	borrowed []byte
}

var _ transport.Conn = (*conn)(nil)

// start opens a connection whose handshake is done and begins to read. early is what
// the peer sent behind its handshake.
func (t *Transport) start(ws *websocket.Conn, s *socket, client, deflate bool, early []byte, open func(transport.Conn) transport.Receiver) *conn {
	c := &conn{ws: ws, limit: t.limits.MaxMessage(client)}
	c.Init(s.Conn, &t.limits, ws.Subprotocol(), client, early)
	c.guard.deflate = deflate
	limit := int64(c.limit)
	if deflate {
		c.level = t.opts.Compression
		_ = ws.SetCompressionLevel(c.level.Level)
		// What gorilla counts is what comes over the wire, and that may be more than
		// what it inflates to.
		limit = addSat(limit, limit/64+1024)
	}
	ws.SetReadLimit(limit)
	ws.SetPingHandler(func(body string) error {
		c.GotPing([]byte(body))
		return nil
	})
	ws.SetPongHandler(func(body string) error {
		c.GotPong([]byte(body))
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil })
	s.c = c
	c.Open(c, open)
	return c
}

// addSat is a+b for numbers that are not negative, at most the largest one.
func addSat(a, b int64) int64 {
	if s := a + b; s >= 0 {
		return s
	}
	return a
}
