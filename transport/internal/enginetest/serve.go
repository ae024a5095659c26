package enginetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

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

// serve starts a server on loopback and returns its URL. kind is one of Kinds.
func (e *Engine) serve(t testing.TB, kind string, l *duplex.Limits, a transport.Acceptor) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	scheme, own := "ws", (*tls.Config)(nil)
	if strings.Contains(kind, "s-own") || kind == "https" || kind == "bare-tls" {
		scheme = "wss"
	}
	url := scheme + "://" + ln.Addr().String() + "/x?y=1"
	if kind == "bare-tls" {
		own = ServerTLS()
	}
	tr := e.New(l, own)
	if strings.HasPrefix(kind, "bare") {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- tr.(transport.ListenerServer).Serve(ctx, ln, a) }()
		t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
		return url
	}
	s := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, a) }),
		TLSConfig: ServerTLS(),
		ErrorLog:  log.New(io.Discard, "", 0), // of handshakes that fail on purpose
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		switch kind {
		case "https":
			_ = s.Serve(transport.NewTLSListener(ln, ServerTLS()))
		case "https-own":
			_ = s.ServeTLS(ln, "", "")
		default:
			_ = s.Serve(ln)
		}
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return url
}

var testCert = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

// ServerTLS has a certificate that ClientTLS accepts.
func ServerTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{testCert()}} }

// ClientTLS accepts every certificate.
var ClientTLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test server's certificate is nobody's

func dial(t testing.TB, tr transport.Dialer, url string, r transport.Receiver, subs ...string) transport.Conn {
	t.Helper()
	c, err := tr.Dial(context.Background(), url, &transport.DialConfig{SubProtocols: subs, TLS: ClientTLS},
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

func (e *Engine) testEcho(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			limits := &duplex.Limits{MaxMessageSize: 1 << 20}
			servers := make(chan *patientEcho, 1)
			url := e.serve(t, kind, limits, &acceptor{open: func(c transport.Conn) transport.Receiver {
				e := newPatientEcho(c)
				servers <- e
				return e
			}})
			r := newRecorder()
			c := dial(t, e.New(limits, nil), url, r)
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

func (e *Engine) testReceiveEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	server := goexit{newRecorder()}
	url := e.serve(t, "http", nil, &acceptor{open: func(transport.Conn) transport.Receiver { return server }})
	r := newRecorder()
	c := dial(t, e.New(nil, nil), url, r)
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
