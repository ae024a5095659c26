package handlertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/sockjs"
)

// Timeout bounds everything that a Server or a Client waits for. It is long: a test
// that meets it has failed.
const Timeout = 20 * time.Second

// Destination is where a Client sends what names no destination.
const Destination = "/test"

// Echo is a handler that replies to each Send with its body and type.
func Echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}

// Server is a stack that serves. Its fields are constant; its methods may be called
// from any goroutine.
type Server struct {
	Stack    Stack
	Endpoint *handler.Endpoint

	// URL is what to dial, with the path "/test" where there are paths.
	URL string

	// Addr is the loopback address of the listener, "" for a stack without one.
	Addr string

	transport side
	label     string
	stop      []func() error // in reverse order

	mu      sync.Mutex
	clients []*Client
}

// servers numbers them, to tell their goroutines apart.
var servers atomic.Uint64

// Start makes an endpoint of the stack's parts and opts, mounts it as the row says,
// and serves on loopback. opts come behind the stack's own: WithSubProtocols
// adds sub-protocols to the stack's.
//
// At the end of the test, or of the subtest if t is one, all clients are closed and
// the endpoint is shut down. It is an error of the test if that does not succeed within Timeout, or if a
// session, a queued byte or a goroutine of the server or its clients is left.
func (st Stack) Start(t testing.TB, h handler.Handler, opts ...handler.Option) *Server {
	t.Helper()
	s := &Server{Stack: st, label: strconv.FormatUint(servers.Add(1), 10)}
	s.transport = st.carrier.new(serverTLS())
	all := []handler.Option{
		handler.WithSubProtocols(st.SubProtocol), handler.WithCodecs(st.Codecs...), handler.WithShutdownSpread(0),
	}
	if st.Stream {
		all = append(all, handler.WithMaxFrame(MaxMessageSize)) // the transport has no messages to bound
	}
	s.Endpoint = handler.NewEndpoint(s.transport, h, append(all, opts...)...)
	var err error
	s.labelled(func(context.Context) { err = st.carrier.mount(s) })
	if err != nil {
		t.Fatalf("handlertest: %s: %v", st.Name, err)
	}
	t.Cleanup(func() {
		for _, err := range s.finish() {
			t.Errorf("handlertest: %s: %v", st.Name, err)
		}
	})
	return s
}

// Dial connects a client of the stack's sub-protocol, and fails the test if the handshake is
// refused. A client whose Connect is refused is closed by the server, and so is one that a
// stream has no other way to refuse.
func (s *Server) Dial(t testing.TB) *Client {
	t.Helper()
	c, err := s.DialWith(nil)
	if err != nil {
		t.Fatalf("handlertest: %s: %v", s.Stack.Name, err)
	}
	return c
}

// DialOptions say how a client connects.
type DialOptions struct {
	// SubProtocols and Header are what the handshake says. nil SubProtocols are the
	// names that SubProtocol has.
	SubProtocols []string
	Header       http.Header

	// SubProtocol is what the client speaks. nil means the stack's.
	SubProtocol subprotocol.SubProtocol

	// Cuttable prepares for Client.Cut: bytes then go through a relay.
	Cuttable bool

	// OnMessage gets the messages instead of Client.Receive, on the goroutine that
	// reads; m is valid until it returns. While it blocks nothing is read.
	OnMessage func(m *subprotocol.Message)
}

// DialWith connects a client. nil means the zero DialOptions. A server that refuses
// gives a *transport.Refusal.
func (s *Server) DialWith(o *DialOptions) (*Client, error) {
	if o == nil {
		o = new(DialOptions)
	}
	c := newClient(s.Stack, o.OnMessage)
	url := s.URL
	if o.Cuttable && s.Addr != "" {
		var err error
		s.labelled(func(context.Context) { c.relay, err = newRelay(s.Addr) })
		if err != nil {
			return nil, err
		}
		url = s.Stack.url(c.relay.addr())
	}
	spoken := o.SubProtocol
	if spoken == nil {
		spoken = s.Stack.SubProtocol
	}
	offered := o.SubProtocols
	if offered == nil {
		offered = spoken.Names()
	}
	cfg := &transport.DialConfig{SubProtocols: offered, Header: o.Header, TLS: clientTLS()}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	var err error
	s.labelled(func(context.Context) {
		_, err = s.transport.Dial(ctx, url, cfg, func(conn transport.Conn) transport.Receiver {
			c.conn = conn
			c.framer = spoken.NewFramer(conn.SubProtocol(), subprotocol.FramerConfig{
				Client: true, TextOnly: !s.transport.Features().Binary,
			})
			return (*receiver)(c)
		})
	})
	if err != nil {
		if c.relay != nil {
			c.relay.cut()
		}
		return nil, err
	}
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	return c, c.Connect()
}

// labelled runs f so that the goroutines which it starts, and those which they
// start, are known as this server's.
func (s *Server) labelled(f func(context.Context)) {
	pprof.Do(context.Background(), pprof.Labels("handlertest", s.label), f)
}

// finish ends everything and returns what went wrong.
func (s *Server) finish() (errs []error) {
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	for _, c := range clients {
		if p, ok := transport.As[transport.Pauser](c.conn); ok {
			p.Resume()
		}
		// An error says that it is over already.
		_ = c.Close(transport.StatusNormalClosure, "")
	}
	for _, c := range clients {
		if err := c.Closed(); errors.Is(err, errTimeout) {
			errs = append(errs, errors.New("a client did not end after Close"))
			break // the others would take their time too
		}
		if c.relay != nil {
			c.relay.cut()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := s.Endpoint.Shutdown(ctx); err != nil {
		errs = append(errs, err)
	}
	for i := len(s.stop) - 1; i >= 0; i-- {
		if err := s.stop[i](); err != nil {
			errs = append(errs, err)
		}
	}
	if left := s.goroutines(); left != "" {
		errs = append(errs, fmt.Errorf("goroutines are left after Shutdown:\n%s", left))
	}
	// A worker that the test's own goroutine started is not among these, and may
	// still give back what it has in hand.
	if !within(2*time.Second, func() bool { return s.Endpoint.Stats().QueuedBytes == 0 }) {
		errs = append(errs, fmt.Errorf("%d queued bytes are left after Shutdown", s.Endpoint.Stats().QueuedBytes))
	}
	if st := s.Endpoint.Stats(); st.Live != 0 || st.Sessions != 0 {
		errs = append(errs, fmt.Errorf("%d sessions are left after Shutdown", max(st.Live, st.Sessions)))
	}
	return errs
}

// within reports whether ok becomes true in time.
func within(d time.Duration, ok func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(d); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// goroutines waits until none of the server's is left, and returns those that are
// left all the same.
func (s *Server) goroutines() string {
	// Goroutines that have been told to end need a moment, and tell nobody.
	var left []byte
	within(2*time.Second, func() bool {
		var profile bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			left = []byte(err.Error())
			return false
		}
		left = nil
		for part := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
			if bytes.Contains(part, []byte(`"handlertest":"`+s.label+`"`)) {
				left = append(append(left, part...), "\n\n"...)
			}
		}
		return len(left) == 0
	})
	return string(left)
}

// The ways to mount an endpoint.

func inProcess(s *Server) error {
	s.URL = "pipe://localhost/test"
	return nil
}

func overHTTP(s *Server) error {
	return s.serveHTTP(s.Endpoint, s.Stack.carrier.listen)
}

func overSockJS(s *Server) error {
	return s.serveHTTP(sockjs.Mount("/test", s.Endpoint, nil), plain)
}

func (s *Server) serveHTTP(h http.Handler, on func(net.Listener) net.Listener) error {
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: Timeout,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that go away are part of tests
	}
	return s.listen(func(ln net.Listener) error { return hs.Serve(on(ln)) }, http.ErrServerClosed, hs.Close)
}

// What net/http serves on.

func plain(ln net.Listener) net.Listener   { return ln }
func weftTLS(ln net.Listener) net.Listener { return transport.NewTLSListener(ln, serverTLS()) }
func ownTLS(ln net.Listener) net.Listener  { return tls.NewListener(ln, serverTLS()) }

func overListener(s *Server) error {
	return s.listen(func(ln net.Listener) error { return s.Endpoint.Serve(context.Background(), ln) },
		handler.ErrShutdown, func() error { return nil })
}

// bind makes the listener, and the addresses that follow from it.
func (s *Server) bind() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Addr = ln.Addr().String()
	s.URL = s.Stack.url(s.Addr)
	return ln, nil
}

// listen serves on a loopback listener until stop, or Shutdown, ends it with the
// error that is wanted.
func (s *Server) listen(serve func(net.Listener) error, want error, stop func() error) error {
	ln, err := s.bind()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- serve(ln) }()
	s.stop = append(s.stop, func() error {
		if err := stop(); err != nil {
			return err
		}
		if err := <-done; !errors.Is(err, want) {
			return fmt.Errorf("the server ended with %q, want %q", fmt.Sprint(err), fmt.Sprint(want))
		}
		return nil
	})
	return nil
}

func (st Stack) url(addr string) string {
	switch {
	case st.Stream && st.TLS:
		return "tls://" + addr
	case st.Stream:
		return "tcp://" + addr
	case st.TLS:
		return "wss://" + addr + "/test"
	default:
		return "ws://" + addr + "/test"
	}
}
