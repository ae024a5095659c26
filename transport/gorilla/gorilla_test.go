package gorilla

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// net/http sleeps 500 ms before it closes after some refusals.
		goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// acceptor admits everybody, or whom check admits, and opens with open.
type acceptor struct {
	check func(*transport.Handshake) (string, error)
	open  func(transport.Conn) transport.Receiver
}

func (a *acceptor) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.check == nil {
		return &admission{a: a}, nil
	}
	sub, err := a.check(h)
	if err != nil {
		return nil, err
	}
	return &admission{a: a, sub: sub}, nil
}

type admission struct {
	a   *acceptor
	sub string
}

func (a *admission) SubProtocol() string                      { return a.sub }
func (a *admission) Open(c transport.Conn) transport.Receiver { return a.a.open(c) }
func (a *admission) Abort(error)                              {}

// recorder keeps copies of what comes.
type recorder struct {
	got      chan transport.Message
	writable chan struct{}
	closed   chan error
	hold     chan struct{} // if not nil, holds up each Receive
}

func newRecorder() *recorder {
	return &recorder{make(chan transport.Message, 1024), make(chan struct{}, 1024), make(chan error, 1), nil}
}

func (r *recorder) Receive(m transport.Message) {
	if r.hold != nil {
		<-r.hold
		return
	}
	m.Data = bytes.Clone(m.Data)
	r.got <- m
}
func (r *recorder) Writable()        { r.writable <- struct{}{} }
func (r *recorder) Closed(err error) { r.closed <- err }

// serve starts a server on loopback and returns its URL. kind is "http", "https"
// or "https-own" (net/http's own TLS).
func serve(t testing.TB, kind string, tr *Transport, a transport.Acceptor) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, a) })
	switch kind {
	case "http", "https":
		s := &http.Server{Handler: h}
		scheme := "ws"
		if kind == "https" {
			scheme, ln = "wss", transport.NewTLSListener(ln, serverTLS())
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(ln) }()
		t.Cleanup(func() { s.Close(); <-done })
		return scheme + "://" + ln.Addr().String() + "/x?y=1"
	case "https-own":
		s := httptest.NewUnstartedServer(h)
		s.Listener.Close()
		s.Listener, s.TLS = ln, serverTLS()
		s.StartTLS()
		t.Cleanup(s.Close)
		return "wss://" + ln.Addr().String() + "/x?y=1"
	}
	panic("kind " + kind)
}

var kinds = []string{"http", "https", "https-own"}

func dial(t testing.TB, tr *Transport, url string, r transport.Receiver, subs ...string) transport.Conn {
	t.Helper()
	c, err := tr.Dial(context.Background(), url, &transport.DialConfig{SubProtocols: subs, TLS: clientTLS},
		func(transport.Conn) transport.Receiver { return r })
	require.NoError(t, err)
	return c
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
