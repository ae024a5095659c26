package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/enginetest"
)

func dial(t testing.TB, tr *Transport, url string, r transport.Receiver) transport.Conn {
	t.Helper()
	c, err := tr.Dial(context.Background(), url, &transport.DialConfig{TLS: enginetest.ClientTLS}, open(r))
	require.NoError(t, err)
	return c
}

func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server, client := newRecorder(), newRecorder()
			seen := make(chan transport.Handshake, 1)
			url := serve(t, kind, nil, &acceptor{open: open(server), check: func(h *transport.Handshake) error {
				seen <- *h
				return nil
			}})
			c, err := New(nil).Dial(context.Background(), url,
				&transport.DialConfig{TLS: enginetest.ClientTLS, SubProtocols: []string{"v12.stomp", "v11.stomp"}}, open(client))
			require.NoError(t, err)
			require.Equal(t, "v12.stomp", c.SubProtocol(), "what the client speaks")
			h := wait(t, seen)
			require.Equal(t, "tcp", h.Transport)
			require.Empty(t, h.SubProtocols, "nothing on the wire says them")
			require.Equal(t, url[:3] == "tls", h.Secure)
			require.Equal(t, h.Secure, h.TLS != nil)
			require.Equal(t, h.RemoteAddr, c.(*conn).Stream.Conn().LocalAddr())
			require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
			wait(t, client.closed)
			wait(t, server.closed)
		})
	}
}

// What a client sends while the acceptor thinks comes whole.
func TestEarlyBytes(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server, client := newRecorder(), newRecorder()
			sent := make(chan struct{})
			url := serve(t, kind, nil, &acceptor{open: open(server), check: func(*transport.Handshake) error {
				<-sent
				return nil
			}})
			c := dial(t, New(nil), url, client)
			_, err := c.Write(message("CONNECT\n\n\x00"))
			require.NoError(t, err)
			close(sent)
			server.expect(t, []byte("CONNECT\n\n\x00"))
			require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
			wait(t, client.closed)
			wait(t, server.closed)
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		url := serve(t, kind, nil, &acceptor{check: func(*transport.Handshake) error {
			return &transport.Refusal{Status: 503, Text: "full"}
		}})
		r := newRecorder()
		dial(t, New(nil), url, r)
		require.ErrorIs(t, wait(t, r.closed), net.ErrClosed)
		require.Empty(t, r.data, "there is no place to say why")
	}
}

// The acceptor learns that the client has gone.
func TestGoneDuringHandshake(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server, client := newRecorder(), newRecorder()
			var c transport.Conn
			dialed := make(chan struct{})
			url := serve(t, kind, nil, &acceptor{open: open(server), check: func(h *transport.Handshake) error {
				<-dialed
				_ = c.Close(transport.StatusNormalClosure, "")
				wait(t, h.Context.Done())
				return nil
			}})
			c = dial(t, New(nil), url, client)
			close(dialed)
			wait(t, server.closed)
			wait(t, client.closed)
		})
	}
}

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	aborted := make(chan error, 1)
	url := serve(t, "plain", &Options{HandshakeTimeout: 20 * time.Millisecond}, &acceptor{
		check: func(h *transport.Handshake) error { <-h.Context.Done(); return nil },
		abort: func(err error) { aborted <- err },
	})
	_, err := rawDial(t, url).Read(make([]byte, 1))
	require.Error(t, err)
	require.ErrorIs(t, wait(t, aborted), context.DeadlineExceeded)

	url = serve(t, "tls", &Options{HandshakeTimeout: 20 * time.Millisecond}, &acceptor{})
	_, err = rawDial(t, url).Read(make([]byte, 1)) // and says nothing
	require.Error(t, err)

	// A server that never answers the client's hello.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	_, err = New(&Options{HandshakeTimeout: 20 * time.Millisecond}).Dial(context.Background(), "tls://"+ln.Addr().String(), nil, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// crowd is a listener at which clients wait from the beginning.
type crowd struct {
	waiting chan net.Conn
	closed  context.Context
}

func (l *crowd) Accept() (net.Conn, error) {
	select {
	case nc := <-l.waiting:
		return nc, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}
func (l *crowd) Close() error   { return nil }
func (l *crowd) Addr() net.Addr { return nil }

func TestMaxHandshakes(t *testing.T) {
	t.Parallel()
	for most, first := range map[int]int32{3: 3, -1: 20} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ln := &crowd{make(chan net.Conn, 20), ctx}
			var clients []net.Conn
			for range cap(ln.waiting) {
				client, server := net.Pipe()
				clients = append(clients, client)
				ln.waiting <- server
			}
			var asked, opened atomic.Int32
			leave, served := make(chan struct{}), make(chan error)
			go func() {
				served <- New(&Options{MaxHandshakes: most}).Serve(ctx, ln, &acceptor{
					check: func(*transport.Handshake) error {
						asked.Add(1)
						<-leave
						return nil
					},
					open: func(transport.Conn) transport.Receiver {
						opened.Add(1)
						return newRecorder()
					},
				})
			}()
			synctest.Wait()
			require.Equal(t, first, asked.Load())
			close(leave)
			synctest.Wait()
			require.EqualValues(t, len(clients), opened.Load())
			cancel()
			require.NoError(t, <-served)
			for _, nc := range clients {
				nc.Close()
			}
		})
	}
}

// A certificate that the client does not trust fails the Dial, not the server.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	server := newRecorder()
	url := serve(t, "tls", nil, &acceptor{open: open(server)})
	_, err := New(nil).Dial(context.Background(), url, nil, nil)
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	require.True(t, ok, "%v", err)
	client := newRecorder()
	c := dial(t, New(nil), url, client)
	require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
	wait(t, server.closed)
	wait(t, client.closed)
}

// troubled is a listener whose Accept fails with each of errs in turn.
type troubled struct {
	net.Listener
	errs []error
}

func (l *troubled) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
func (l *troubled) Close() error { return nil }

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

func TestAcceptFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		full := temporary{errors.New("too many open files")}
		err := New(nil).Serve(t.Context(), &troubled{errs: []error{full, full, full, io.ErrNoProgress}}, nil)
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.Equal(t, 35*time.Millisecond, time.Since(begin), "5, 10 and 20")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, New(nil).Serve(ctx, &troubled{errs: []error{net.ErrClosed}}, nil))
	})
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]target{
		"tcp://host:7":          {"host", "7", false},
		"stomp://host":          {"host", "61613", false},
		"tcp://host/":           {"host", "61613", false},
		"TLS://host":            {"host", "61614", true},
		"stomp+ssl://[::1]":     {"::1", "61614", true},
		"stomp+ssl://[::1]:993": {"::1", "993", true},
	} {
		got, err := parseURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{
		"", "host:61613", "ws://host", "tcp://", "tcp://:61613", "tcp://host/topic", "tcp://host?x=secret", "tcp://host#secret",
		"tcp://ann:secret@host", "tcp://ann:secret@ho st", "tcp:host", "tcp://host:port",
	} {
		_, err := New(nil).Dial(context.Background(), raw, nil, nil)
		require.ErrorContains(t, err, "tcp: dial: ", raw)
		require.NotContains(t, err.Error(), "secret")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New(nil).Dial(ctx, "tcp://127.0.0.1", nil, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "tcp: dial 127.0.0.1:61613: ")
}
