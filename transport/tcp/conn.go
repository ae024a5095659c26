package tcp

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

// conn is one connection.
type conn struct {
	duplex.Conn
	records bool // the reader's: a read of one byte leaves the rest of a TLS record behind
}

var (
	_ transport.Conn    = (*conn)(nil)
	_ transport.Yielder = (*conn)(nil)
	_ transport.Pauser  = (*conn)(nil)
)

// start opens a connection and begins to read; early is what was read already.
func (t *Transport) start(nc net.Conn, sub string, early []byte, open func(transport.Conn) transport.Receiver) *conn {
	c := new(conn)
	c.Init(nc, &t.limits, sub, early)
	_, c.records = nc.(*tls.Conn)
	setKeepAlive(nc, t.opts.KeepAlive)
	// Without TLS there is nothing behind a single byte that could be had without
	// waiting, so a stream that can only block waits with a buffer.
	c.In.More = c.Stream.Blocking() && !c.records
	c.Open(c, open)
	return c
}

// setKeepAlive asks the kernel to look after a silent peer.
func setKeepAlive(nc net.Conn, d time.Duration) {
	if tc, ok := wire.Socket(nc).(*net.TCPConn); ok && d > 0 {
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: d, Count: 3})
	}
}
