package gobwas

import (
	"bufio"
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

// What comes behind the request, and while the acceptor thinks, is not lost.
func TestEarlyBytes(t *testing.T) {
	t.Parallel()
	ln := newPipeListener()
	ctx, cancel := context.WithCancel(context.Background())
	early := frame(fin|opText, []byte("early"), true)
	server := newRecorder()
	var client net.Conn
	a := &counting{
		open: func(transport.Conn) transport.Receiver { return server },
		hold: func(*transport.Handshake) { _, _ = client.Write(early[1:2]) }, // returns when it is read
	}
	done := make(chan error, 1)
	go func() { done <- New(nil).Serve(ctx, ln, a) }()
	client = ln.dial()
	_, err := client.Write(append([]byte(upgradeRequest), early[0]))
	require.NoError(t, err)
	_, err = http.ReadResponse(bufio.NewReader(client), nil)
	require.NoError(t, err)
	_, err = client.Write(early[2:])
	require.NoError(t, err)
	require.Equal(t, "early", string(wait(t, server.got).Data))
	client.Close()
	wait(t, server.closed)
	cancel()
	require.NoError(t, wait(t, done))
}
