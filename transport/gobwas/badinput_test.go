package gobwas

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// TestSlowHeader: a header that never ends is answered in time, in the bubble's.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	tr := New(&Options{HandshakeTimeout: 50 * time.Millisecond})
	url := serve(t, "bare", tr, &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }})
	resp, body := answerTo(t, url, "GET /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
	require.Equal(t, http.StatusRequestTimeout, resp.StatusCode, body)

	// Nothing at all, and half a TLS handshake, end too.
	nc := rawDial(t, url)
	_, err := io.ReadAll(nc)
	require.NoError(t, err)
	url = serve(t, "bare-tls", tr, &acceptor{})
	nc, err = net.Dial("tcp", hostOf(url))
	require.NoError(t, err)
	defer nc.Close()
	_, _ = nc.Write([]byte{0x16, 0x03, 0x01, 0x02})
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadAll(nc)
	require.NoError(t, err)
}

// counting counts what becomes of an admission.
type counting struct {
	open    func(transport.Conn) transport.Receiver
	hold    func(h *transport.Handshake)
	opens   atomic.Int32
	aborted chan error
}

func (a *counting) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.hold != nil {
		a.hold(h)
	}
	return a, nil
}
func (a *counting) SubProtocol() string { return "" }
func (a *counting) Open(c transport.Conn) transport.Receiver {
	a.opens.Add(1)
	return a.open(c)
}
func (a *counting) Abort(err error) { a.aborted <- err }

// pipeListener hands out in-memory connections.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestAbortWhenClientVanishes(t *testing.T) {
	t.Parallel()
	ln := newPipeListener()
	ctx, cancel := context.WithCancel(context.Background())
	var client net.Conn
	a := &counting{aborted: make(chan error, 1), hold: func(*transport.Handshake) { client.Close() }}
	done := make(chan error, 1)
	go func() { done <- New(nil).Serve(ctx, ln, a) }()
	client = ln.dial()
	_, err := client.Write([]byte(upgradeRequest))
	require.NoError(t, err)
	require.Error(t, wait(t, a.aborted))
	cancel()
	require.NoError(t, wait(t, done))
	require.Zero(t, a.opens.Load())
	require.Empty(t, a.aborted)
}
