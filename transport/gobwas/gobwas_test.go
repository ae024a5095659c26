package gobwas

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
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

var testCert = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{testCert()}} }

var clientTLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test server's certificate is nobody's

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

func TestEcho(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tr := New(&Options{MaxMessageSize: 1 << 20})
			servers := make(chan *patientEcho, 1)
			url := serve(t, kind, tr, &acceptor{open: func(c transport.Conn) transport.Receiver {
				e := newPatientEcho(c)
				servers <- e
				return e
			}})
			r := newRecorder()
			c := dial(t, tr, url, r)
			for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20} {
				data := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
				n, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: data}})
				require.NoError(t, err)
				if n == 0 {
					wait(t, r.writable)
					n, err = c.Write([]transport.Message{{Type: transport.MessageText, Data: data}})
					require.NoError(t, err)
				}
				require.Equal(t, 1, n)
				m := wait(t, r.got)
				require.Equal(t, transport.MessageText, m.Type)
				require.True(t, bytes.Equal(data, m.Data), fmt.Sprint(size))
			}
			rtt, err := c.(transport.Pinger).Ping(context.Background())
			require.NoError(t, err)
			require.Positive(t, rtt)
			require.NoError(t, c.Close(4001, "bye"))
			var end *transport.EndError
			require.ErrorAs(t, wait(t, r.closed), &end)
			require.Equal(t, transport.StatusCode(4001), end.Code)
			require.Equal(t, &transport.CloseError{Code: 4001, Reason: "bye"}, wait(t, (<-servers).closed))
		})
	}
}

// A receiver may end the goroutine that calls it, as a failed test does.
type goexit struct{ *recorder }

func (g goexit) Receive(m transport.Message) {
	g.recorder.Receive(m)
	runtime.Goexit()
}

func TestReceiveEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	tr := New(nil)
	server := goexit{newRecorder()}
	url := serve(t, "http", tr, &acceptor{open: func(transport.Conn) transport.Receiver { return server }})
	r := newRecorder()
	c := dial(t, tr, url, r)
	for i := range 3 {
		_, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: fmt.Append(nil, i)}})
		require.NoError(t, err)
	}
	for i := range 3 {
		require.Equal(t, fmt.Sprint(i), string(wait(t, server.got).Data))
	}
	require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
	require.Equal(t, &transport.CloseError{Code: transport.StatusNormalClosure}, wait(t, server.closed))
	wait(t, r.closed)
}
