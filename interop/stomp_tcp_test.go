package interop

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/tcp"
)

// stompClient is other people's, driven by a script that takes an address, a version, the
// name of the broker and, for TLS, the file of a certificate.
type stompClient struct{ name, command, script string }

var stompClients = []stompClient{
	{"stomp.py", python, "py/stomp_client.py"},
	{"Net::Stomp", "perl", "pl/stomp_client.pl"},
	{"stompit", "node", "js/stompit_client.mjs"},
}

// eachStompClient runs clients in every version against a broker.
func eachStompClient(t *testing.T, clients []stompClient, addr, broker string, more ...string) {
	t.Helper()
	for _, c := range clients {
		for _, v := range stompVersions {
			t.Run(c.name+" "+v, func(t *testing.T) {
				t.Parallel()
				script(t, nil, c.command, append([]string{c.script, addr, v, broker}, more...)...)
			})
		}
	}
}

// stompAddress waits for the line that says where a server listens for STOMP over TCP.
func stompAddress(t *testing.T, p *process) string {
	t.Helper()
	addr, ok := strings.CutPrefix(p.line(t), "STOMP on ")
	require.True(t, ok)
	return addr
}

// What weft's client does at other brokers it does at weft's own.
func TestStompSites(t *testing.T) {
	t.Parallel()
	p := start(t, build(t, "./server"), "-addr", "127.0.0.1:0", "-stomp-tcp", "127.0.0.1:0")
	ws := "ws://" + p.address(t)
	s := tcpSite(stompAddress(t, p), "/")
	s.refused = subprotocol.Message{Destination: "/elsewhere/x"}
	t.Run("tcp", func(t *testing.T) { s.run(t, stompVersions...) })
	t.Run("tls", func(t *testing.T) {
		id := newIdentity(t)
		s.overTLS(stompTLS(t, id), &tls.Config{RootCAs: id.roots(t)}).run(t, "1.2")
	})
	s.url, s.dialer = ws+"/stomp", gobwas.New(&gobwas.Options{MaxMessageSize: 2 << 20})
	t.Run("gobwas", func(t *testing.T) { s.run(t, "1.2") })
	s.url, s.dialer = ws+"/gorilla/stomp", gorilla.New(&gorilla.Options{MaxMessageSize: 2 << 20})
	t.Run("gorilla", func(t *testing.T) { s.run(t, "1.2") })
}

// STOMP clients speak each version over TCP with weft.
func TestInteropStompTCP(t *testing.T) {
	foreign(t)
	t.Parallel()
	p := start(t, build(t, "./server"), "-addr", "127.0.0.1:0", "-stomp-tcp", "127.0.0.1:0")
	_ = p.address(t)
	eachStompClient(t, stompClients, stompAddress(t, p), "weft")
}

// They do so over TLS, but for stomp.py: it uses one TLS socket in two threads at once,
// which Debian's Python does not survive.
func TestInteropStompTLS(t *testing.T) {
	foreign(t)
	t.Parallel()
	id := newIdentity(t)
	eachStompClient(t, stompClients[1:], stompTLS(t, id), "weft", id.certFile)
}

// stompTLS serves STOMP over TLS until the test ends.
func stompTLS(t *testing.T, id identity) (addr string) {
	t.Helper()
	b := broker.New(nil)
	mux := handler.NewMux()
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Header.Get("passcode") != "guest" {
			return &subprotocol.Error{Code: "unauthorized", Text: "login and passcode are not valid"}
		}
		return nil
	}))
	for _, prefix := range []string{"/topic/", "/queue/"} {
		mux.Route("SUBSCRIBE "+prefix, b)
		mux.Route("SEND "+prefix, b)
	}
	ep := handler.NewEndpoint(tcp.New(&tcp.Options{TLS: id.config}), mux,
		handler.WithSubProtocols(stomp.New(nil)),
		handler.WithMaxFrame(2<<20),
		handler.WithQueue(handler.Limits{Messages: 1024, Bytes: 4 << 20}),
		handler.WithHeartbeat(100*time.Millisecond, 100*time.Millisecond),
	)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- ep.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, ep.Shutdown(ctx))
		b.Close()
	})
	return ln.Addr().String()
}
