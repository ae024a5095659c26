package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Serve implements transport.ListenerServer. Connections are plain, or TLS if
// Options.TLS says so or ln makes them so. A temporary failure of Accept, such as too
// many open files, is waited out.
func (t *Transport) Serve(ctx context.Context, ln net.Listener, a transport.Acceptor) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	room := make(chan struct{}, t.opts.MaxHandshakes)
	var delay time.Duration
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := ln.Accept()
		if err == nil {
			delay = 0
			handshakes.Go(func() {
				defer func() { <-room }()
				t.serveConn(ctx, nc, a)
			})
			continue
		}
		<-room
		switch {
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("tcp: accept: %w", err)
		}
	}
}

// isTemporary reports what net/http waits out too; the method has no successor for
// errors of Accept.
func isTemporary(err error) bool {
	ne, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && ne.Temporary()
}

// noHeader is the header of every handshake.
var noHeader = http.Header{}

// serveConn shows a new connection to a and opens it, on a goroutine of its own: the
// reader that follows begins with a fresh stack.
func (t *Transport) serveConn(ctx context.Context, nc net.Conn, a transport.Acceptor) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.HandshakeTimeout)
	defer cancel()
	opened := false
	socket := nc // closing TLS might wait
	defer func() {
		if !opened {
			socket.Close()
		}
	}()

	present, gone := context.WithCancel(ctx)
	defer gone()
	hs := transport.Handshake{
		Transport: t.Name(), RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr(), Header: noHeader, Context: present,
	}
	tc, ok := nc.(*tls.Conn)
	switch {
	case ok:
		socket = tc.NetConn()
	case t.opts.TLS != nil:
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

	stop := watch(nc, gone)
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

// watch calls gone when the peer goes away, until stop is called: it reads one byte
// ahead, which stop returns.
func watch(nc net.Conn, gone func()) (stop func() []byte) {
	ahead, done := make([]byte, 1), make(chan struct{})
	go func() {
		defer close(done)
		n, err := nc.Read(ahead)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			gone()
		}
		ahead = ahead[:n]
	}()
	return func() []byte {
		_ = nc.SetReadDeadline(past)
		<-done
		_ = nc.SetReadDeadline(time.Time{})
		return ahead
	}
}

// past is a deadline that lets a Read return at once with what there is.
var past = time.Unix(1, 0)
