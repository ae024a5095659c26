package gobwas

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
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
}

func newRecorder() *recorder {
	return &recorder{make(chan transport.Message, 1024), make(chan struct{}, 1024), make(chan error, 1)}
}

func (r *recorder) Receive(m transport.Message) {
	m.Data = bytes.Clone(m.Data)
	r.got <- m
}
func (r *recorder) Writable()        { r.writable <- struct{}{} }
func (r *recorder) Closed(err error) { r.closed <- err }

// serve starts a server on loopback and returns its URL. kind is "http", "https",
// "https-own" (net/http's own TLS), "bare" or "bare-tls".
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
	scheme := "ws"
	if kind == "bare-tls" {
		opts := tr.opts
		opts.TLS = serverTLS()
		tr, scheme = &Transport{opts, tr.limits}, "wss"
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Serve(ctx, ln, a) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return scheme + "://" + ln.Addr().String() + "/x?y=1"
}

var kinds = []string{"http", "https", "https-own", "bare", "bare-tls"}

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

func stacks() string {
	b := make([]byte, 8<<20)
	return string(b[:runtime.Stack(b, true)])
}

// settle waits until f holds: goroutines end a moment after what they have done is
// seen.
func settle(t *testing.T, f func() bool, name string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		require.True(t, time.Now().Before(deadline), name)
		runtime.Gosched()
	}
}
