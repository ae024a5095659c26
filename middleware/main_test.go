package middleware_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// stack is an endpoint over a pipe, which speaks JSON envelopes.
type stack struct {
	t    testing.TB
	pipe *pipe.Transport
	ep   *handler.Endpoint
}

func newStack(t testing.TB, h handler.HandlerFunc, opts ...handler.Option) *stack {
	return stackOf(t, envelope.NewJSON(nil), h, opts...)
}

func stackOf(t testing.TB, sp subprotocol.SubProtocol, h handler.HandlerFunc, opts ...handler.Option) *stack {
	p := pipe.New(&pipe.Options{CloseTimeout: time.Second})
	opts = append([]handler.Option{handler.WithSubProtocols(sp)}, opts...)
	return &stack{t, p, handler.NewEndpoint(p, h, opts...)}
}

// frame is what a client reads of an envelope, or the whole message in Text if it is
// none.
type frame struct {
	Type, Code, Message, Receipt, Subscription, Text string

	Fatal bool
}

// client is the other end. It records what comes.
type client struct {
	t      testing.TB
	conn   transport.Conn
	mu     sync.Mutex
	got    []frame
	closed error
	gone   chan struct{}
}

func (s *stack) tryDial(query string, cfg *transport.DialConfig) (*client, error) {
	c := &client{t: s.t, gone: make(chan struct{})}
	conn, err := s.pipe.Dial(context.Background(), "pipe://localhost/chat?"+query, cfg,
		func(transport.Conn) transport.Receiver { return c })
	c.conn = conn
	return c, err
}

// dial connects, and shows a Connect with these header fields.
func (s *stack) dial(header ...[2]string) *client {
	s.t.Helper()
	c, err := s.tryDial("", nil)
	require.NoError(s.t, err)
	c.connect(header...)
	return c
}

func (c *client) connect(header ...[2]string) {
	b, err := json.Marshal(map[string]any{"type": "connect", "version": "1", "header": header})
	require.NoError(c.t, err)
	c.send(string(b))
}

func (c *client) Receive(m transport.Message) {
	var f frame
	if json.Unmarshal(m.Data, &f) != nil {
		f.Text = string(m.Data)
	}
	c.mu.Lock()
	c.got = append(c.got, f)
	c.mu.Unlock()
}

func (c *client) Writable() {}

func (c *client) Closed(err error) {
	c.closed = err
	close(c.gone)
}

// send sends without waiting for an answer.
func (c *client) send(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		n, err := c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}})
		require.NoError(c.t, err)
		require.Equal(c.t, 1, n)
	}
}

// all returns what has come since it was last called, once nothing more comes.
func (c *client) all() []frame {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// codes is what all of the frames are: their type, or their code.
func (c *client) codes() []string {
	var codes []string
	for _, f := range c.all() {
		code := f.Type
		if f.Code != "" {
			code = f.Code
		}
		codes = append(codes, code)
	}
	return codes
}

// leave ends the connection normally.
func (c *client) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
	synctest.Wait()
}

// alive reports whether the connection is.
func (c *client) alive() bool {
	synctest.Wait()
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

func nothing(context.Context, handler.Request) error { return nil }

// send is a Send that asks for a receipt.
const send = `{"type":"send","destination":"/app/x","receipt":"1","body":1}`

// request is a message without a session behind it.
func request(m *subprotocol.Message) handler.Request {
	return handler.Request{Session: new(handler.Session), Message: m}
}

// heap is how many bytes live.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOrder: the first one listed is outermost, on the way in, with the error on the way
// back, and on the way out.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen []string
		in := func(name string) func(handler.Handler) handler.Handler {
			return func(next handler.Handler) handler.Handler {
				return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
					if r.Message.Kind != subprotocol.KindSend {
						return next.Handle(ctx, r)
					}
					seen = append(seen, "in "+name)
					err := next.Handle(ctx, r)
					seen = append(seen, "back "+name)
					return err
				})
			}
		}
		out := func(name string) func(handler.Sender) handler.Sender {
			return func(next handler.Sender) handler.Sender {
				return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
					if o.Message.Kind == subprotocol.KindReceipt {
						seen = append(seen, "out "+name)
					}
					return next.Send(o)
				})
			}
		}
		s := newStack(t, nothing, handler.WithMiddleware(in("a"), in("b")), handler.WithMiddleware(in("c")),
			handler.WithOutbound(out("a"), out("b")))
		c := s.dial()
		c.send(send)
		require.Equal(t, []string{"connected", "receipt"}, c.codes())
		require.Equal(t, []string{"in a", "in b", "in c", "back c", "back b", "back a", "out a", "out b"}, seen)
		c.leave()
	})
}

// ten is a chain of ten middlewares that do nothing.
func ten() handler.Handler {
	var h handler.Handler = handler.HandlerFunc(nothing)
	for range 10 {
		next := h
		h = handler.HandlerFunc(func(ctx context.Context, r handler.Request) error { return next.Handle(ctx, r) })
	}
	return h
}

func TestTenAllocateNothing(t *testing.T) {
	h, ctx := ten(), context.Background()
	r := request(&subprotocol.Message{Kind: subprotocol.KindSend})
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = h.Handle(ctx, r) }))
}

// BenchmarkTen is what ten middlewares that do nothing cost a message: the calls.
func BenchmarkTen(b *testing.B) {
	h, ctx := ten(), context.Background()
	r := request(&subprotocol.Message{Kind: subprotocol.KindSend})
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Handle(ctx, r)
	}
}

// BenchmarkEach is what each middleware costs a message that it lets through.
func BenchmarkEach(b *testing.B) {
	auth := middleware.NewAuthenticator(verifier, &middleware.AuthOptions{Anonymous: true})
	hooks := middleware.TraceHooks{End: func(context.Context, handler.Request, error) {}}
	for _, m := range []struct {
		name string
		f    func(handler.Handler) handler.Handler
	}{
		{"Recover", middleware.Recover},
		{"Log", middleware.Log(slog.New(slog.DiscardHandler))},
		{"Timeout", middleware.Timeout(time.Hour)},
		{"RateLimit", middleware.RateLimit(1e9, 1e9)},
		{"RateLimitBy", middleware.RateLimitBy(byID, 1e9, 1e9, nil)},
		{"MaxInFlight", middleware.MaxInFlight(1, 0)},
		{"RequestID", middleware.RequestID},
		{"Authenticate", auth.Authenticate},
		{"Authorize", middleware.Authorize(rules...)},
		{"Deduplicate", middleware.Deduplicate(&middleware.DeduplicateOptions{Key: byID})},
		{"Trace", middleware.Trace(hooks)},
	} {
		b.Run(m.name, func(b *testing.B) {
			h, ctx := m.f(handler.HandlerFunc(nothing)), context.Background()
			r := request(&subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/app/rooms/1/say", ID: "1"})
			connect := handler.Request{Session: r.Session, Message: &subprotocol.Message{Kind: subprotocol.KindConnect}}
			if err := h.Handle(ctx, connect); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Handle(ctx, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
