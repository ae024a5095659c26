package handler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func textMessage(s string) transport.Message {
	return transport.Message{Type: transport.MessageText, Data: []byte(s)}
}

// recorder is a handler that records what it sees and does what a test says.
type recorder struct {
	mu   sync.Mutex
	seen []string
	do   func(ctx context.Context, r Request) error
}

func (h *recorder) Handle(ctx context.Context, r Request) error {
	h.mu.Lock()
	line := r.Message.Kind.String()
	if len(r.Message.Body) > 0 {
		line += " " + string(r.Message.Body)
	}
	h.seen = append(h.seen, line)
	h.mu.Unlock()
	if h.do != nil {
		return h.do(ctx, r)
	}
	return nil
}

func (h *recorder) lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.seen...)
}

func (h *recorder) count(line string) (n int) {
	for _, l := range h.lines() {
		if l == line {
			n++
		}
	}
	return n
}

func TestHandlerErrors(t *testing.T) {
	secret := errors.New("secret password")
	for _, tt := range []struct {
		name   string
		err    error
		errors bool // the sub-protocol has them
		want   []string
		code   transport.StatusCode
		reason string
	}{
		{"untyped", secret, true, []string{"ERROR internal r1 the message could not be handled"}, 0, ""},
		{"untyped, none to show", secret, false, nil, 0, ""},
		{"typed", &subprotocol.Error{Code: "c", Text: "t", Receipt: "r2"}, true, []string{"ERROR c r2 t"}, 0, ""},
		{"typed, none to show", &subprotocol.Error{Code: "c", Text: "t"}, false, nil, 0, ""},
		{"wrapped", fmt.Errorf("secret: %w", &subprotocol.Error{Code: "c", Text: "t"}), true, []string{"ERROR c r1 t"}, 0, ""},
		{"fatal", &subprotocol.Error{Code: "c", Text: "t", Fatal: true}, true, []string{"ERROR c r1 t"}, 1002, "t"},
		{"fatal, none to show", &subprotocol.Error{Code: "c", Text: strings.Repeat("ä", 100), Fatal: true, Status: 4000}, false,
			nil, 4000, strings.Repeat("ä", 61)},
		{"fatal, bad status", &subprotocol.Error{Text: "\xff", Fatal: true, Status: 1006}, false, nil, 1002, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told error
				h := &recorder{do: func(_ context.Context, r Request) error {
					if string(r.Message.Body) == "x" {
						return tt.err
					}
					return nil
				}}
				e := NewEndpoint(fakeTransport{}, h,
					WithSubProtocols(&testProtocol{features: subprotocol.Features{Errors: tt.errors}}),
					WithHooks(Hooks{HandlerError: func(_ *Session, m *subprotocol.Message, err error) {
						told = err
						panic("a hook may not harm")
					}}))
				c := &fakeConn{room: -1}
				_, r := open(t, e, c)
				r.Receive(textMessage("SEND x\nSEND y"))
				require.Equal(t, tt.want, c.messages())
				require.Equal(t, tt.code, c.code)
				require.Equal(t, tt.reason, c.reason)
				require.Equal(t, tt.err, told)
				require.EqualValues(t, 1, e.Stats().HandlerErrors)
				if tt.code == 0 {
					require.Contains(t, h.lines(), "SEND y")
				} else {
					require.NotContains(t, h.lines(), "SEND y")
					r.Receive(textMessage("SEND z"))
					require.NotContains(t, h.lines(), "SEND z")
					require.EqualValues(t, 1, e.Stats().Discarded)
				}
				r.Closed(nil)
			})
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct {
		line   string
		want   []string
		code   transport.StatusCode
		reason string
		panics uint64
	}{
		{"bad", []string{"ERROR malformed  a bad line"}, 1007, "a bad line", 0},
		{"odd", nil, 1002, "", 0},
		{"die", nil, 1011, "internal error", 1},
	} {
		t.Run(tt.line, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := &recorder{}
				e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(&testProtocol{features: subprotocol.Features{Errors: true}}))
				c := &fakeConn{room: -1}
				_, r := open(t, e, c)
				r.Receive(textMessage("SEND x\n" + tt.line + "\nSEND y"))
				require.Equal(t, tt.want, c.messages())
				require.Equal(t, tt.code, c.code)
				require.Equal(t, tt.reason, c.reason)
				require.Equal(t, tt.panics, e.Stats().Panics)
				require.Equal(t, 1-tt.panics, e.Stats().DecodeErrors)
				r.Closed(nil)
				require.Equal(t, []string{"CONNECT", "SEND x", "DISCONNECT"}, h.lines())
			})
		})
	}
}

func TestConnectExchange(t *testing.T) {
	features := subprotocol.Features{Connect: true, Errors: true, Disconnect: true, Heartbeats: true}
	bubble(t, func(t *testing.T) {
		h := &recorder{}
		e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(&testProtocol{features: features}))
		c := &fakeConn{room: -1}
		s, r := open(t, e, c)
		require.Empty(t, h.lines())
		require.Nil(t, e.Sessions().Get(s.ID()))
		r.Receive(textMessage("CONNECT"))
		require.Same(t, s, e.Sessions().Get(s.ID()))
		r.Receive(textMessage("SEND x"))
		r.Receive(textMessage("BEAT"))
		synctest.Wait()
		require.Equal(t, []string{"CONNECTED 1.2", "HEARTBEAT "}, c.messages())
		r.Receive(textMessage("DISCONNECT\nSEND y"))
		require.Equal(t, transport.StatusNormalClosure, c.code)
		r.Closed(nil)
		require.Equal(t, []string{"CONNECT", "SEND x", "DISCONNECT"}, h.lines())
	})
	for line, code := range map[string]transport.StatusCode{"SEND x": 1002, "DISCONNECT": 1002} {
		t.Run("first is "+line, func(t *testing.T) {
			h := &recorder{}
			e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(&testProtocol{features: features}))
			c := &fakeConn{room: -1}
			_, r := open(t, e, c)
			r.Receive(textMessage(line))
			require.Equal(t, code, c.code)
			r.Closed(nil)
			require.Empty(t, h.lines())
		})
	}
	t.Run("twice", func(t *testing.T) {
		h := &recorder{}
		e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(&testProtocol{features: features}))
		c := &fakeConn{room: -1}
		_, r := open(t, e, c)
		r.Receive(textMessage("CONNECT\nCONNECT"))
		require.Equal(t, transport.StatusProtocolError, c.code)
		r.Closed(nil)
		require.Equal(t, []string{"CONNECT", "DISCONNECT"}, h.lines())
	})
}

func TestConnectRefusedByHandler(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func() error
		code     transport.StatusCode
		reason   string
		panicked uint64
	}{
		{"untyped", func() error { return errors.New("secret") }, 1008, "the connection was refused", 0},
		{"typed", func() error { return &subprotocol.Error{Code: "full", Text: "room is full"} }, 1008, "room is full", 0},
		{"status", func() error { return &subprotocol.Error{Text: "later", Status: 1013} }, 1013, "later", 0},
		{"panic", func() error { panic("secret") }, 1011, "internal error", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened, closed := 0, 0
				h := &recorder{do: func(context.Context, Request) error { return tt.do() }}
				e := newFake(t, h.Handle, WithHooks(Hooks{
					Open: func(*Session) { opened++ }, Close: func(*Session, error) { closed++ }}))
				c := &fakeConn{room: -1}
				_, r := open(t, e, c)
				require.Equal(t, tt.code, c.code)
				require.Equal(t, tt.reason, c.reason)
				r.Receive(textMessage("x"))
				r.Closed(nil)
				require.Equal(t, []string{"CONNECT"}, h.lines())
				st := e.Stats()
				require.Zero(t, st.Sessions)
				require.Zero(t, st.Live)
				require.Equal(t, tt.panicked, st.Panics)
				require.Equal(t, 1-tt.panicked, st.ConnectRefused)
				require.Equal(t, []int{1, 1}, []int{opened, closed})
			})
		})
	}
}

func TestGoexitInAHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &recorder{do: func(_ context.Context, r Request) error {
			if r.Message.Kind == subprotocol.KindSend {
				runtime.Goexit()
			}
			return nil
		}}
		var value any
		e := newFake(t, h.Handle, WithHooks(Hooks{Panic: func(_ *Session, v any, _ []byte) { value = v }}))
		c := &fakeConn{room: -1}
		_, r := open(t, e, c)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Receive(textMessage("x"))
		}()
		<-done
		require.Equal(t, transport.StatusInternalError, c.code)
		require.Equal(t, errGoexit, value)
		r.Closed(nil)
		require.Equal(t, []string{"CONNECT", "SEND x", "DISCONNECT"}, h.lines())
		time.Sleep(time.Second)
		requireRest(t, e)
	})
}

// TestAppendToABody: what lies behind a message in the transport's memory is out of a
// handler's reach.
func TestAppendToABody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, func(_ context.Context, r Request) error {
			r.Message.Body = append(r.Message.Body, "more"...)
			return nil
		})
		_, r := open(t, e, &fakeConn{room: -1})
		read := []byte("one and two")
		r.Receive(transport.Message{Type: transport.MessageText, Data: read[:3]})
		require.Equal(t, "one and two", string(read))
		r.Closed(nil)
	})
}

// TestGoexitOfALateMessage: the reader's role is not lost with a goroutine that works off
// the window.
func TestGoexitOfALateMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		h := &recorder{do: func(_ context.Context, r Request) error {
			switch string(r.Message.Body) {
			case "slow":
				<-release
			case "exit":
				runtime.Goexit()
			}
			return nil
		}}
		e := newFake(t, h.Handle)
		c := &fakeConn{room: -1}
		_, r := open(t, e, c)
		go r.Receive(textMessage("slow"))
		synctest.Wait()
		r.Receive(textMessage("exit"))
		r.Receive(textMessage("never"))
		close(release)
		synctest.Wait()
		require.Equal(t, transport.StatusInternalError, c.code)
		r.Closed(nil)
		require.Equal(t, []string{"CONNECT", "SEND slow", "SEND exit", "DISCONNECT"}, h.lines())
		require.Zero(t, e.Stats().Live)
		time.Sleep(time.Second)
		requireRest(t, e)
	})
}

// TestGoexitInOpen: a session whose Open never returns is let go of.
func TestGoexitInOpen(t *testing.T) {
	for _, where := range []string{"hook", "connect"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newFake(t, func(context.Context, Request) error { runtime.Goexit(); return nil },
					WithHooks(Hooks{Open: func(*Session) {
						if where == "hook" {
							runtime.Goexit()
						}
					}}))
				a, err := e.Accept(handshake())
				require.NoError(t, err)
				c := &fakeConn{room: -1}
				go a.Open(c)
				synctest.Wait()
				require.Equal(t, 1, c.closes(), where)
				require.Zero(t, e.Stats().Live, where)
				require.NoError(t, e.Shutdown(t.Context()))
			})
		})
	}
}

func requireRest(t testing.TB, e *Endpoint) {
	e.watchdog.mu.Lock()
	defer e.watchdog.mu.Unlock()
	require.Empty(t, e.watchdog.slots)
	require.False(t, e.watchdog.armed)
}

// TestWatchdogRests checks that the watchdog's list empties and its timer ends.
func TestWatchdogRests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		_, r := open(t, e, &fakeConn{room: -1})
		for range 100 {
			r.Receive(textMessage("x"))
			time.Sleep(7 * time.Millisecond)
			synctest.Wait()
		}
		e.watchdog.mu.Lock()
		require.True(t, e.watchdog.armed)
		require.LessOrEqual(t, len(e.watchdog.slots), 10, "the list grows")
		e.watchdog.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		requireRest(t, e)
		r.Closed(nil)
	})
}

// TestWindowWithoutPause: a Conn that can't pause keeps its reader waiting while the
// window is full. The Receives come from several goroutines, as after a Yield.
func TestWindowWithoutPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan struct{})
		h := &recorder{do: func(_ context.Context, r Request) error {
			if r.Message.Kind == subprotocol.KindSend {
				<-leave
			}
			return nil
		}}
		e := newFake(t, h.Handle, WithWindow(Limits{3, 1000}))
		s, r := open(t, e, &fakeConn{room: -1})
		data := []byte("0")
		first := make(chan struct{})
		go func() {
			r.Receive(transport.Message{Type: transport.MessageText, Data: data})
			close(first)
		}()
		synctest.Wait()
		read := 0
		go func() {
			for i := range 5 {
				buf := fmt.Appendf(nil, "%d", i+1)
				r.Receive(transport.Message{Type: transport.MessageText, Data: buf})
				copy(buf, "overwritten")
				read++
			}
		}()
		synctest.Wait()
		require.Equal(t, 2, read)
		leave <- struct{}{}
		leave <- struct{}{}
		synctest.Wait()
		require.Equal(t, 4, read, "the last one waits inside Receive")
		r.Closed(nil) // what is pending is handled, then Disconnect
		require.Error(t, s.Context().Err())
		close(leave)
		<-first
		synctest.Wait()
		want := []string{"CONNECT"}
		for i := range 6 {
			want = append(want, fmt.Sprintf("SEND %d", i))
		}
		require.Equal(t, append(want, "DISCONNECT"), h.lines())
		requireIdle(t, e, s)
	})
}

// yieldConn is a fakeConn that can yield.
type yieldConn struct {
	*fakeConn
	yield func() bool
}

func (c yieldConn) Yield() bool { return c.yield() }

// TestReceiveOutlastsYield: Yield acts on the Receive that runs, so the slow one must
// not return before Yield has.
func TestReceiveOutlastsYield(t *testing.T) {
	t.Parallel()
	leave, returned := make(chan struct{}), make(chan struct{})
	h := &recorder{do: func(_ context.Context, r Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			<-leave
		}
		return nil
	}}
	e := newFake(t, h.Handle, WithSlowHandler(time.Millisecond))
	yielded := make(chan bool, 1)
	_, r := open(t, e, yieldConn{&fakeConn{room: -1}, func() bool {
		close(leave)
		early := false
		for range 1000 {
			runtime.Gosched()
			select {
			case <-returned:
				early = true
			default:
			}
		}
		yielded <- early
		return false // it says that it did nothing: that changes nothing
	}})
	r.Receive(textMessage("x"))
	close(returned)
	require.False(t, <-yielded)
	require.Zero(t, e.Stats().Yields)
	r.Receive(textMessage("y"))
	r.Closed(nil)
	require.Equal(t, []string{"CONNECT", "SEND x", "SEND y", "DISCONNECT"}, h.lines())
}

// TestShutdownEndsContexts: a Conn that does not end keeps nobody's context alive.
func TestShutdownEndsContexts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		c := &fakeConn{room: 0}
		s, r := open(t, e, c)
		send(t, s, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := e.Shutdown(ctx)
		require.ErrorContains(t, err, "sessions remain: 1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, context.Cause(s.Context()), ErrShutdown)
		require.ErrorIs(t, context.Cause(s.Context()), net.ErrClosed)
		require.Equal(t, transport.StatusGoingAway, c.code)
		require.EqualValues(t, 1, e.Stats().Dropped.Closed)
		r.Closed(nil)
		require.Zero(t, e.Stats().Live)
	})
}

func TestCloseWhileAHandlerIsSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan struct{})
		h := &recorder{do: func(_ context.Context, r Request) error {
			if r.Message.Kind == subprotocol.KindSend {
				<-leave
			}
			return nil
		}}
		e := newFake(t, h.Handle)
		s, r := open(t, e, &fakeConn{room: -1})
		first := make(chan struct{})
		go func() {
			r.Receive(textMessage("0"))
			close(first)
		}()
		synctest.Wait()
		r.Receive(textMessage("1"))
		require.NoError(t, s.Close(1000, ""))
		r.Receive(textMessage("2"))
		r.Closed(nil)
		require.Equal(t, 1, e.Stats().Live, "let go of before its handler has returned")
		close(leave)
		<-first
		require.Equal(t, []string{"CONNECT", "SEND 0", "DISCONNECT"}, h.lines())
		require.EqualValues(t, 2, e.Stats().Discarded)
		require.Zero(t, e.Stats().Live)
		requireIdle(t, e, s)
	})
}

func TestHandlerThatReportsItsOwnEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &recorder{do: func(_ context.Context, r Request) error {
			if r.Message.Kind != subprotocol.KindSend {
				return nil
			}
			if err := r.Session.Close(1000, ""); err != nil {
				return err
			}
			_, err := r.Reply(deliver("late"))
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			return err
		}}
		e := newFake(t, h.Handle)
		c := &fakeConn{room: -1}
		_, r := open(t, e, c)
		r.Receive(textMessage("x"))
		require.Zero(t, e.Stats().HandlerErrors)
		require.Equal(t, transport.StatusNormalClosure, c.code)
		r.Closed(nil)
		r.Closed(nil) // against the contract, and harmless
		require.Equal(t, 1, h.count("DISCONNECT"))
		require.EqualValues(t, 1, e.Stats().Ended)
	})
}
