package handler_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMiddlewareOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		mw := func(name string) func(handler.Handler) handler.Handler {
			return func(next handler.Handler) handler.Handler {
				return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
					mu.Lock()
					seen = append(seen, name+" "+r.Message.Kind.String())
					mu.Unlock()
					return next.Handle(ctx, r)
				})
			}
		}
		s := newStack(t, nothing, handler.WithMiddleware(mw("1"), mw("2")), handler.WithMiddleware(mw("3")))
		c := s.dial()
		c.send("x")
		synctest.Wait()
		c.leave()
		synctest.Wait()
		require.Equal(t, []string{
			"1 CONNECT", "2 CONNECT", "3 CONNECT", "1 SEND", "2 SEND", "3 SEND", "1 DISCONNECT", "2 DISCONNECT", "3 DISCONNECT",
		}, seen)
	})
}

// TestOneDisconnect: however a session ends, its handler sees one Disconnect, as
// the last message, with the cause.
func TestOneDisconnect(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(t *testing.T, s *stack, c *client)
		cause func(error) bool
	}{
		{"the client closes", func(_ *testing.T, _ *stack, c *client) { c.leave() },
			func(err error) bool { return transport.CloseStatus(err) == 1000 }},
		{"the connection is cut", func(_ *testing.T, _ *stack, c *client) { c.conn.Cut() },
			func(err error) bool { return errors.Is(err, pipe.ErrCut) }},
		{"the server closes", func(t *testing.T, s *stack, _ *client) { require.NoError(t, s.theSession().Close(1000, "")) },
			func(err error) bool { return errors.Is(err, transport.ErrLocalClose) }},
		{"the handler closes", func(_ *testing.T, _ *stack, c *client) { c.send("close", "x", "x") },
			func(err error) bool { return errors.Is(err, transport.ErrLocalClose) }},
		{"the handler panics", func(_ *testing.T, _ *stack, c *client) { c.send("panic") },
			func(err error) bool { return strings.Contains(err.Error(), "panicked") }},
		{"a fatal error", func(_ *testing.T, _ *stack, c *client) { c.send("fatal") },
			func(err error) bool { e, ok := errors.AsType[*subprotocol.Error](err); return ok && e.Code == "fatal" }},
		{"a frame too large", func(_ *testing.T, _ *stack, c *client) { c.send(strings.Repeat("x", 101)) },
			func(err error) bool { e, ok := errors.AsType[*subprotocol.Error](err); return ok && e.Status == 1009 }},
		{"overflow", func(t *testing.T, s *stack, c *client) {
			sess := s.theSession()
			server, _ := transport.As[*pipe.Conn](sess.Conn())
			server.SetFull(true)
			for range 3 {
				_, _ = sess.Send(text("x"))
			}
		}, func(err error) bool { return errors.Is(err, handler.ErrQueueFull) }},
		{"shutdown", func(t *testing.T, s *stack, _ *client) { require.NoError(t, s.ep.Shutdown(t.Context())) },
			func(err error) bool { return errors.Is(err, handler.ErrShutdown) }},
		{"cut while a handler is slow", func(_ *testing.T, _ *stack, c *client) {
			c.send("slow", "x", "x")
			time.Sleep(100 * time.Millisecond)
			c.conn.Cut()
		}, func(err error) bool { return errors.Is(err, pipe.ErrCut) }},
		{"the peer vanishes and the server closes", func(t *testing.T, s *stack, c *client) {
			c.conn.Vanish()
			require.NoError(t, s.theSession().Close(1000, ""))
		}, func(err error) bool { return errors.Is(err, transport.ErrTimeout) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				var seen []subprotocol.Kind
				var cause, hookCause error
				s := newStack(t, func(ctx context.Context, r handler.Request) error {
					mu.Lock()
					seen = append(seen, r.Message.Kind)
					if r.Message.Kind == subprotocol.KindDisconnect {
						cause = context.Cause(ctx)
					}
					mu.Unlock()
					switch string(r.Message.Body) {
					case "close":
						return r.Session.Close(1000, "")
					case "panic":
						panic("x")
					case "fatal":
						return &subprotocol.Error{Code: "fatal", Fatal: true}
					case "slow":
						<-ctx.Done()
					}
					return nil
				}, handler.WithMaxFrame(100), handler.WithQueue(handler.Limits{Messages: 2, Bytes: 1000}),
					handler.WithHooks(handler.Hooks{Close: func(_ *handler.Session, err error) { hookCause = err }}))
				c := s.dial()
				tt.end(t, s, c)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				require.Equal(t, subprotocol.KindConnect, seen[0])
				n := 0
				for _, k := range seen {
					if k == subprotocol.KindDisconnect {
						n++
					}
				}
				require.Equal(t, 1, n)
				require.Equal(t, subprotocol.KindDisconnect, seen[len(seen)-1])
				require.ErrorIs(t, cause, net.ErrClosed)
				require.True(t, tt.cause(cause), "%v", cause)
				require.Equal(t, cause, hookCause)
				require.Zero(t, s.ep.Stats().Live)
				require.Zero(t, s.ep.Stats().QueuedBytes)
				if tt.name == "cut while a handler is slow" {
					require.Len(t, seen, 5, "what had come in was not handled")
				}
			})
		})
	}
}

func TestSlowHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan struct{})
		var mu sync.Mutex
		var seen []string
		s := newStack(t, onSend(func(_ context.Context, r handler.Request) error {
			mu.Lock()
			seen = append(seen, string(r.Message.Body))
			mu.Unlock()
			if string(r.Message.Body) == "0" {
				<-leave
			}
			_, err := r.Reply(r.Message)
			return err
		}))
		c := s.dial()
		c.send("0", "1")
		begin := time.Now()
		_, err := c.conn.Ping(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(begin), 40*time.Millisecond, "a ping waited for the handler")
		require.EqualValues(t, 1, s.ep.Stats().Yields)
		var want []string
		for i := 2; i < 40; i++ {
			c.send(fmt.Sprint(i))
		}
		synctest.Wait()
		require.EqualValues(t, 1, s.ep.Stats().Pauses)
		require.Equal(t, []string{"0"}, seen)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.conn.Ping(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "reading went on with a full window")
		close(leave)
		got := c.wait(40)
		for i := range 40 {
			want = append(want, fmt.Sprint(i))
		}
		require.Equal(t, want, seen)
		require.Equal(t, want, got)
		_, err = c.conn.Ping(t.Context())
		require.NoError(t, err)
		// The role is back: fast messages are handled where they are read, and a next slow one is handed over again.
		leave = make(chan struct{})
		c.send("0", "1")
		time.Sleep(time.Second)
		require.EqualValues(t, 2, s.ep.Stats().Yields)
		close(leave)
		require.Equal(t, append(want, "0", "1"), c.wait(42))
		c.leave()
	})
}

func TestSlowHandlerDelaysNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan struct{})
		s := newStack(t, onSend(func(ctx context.Context, r handler.Request) error {
			if string(r.Message.Body) == "slow" {
				<-leave
			}
			return echo(ctx, r)
		}))
		a, b := s.dial(), s.dial()
		a.send("slow")
		b.send("fast")
		require.Equal(t, []string{"fast"}, b.wait(1))
		close(leave)
		require.Equal(t, []string{"slow"}, a.wait(1))
		a.leave()
		b.leave()
	})
}

// TestWindowBytes: one message may exceed the window's bytes by its own size.
func TestWindowBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan struct{})
		s := newStack(t, onSend(func(ctx context.Context, r handler.Request) error {
			if r.Message.Body[0] == '0' {
				<-leave
			}
			return nil
		}), handler.WithWindow(handler.Limits{Messages: 100, Bytes: 50}))
		c := s.dial()
		c.send("0", strings.Repeat("x", 40), strings.Repeat("y", 40), "z")
		time.Sleep(time.Second)
		require.EqualValues(t, 1, s.ep.Stats().Pauses)
		require.EqualValues(t, 1, s.ep.Stats().BytesIn, "the rest is pending")
		close(leave)
		synctest.Wait()
		require.EqualValues(t, 82, s.ep.Stats().BytesIn)
		c.leave()
	})
}

func TestStalledPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithFlushWorkers(2), handler.WithQueue(handler.Limits{Messages: 1000, Bytes: 100 << 10}))
		var stalled []*client
		for range 4 {
			c := s.dial()
			stalled = append(stalled, c)
			c.conn.Pause() // never reads
		}
		c := s.dial()
		synctest.Wait()
		p := handler.NewPublication(text(strings.Repeat("x", 1000)))
		for range 400 {
			for sess := range s.ep.Sessions().All() {
				_, _ = sess.Publish(p, "", "")
			}
			synctest.Wait()
		}
		require.Len(t, c.received(), 400)
		time.Sleep(2 * time.Second) // the pipe waits for them to take the close frame
		require.Equal(t, 1, s.ep.Sessions().Len(), "the stalled ones overflowed")
		for _, c := range stalled {
			c.conn.Resume()
			<-c.gone
			require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
		}
		c.leave()
	})
}

func TestShutdownExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, onSend(func(ctx context.Context, r handler.Request) error {
			if string(r.Message.Body) == "deaf" {
				time.Sleep(time.Hour)
			}
			<-ctx.Done()
			return nil
		}), handler.WithShutdownSpread(time.Hour))
		var cs []*client
		for range 10 {
			cs = append(cs, s.dial())
		}
		cs[0].send("deaf")
		cs[1].send("hears") // a context that ends lets it return
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		errs := make(chan error)
		go func() { errs <- s.ep.Shutdown(ctx) }()
		synctest.Wait()
		_, err := s.tryDial(nil)
		require.Equal(t, 503, refusalOf(t, err).Status)
		time.Sleep(5*time.Second + 100*time.Millisecond)
		for _, c := range cs {
			select {
			case <-c.gone:
			default:
				t.Error("a session was not closed within half of the time")
			}
		}
		err = <-errs
		require.Equal(t, 10*time.Second, time.Since(begin))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "sessions remain: 1")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.NoError(t, s.ep.Shutdown(t.Context()), "a second one finds nothing left")
	})
}

func TestShutdownOfStalledPeers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithShutdownSpread(0))
		c := s.dial()
		c.conn.Pause()
		sess := s.theSession()
		server, _ := transport.As[*pipe.Conn](sess.Conn())
		server.SetFull(true)
		_, err := sess.Send(text("x"))
		require.NoError(t, err)
		begin := time.Now()
		require.NoError(t, s.ep.Shutdown(t.Context()))
		require.Equal(t, 6*time.Second, time.Since(begin), "5 s to drain, 1 s of the pipe's")
		require.EqualValues(t, 1, s.ep.Stats().Dropped.Closed)
		c.conn.Resume()
		<-c.gone
	})
}

func TestShutdownDuringHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := 0
		s := newStack(t, func(context.Context, handler.Request) error { h++; return nil })
		a, err := s.ep.Accept(shake("", nil))
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- s.ep.Shutdown(t.Context()) }()
		synctest.Wait()
		gone := make(chan struct{})
		_, c := pipe.Pair(nil, a.Open, func(transport.Conn) transport.Receiver {
			return &client{t: t, gone: gone, more: make(chan struct{}, 1)}
		})
		require.NotNil(t, c)
		<-gone
		require.NoError(t, <-done)
		require.Zero(t, h, "a session that opens during Shutdown has no Connect")
	})
}

// listening is a transport that can serve a listener.
type listening struct {
	*pipe.Transport
	err error
}

func (l listening) Serve(ctx context.Context, ln net.Listener, _ transport.Acceptor) error {
	if l.err != nil {
		return l.err
	}
	<-ctx.Done()
	return ln.Close()
}

type noListener struct{ net.Listener }

func (noListener) Close() error { return nil }

// wrapped hides its transport behind Unwrap.
type wrapped struct{ transport.Transport }

func (w wrapped) Unwrap() transport.Transport { return w.Transport }

func TestServe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		newEndpoint := func(tr transport.Transport) *handler.Endpoint {
			return handler.NewEndpoint(tr, handler.HandlerFunc(nothing), handler.WithSubProtocols(raw.New(nil)))
		}
		ep := newEndpoint(pipe.New(nil))
		require.ErrorContains(t, ep.Serve(t.Context(), noListener{}), "pipe")

		p := pipe.New(nil)
		tr := wrapped{listening{Transport: p}}
		ep = newEndpoint(tr)
		require.Equal(t, tr, ep.Transport(), "as it was given, with its wrappers")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- ep.Serve(ctx, noListener{}) }()
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)

		go func() { done <- ep.Serve(t.Context(), noListener{}) }()
		synctest.Wait()
		s := &stack{t, p, ep} // bound through the wrapper
		c := s.dial()
		require.NoError(t, ep.Shutdown(t.Context()))
		require.ErrorIs(t, <-done, handler.ErrShutdown)
		<-c.gone

		ep = newEndpoint(listening{Transport: p, err: io.ErrUnexpectedEOF})
		require.ErrorIs(t, ep.Serve(t.Context(), noListener{}), io.ErrUnexpectedEOF)
	})
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	ep := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(nothing), handler.WithSubProtocols(raw.New(nil)))
	w := httptest.NewRecorder()
	ep.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, 501, w.Code)
}

// chunks is a transport without boundaries.
type chunks struct{ *pipe.Transport }

func (chunks) Features() transport.Features { return transport.Features{Text: true, Binary: true} }

type unnamed struct{ *raw.SubProtocol }

func (unnamed) Names() []string { return []string{""} }

func TestMisusePanics(t *testing.T) {
	t.Parallel()
	h := handler.HandlerFunc(nothing)
	sp := handler.WithSubProtocols(raw.New(nil))
	named := raw.New(&raw.Options{Names: []string{"a"}})
	for name, f := range map[string]func(){
		"nil codec":        func() { handler.WithCodecs(nil) },
		"no transport":     func() { handler.NewEndpoint(nil, h, sp) },
		"no handler":       func() { handler.NewEndpoint(pipe.New(nil), nil, sp) },
		"no sub-protocol":  func() { handler.NewEndpoint(pipe.New(nil), h) },
		"nil sub-protocol": func() { handler.NewEndpoint(pipe.New(nil), h, handler.WithSubProtocols(nil)) },
		"two of one name":  func() { handler.NewEndpoint(pipe.New(nil), h, handler.WithSubProtocols(named, named)) },
		"no name": func() {
			handler.NewEndpoint(pipe.New(nil), h, handler.WithSubProtocols(named, raw.New(nil)))
		},
		"empty name":        func() { handler.NewEndpoint(pipe.New(nil), h, handler.WithSubProtocols(unnamed{named})) },
		"boundaries":        func() { handler.NewEndpoint(chunks{pipe.New(nil)}, h, sp) },
		"named, boundaries": func() { handler.NewEndpoint(chunks{pipe.New(nil)}, h, handler.WithSubProtocols(named)) },
		"nil middleware": func() {
			handler.NewEndpoint(pipe.New(nil), h, sp, handler.WithMiddleware(func(handler.Handler) handler.Handler { return nil }))
		},
		"pattern":       func() { handler.WithOrigins("[") },
		"origin":        func() { handler.WithOrigins("https://a.com") },
		"queue":         func() { handler.WithQueue(handler.Limits{Messages: 0, Bytes: 1}) },
		"queue bytes":   func() { handler.WithQueue(handler.Limits{Messages: 1, Bytes: -1}) },
		"window":        func() { handler.WithWindow(handler.Limits{}) },
		"sessions":      func() { handler.WithMaxSessions(0) },
		"queued":        func() { handler.WithMaxQueuedBytes(0) },
		"key":           func() { handler.WithSessionsPerKey(1, nil) },
		"workers":       func() { handler.WithFlushWorkers(0) },
		"close timeout": func() { handler.WithCloseTimeout(0) },
		"frame":         func() { handler.WithMaxFrame(0) },
		"conflate":      func() { handler.Conflate(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				v, _ := recover().(string)
				require.True(t, strings.HasPrefix(v, "handler: "), "%q", v)
			}()
			f()
		})
	}
}

type fakeCodec struct {
	codec.Codec
	contentType string
}

func (c fakeCodec) ContentType() string { return c.contentType }

func TestCodec(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := fakeCodec{contentType: "application/json"}, fakeCodec{contentType: "application/msgpack"}
		s := newStack(t, nothing, handler.WithCodecs(a, b))
		c := s.dial()
		sess := s.theSession()
		require.Equal(t, a, sess.Codec(""))
		require.Equal(t, a, sess.Codec("application/JSON; charset=utf-8"))
		require.Equal(t, b, sess.Codec("application/msgpack"))
		require.Nil(t, sess.Codec("text/plain"))
		c.leave()
		s = newStack(t, nothing)
		c = s.dial()
		require.Nil(t, s.theSession().Codec(""))
		c.leave()
	})
}
