package tcp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/accept"
	"github.com/weftws/weft/transport/internal/wire"
)

// Serve implements transport.ListenerServer. Connections are plain, or TLS if
// Options.TLS says so or ln makes them so. A temporary failure of Accept, such as too
// many open files, is waited out.
func (t *Transport) Serve(ctx context.Context, ln net.Listener, a transport.Acceptor) error {
	return accept.Loop(ctx, t.Name(), ln, t.opts.MaxHandshakes, func(nc net.Conn) { t.serveConn(ctx, nc, a) })
}

// noHeader is the header of every handshake.
var noHeader = http.Header{}

// serveConn shows a new connection to a and opens it, on a goroutine of its own: the
// reader that follows begins with a fresh stack.
func (t *Transport) serveConn(ctx context.Context, nc net.Conn, a transport.Acceptor) {
	ctx, cancel := context.WithTimeout(ctx, t.limits.HandshakeTimeout)
	defer cancel()
	opened := false
	defer func() {
		if !opened {
			wire.Socket(nc).Close() // TLS might wait
		}
	}()

	present, gone := context.WithCancel(ctx)
	defer gone()
	hs := transport.Handshake{
		Transport: t.Name(), RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr(), Header: noHeader, Context: present,
	}
	tc, ok := nc.(*tls.Conn)
	if !ok && t.opts.TLS != nil {
		tc = tls.Server(wire.NewShim(nc), t.opts.TLS)
	}
	if tc != nil {
		if tc.HandshakeContext(ctx) != nil {
			return
		}
		state := tc.ConnectionState()
		hs.TLS, hs.Secure = &state, true
		nc = tc
	}

	stop := accept.Watch(nc, gone)
	admission, err := a.Accept(&hs)
	early := stop()
	if err != nil {
		return
	}
	// A client that is gone by now is opened: its Dial has returned, and it may have
	// ended no more than its own half.
	if err := ctx.Err(); err != nil {
		admission.Abort(err)
		return
	}
	opened = true
	t.start(nc, admission.SubProtocol(), early, admission.Open)
}
