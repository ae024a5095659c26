package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/enginetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the ways to be served: plain, with Options.TLS, on weft's TLS listener, on
// that of crypto/tls, and on a connection that is no socket.
var kinds = []string{"plain", "tls", "tls-listener", "tls-own", "no-socket"}

// wrapped hides what a connection is.
type wrapped struct{ net.Conn }

func (w wrapped) CloseWrite() error { return w.Conn.(*net.TCPConn).CloseWrite() }

type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrapped{nc}, nil
}

// listen opens a listener on loopback for a server of that kind, which is to have opts,
// and returns the URL to dial.
func listen(kind string, opts *Options) (net.Listener, string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	url := "tls://" + ln.Addr().String()
	switch kind {
	case "tls":
		opts.TLS = enginetest.ServerTLS()
	case "tls-listener":
		ln = transport.NewTLSListener(ln, enginetest.ServerTLS())
	case "tls-own":
		ln = tls.NewListener(ln, enginetest.ServerTLS())
	case "no-socket":
		ln, url = wrapping{ln}, "stomp://"+ln.Addr().String()
	default:
		url = "tcp://" + ln.Addr().String()
	}
	return ln, url, nil
}

// serve starts a server on loopback and returns its URL. nil opts are the defaults.
func serve(t testing.TB, kind string, opts *Options, a transport.Acceptor) string {
	t.Helper()
	if opts == nil {
		opts = &Options{}
	}
	ln, url, err := listen(kind, opts)
	require.NoError(t, err)
	tr := New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Serve(ctx, ln, a) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return url
}

// acceptor admits whom check admits, everybody if it is nil, and opens with open.
type acceptor struct {
	check func(*transport.Handshake) error
	open  func(transport.Conn) transport.Receiver
	abort func(error)
}

func (a *acceptor) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.check != nil {
		if err := a.check(h); err != nil {
			return nil, err
		}
	}
	return a, nil
}
func (a *acceptor) SubProtocol() string                      { return "" }
func (a *acceptor) Open(c transport.Conn) transport.Receiver { return a.open(c) }
func (a *acceptor) Abort(err error)                          { a.abort(err) }

// recorder keeps copies of what comes.
type recorder struct {
	mu       sync.Mutex
	data     []byte
	changed  chan struct{}
	writable chan struct{}
	closed   chan error
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}, 1), writable: make(chan struct{}, 1024), closed: make(chan error, 1)}
}

func (r *recorder) Receive(m transport.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, m.Data...)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
func (r *recorder) Writable()        { r.writable <- struct{}{} }
func (r *recorder) Closed(err error) { r.closed <- err }

// expect waits for so many bytes.
func (r *recorder) expect(t testing.TB, want []byte) {
	t.Helper()
	for {
		r.mu.Lock()
		got := bytes.Clone(r.data)
		r.mu.Unlock()
		if len(got) >= len(want) {
			require.True(t, bytes.Equal(want, got), "%d bytes of %d", len(got), len(want))
			return
		}
		wait(t, r.changed)
	}
}

func open(r transport.Receiver) func(transport.Conn) transport.Receiver {
	return func(transport.Conn) transport.Receiver { return r }
}

func wait[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		require.Fail(t, "nothing came in 20 s")
	}
	return v
}

func message(s string) []transport.Message {
	return []transport.Message{{Type: transport.MessageText, Data: []byte(s)}}
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	New(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil), nil)
	require.Equal(t, http.StatusNotImplemented, w.Code)
	require.Contains(t, w.Body.String(), "TCP")
}
