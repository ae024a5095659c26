package handler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func shake(host string, offered []string, origins ...string) *transport.Handshake {
	return &transport.Handshake{
		Transport: "pipe", Host: host, Path: "/ws", SubProtocols: offered,
		Header: http.Header{"Origin": origins}, Context: context.Background(),
	}
}

func refusalOf(t testing.TB, err error) *transport.Refusal {
	t.Helper()
	r, ok := errors.AsType[*transport.Refusal](err)
	require.True(t, ok, "%v", err)
	return r
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host    string
		origins []string
		allow   []string
		ok      bool
	}{
		{"example.com", nil, nil, true},
		{"example.com", []string{"https://example.com"}, nil, true},
		{"example.com", []string{"https://EXAMPLE.com"}, nil, true},
		{"example.com:8080", []string{"http://example.com:8080"}, nil, true},
		{"example.com:443", []string{"https://example.com"}, nil, true},
		{"example.com", []string{"http://example.com:80"}, nil, true},
		{"example.com", []string{"https://example.com:80"}, nil, false},
		{"example.com", []string{"https://example.com:8443"}, nil, false},
		{"example.com", []string{"https://evil.com"}, nil, false},
		{"example.com", []string{"https://example.com.evil.com"}, nil, false},
		{"example.com", []string{"https://evil.com/example.com"}, nil, false},
		{"example.com", []string{"https://example.com@evil.com"}, nil, false},
		{"example.com", []string{"null"}, nil, false},
		{"example.com", []string{""}, nil, false},
		{"", []string{"file://"}, nil, false},
		{"", []string{""}, nil, false},
		{"example.com", []string{"://"}, nil, false},
		{"example.com", []string{"https://example.com", "https://evil.com"}, nil, false},
		{"a.com", []string{"https://b.com"}, []string{"b.com"}, true},
		{"a.com", []string{"https://a.com"}, []string{"b.com"}, true},
		{"a.com", []string{"https://B.com"}, []string{"b.COM"}, true},
		{"a.com", []string{"https://x.b.com"}, []string{"b.com"}, false},
		{"a.com", []string{"https://x.b.com"}, []string{"*.b.com"}, true},
		{"a.com", []string{"https://xb.com"}, []string{"*.b.com"}, false},
		{"a.com", []string{"http://localhost:3000"}, []string{"localhost:*"}, true},
		{"a.com", []string{"http://localhost"}, []string{"localhost:*"}, false},
		{"a.com", []string{"http://[::1]:3000"}, []string{"[::1]:3000"}, true},
		{"a.com", []string{"null"}, []string{"b.com"}, false},
		{"a.com", []string{"null"}, []string{"*"}, true},
		{"a.com", []string{"https://x.y.z:1234"}, []string{"*"}, true},
	} {
		t.Run(fmt.Sprint(tt.host, tt.origins, tt.allow), func(t *testing.T) {
			t.Parallel()
			told := error(nil)
			opts := []handler.Option{
				handler.WithSubProtocols(raw.New(nil)),
				handler.WithHooks(handler.Hooks{Refuse: func(_ *transport.Handshake, err error) { told = err }}),
			}
			if tt.allow != nil {
				opts = append(opts, handler.WithOrigins(tt.allow...))
			}
			ep := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(nothing), opts...)
			a, err := ep.Accept(shake(tt.host, nil, tt.origins...))
			require.Equal(t, err, told)
			if tt.ok {
				require.NoError(t, err)
				a.Abort(nil)
				require.NoError(t, ep.CheckOrigin(shake(tt.host, nil, tt.origins...)))
				return
			}
			r := refusalOf(t, err)
			require.Equal(t, 403, r.Status)
			require.Contains(t, r.Text, fmt.Sprintf("%q", tt.origins[0]))
			require.Contains(t, r.Text, "handler.WithOrigins")
			require.EqualValues(t, 1, ep.Stats().Refused.Origin)

			again := ep.CheckOrigin(shake(tt.host, nil, tt.origins...))
			require.Equal(t, err, again)
			require.Equal(t, again, told)
			require.EqualValues(t, 2, ep.Stats().Refused.Origin)
		})
	}
}

// TestOriginOverTLS: a page that came without TLS is no page of a server that has it.
func TestOriginOverTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		origin string
		secure bool
		ok     bool
	}{
		{"http://a.com", true, false}, {"HTTP://a.com", true, false}, {"https://a.com", true, true},
		{"http://a.com", false, true}, {"https://a.com", false, true}, // behind a proxy that ends TLS
	} {
		ep := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(nothing), handler.WithSubProtocols(raw.New(nil)))
		h := shake("a.com", nil, tt.origin)
		h.Secure = tt.secure
		a, err := ep.Accept(h)
		if !tt.ok {
			require.Equal(t, 403, refusalOf(t, err).Status)
			continue
		}
		require.NoError(t, err)
		a.Abort(nil)
	}
}

func TestOriginInTheTextIsShortened(t *testing.T) {
	t.Parallel()
	ep := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(nothing), handler.WithSubProtocols(raw.New(nil)))
	_, err := ep.Accept(shake("a.com", nil, "https://"+strings.Repeat("x", 10000)))
	require.Less(t, len(refusalOf(t, err).Text), 400)
}

func TestNegotiation(t *testing.T) {
	t.Parallel()
	a := raw.New(&raw.Options{Names: []string{"a1", "a2"}})
	b := raw.New(&raw.Options{Names: []string{"b"}})
	for _, tt := range []struct {
		offered []string
		lenient bool
		want    string
		ok      bool
	}{
		{nil, false, "", true},
		{[]string{"b"}, false, "b", true},
		{[]string{"b", "a1"}, false, "b", true},
		{[]string{"x", "a2", "a1"}, false, "a2", true},
		{[]string{"B"}, false, "", false},
		{[]string{"x", "y"}, false, "", false},
		{[]string{""}, false, "", false},
		{[]string{"x", "y"}, true, "", true},
		{[]string{"x", "b"}, true, "b", true},
	} {
		t.Run(fmt.Sprint(tt.offered, tt.lenient), func(t *testing.T) {
			t.Parallel()
			opts := []handler.Option{handler.WithSubProtocols(a, b)}
			if tt.lenient {
				opts = append(opts, handler.WithoutSubProtocol())
			}
			p := pipe.New(nil)
			seen := make(chan *handler.Session, 1)
			ep := handler.NewEndpoint(p, only(subprotocol.KindConnect, func(_ context.Context, r handler.Request) error {
				seen <- r.Session
				return nil
			}), opts...)
			s := &stack{t, p, ep}
			c, err := s.tryDial(&transport.DialConfig{SubProtocols: tt.offered})
			if !tt.ok {
				r := refusalOf(t, err)
				require.Equal(t, 400, r.Status)
				require.Contains(t, r.Text, `"a1", "a2", "b"`)
				require.EqualValues(t, 1, ep.Stats().Refused.SubProtocol)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, c.conn.SubProtocol())
			require.Equal(t, tt.want, (<-seen).SubProtocol())
			c.leave()
		})
	}
}

func TestAcceptHook(t *testing.T) {
	type key struct{}
	for _, tt := range []struct {
		name   string
		hook   func(*handler.Session) error
		status int
		text   string
	}{
		{"admits", func(s *handler.Session) error { s.SetUser("ann"); s.SetValue(key{}, 42); return nil }, 0, ""},
		{"refusal", func(*handler.Session) error { return &transport.Refusal{Status: 401, Text: "who are you?"} }, 401, "who are you?"},
		{"wrapped", func(*handler.Session) error {
			return fmt.Errorf("secret: %w", &transport.Refusal{Status: 402, Text: "pay"})
		}, 402, "pay"},
		{"error", func(*handler.Session) error { return errors.New("secret") }, 403, "the connection was refused"},
		{"panic", func(*handler.Session) error { panic("secret") }, 500, "internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var value any
				s := newStack(t, nothing, handler.WithAccept(func(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
					require.Equal(t, "/chat", h.Path)
					require.NoError(t, ctx.Err())
					return tt.hook(s)
				}), handler.WithHooks(handler.Hooks{Panic: func(_ *handler.Session, v any, _ []byte) { value = v }}))
				c, err := s.tryDial(nil)
				if tt.status != 0 {
					r := refusalOf(t, err)
					require.Equal(t, tt.status, r.Status)
					require.Equal(t, tt.text, r.Text)
					require.Zero(t, s.ep.Stats().Live)
					require.EqualValues(t, 1, s.ep.Stats().Refused.Hook)
					require.Equal(t, tt.name == "panic", value != nil)
					return
				}
				require.NoError(t, err)
				sess := s.theSession()
				require.Equal(t, "ann", sess.User())
				require.Equal(t, 42, sess.Value(key{}))
				sess.SetValue(key{}, nil)
				require.Nil(t, sess.Value(key{}))
				c.leave()
			})
		})
	}
}

// TestAcceptHooks: all are asked, in their order, until one refuses.
func TestAcceptHooks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		asked := ""
		hook := func(name string) handler.Option {
			return handler.WithAccept(func(_ context.Context, _ *handler.Session, h *transport.Handshake) error {
				asked += name
				if strings.Contains(h.Query, name) {
					return &transport.Refusal{Status: 401, Text: name}
				}
				return nil
			})
		}
		s := newStack(t, nothing, hook("a"), hook("b"), hook("c"))
		_, err := s.tryDial(nil)
		require.NoError(t, err)
		require.Equal(t, "abc", asked)
		for refuses, want := range map[string]string{"a": "a", "b": "ab", "c": "abc"} {
			asked = ""
			_, err := s.ep.Accept(&transport.Handshake{Header: http.Header{}, Query: refuses})
			require.Equal(t, refuses, refusalOf(t, err).Text)
			require.Equal(t, want, asked)
		}
		require.Equal(t, 1, s.ep.Stats().Live)
	})
}

// TestApplicationCrashesInAccept: neither the hook nor the key function takes the
// process along, or keeps the session's place.
func TestApplicationCrashesInAccept(t *testing.T) {
	t.Parallel()
	for how, crash := range map[string]func(){"panic": func() { panic("secret") }, "goexit": runtime.Goexit} {
		for in, opt := range map[string]handler.Option{
			"hook": handler.WithAccept(func(context.Context, *handler.Session, *transport.Handshake) error { crash(); return nil }),
			"key":  handler.WithSessionsPerKey(1, func(*handler.Session, *transport.Handshake) string { crash(); return "" }),
		} {
			t.Run(how+" in the "+in, func(t *testing.T) {
				t.Parallel()
				var panicked, refused int
				ep := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(nothing), handler.WithSubProtocols(raw.New(nil)), opt,
					handler.WithHooks(handler.Hooks{
						Panic:  func(*handler.Session, any, []byte) { panicked++ },
						Refuse: func(*transport.Handshake, error) { refused++ },
					}))
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, err = ep.Accept(shake("", nil))
				}()
				<-done
				if how == "panic" {
					require.Equal(t, 500, refusalOf(t, err).Status)
					require.Equal(t, "internal error", refusalOf(t, err).Text)
				}
				st := ep.Stats()
				require.Zero(t, st.Live, "the session's place is not free again")
				require.EqualValues(t, 1, st.Panics)
				require.EqualValues(t, 1, st.Refused.Hook)
				require.Equal(t, []int{1, 1}, []int{panicked, refused})
			})
		}
	}
}

// TestAcceptHookUsesTheSession: what it sends waits until the session is open, and
// a session that it closes is closed then.
func TestAcceptHookUsesTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		closeIt := false
		s := newStack(t, nothing, handler.WithAccept(func(_ context.Context, s *handler.Session, _ *transport.Handshake) error {
			require.Nil(t, s.Conn())
			status, err := handler.Request{Session: s}.Reply(text("hello"))
			require.NoError(t, err)
			require.Equal(t, handler.Queued, status)
			if closeIt {
				return s.Close(4000, "no")
			}
			return nil
		}))
		c := s.dial()
		require.Equal(t, []string{"hello"}, c.wait(1))
		c.leave()
		closeIt = true
		c = s.dial()
		<-c.gone
		require.Equal(t, []string{"hello"}, c.received())
		require.EqualValues(t, 4000, transport.CloseStatus(c.closed))
		synctest.Wait()
		require.Zero(t, s.ep.Stats().Live)
	})
}

func TestMaxSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithMaxSessions(2))
		pending, err := s.ep.Accept(shake("", nil))
		require.NoError(t, err)
		c := s.dial()
		_, err = s.tryDial(nil)
		r := refusalOf(t, err)
		require.Equal(t, 503, r.Status)
		require.NotEmpty(t, r.Header.Get("Retry-After"))
		require.EqualValues(t, 1, s.ep.Stats().Refused.Limit)
		pending.Abort(errors.New("gone"))
		require.EqualValues(t, 1, s.ep.Stats().Aborted)
		d := s.dial()
		c.leave()
		synctest.Wait()
		e := s.dial()
		d.leave()
		e.leave()
		synctest.Wait()
		require.Zero(t, s.ep.Stats().Live)
	})
}

func TestSessionsPerKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		user := "ann"
		s := newStack(t, nothing,
			handler.WithAccept(func(_ context.Context, s *handler.Session, _ *transport.Handshake) error {
				s.SetUser(user)
				return nil
			}),
			handler.WithSessionsPerKey(2, func(s *handler.Session, _ *transport.Handshake) string { return s.User() }))
		pending, err := s.ep.Accept(shake("", nil))
		require.NoError(t, err)
		a := s.dial()
		_, err = s.tryDial(nil)
		require.Equal(t, 429, refusalOf(t, err).Status)
		require.EqualValues(t, 1, s.ep.Stats().Refused.Limit)
		user = "bob"
		b := s.dial()
		user = ""
		c, d, e := s.dial(), s.dial(), s.dial()
		user = "ann"
		pending.Abort(nil)
		f := s.dial()
		_, err = s.tryDial(nil)
		require.Error(t, err)
		for _, c := range []*client{a, b, c, d, e, f} {
			c.leave()
		}
		synctest.Wait()
		s.dial().leave()
		synctest.Wait()
		require.Zero(t, s.ep.Stats().Live)
	})
}

func TestUsers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithAccept(func(_ context.Context, s *handler.Session, h *transport.Handshake) error {
			s.SetUser(h.Header.Get("User"))
			return nil
		}))
		dial := func(user string) *client {
			c, err := s.tryDial(&transport.DialConfig{Header: http.Header{"User": {user}}})
			require.NoError(t, err)
			return c
		}
		users := func(name string) []*handler.Session { return slices.Collect(s.ep.Sessions().User(name)) }
		a1, a2, a3, b, none := dial("ann"), dial("ann"), dial("ann"), dial("bob"), dial("")
		synctest.Wait()
		require.Equal(t, 5, s.ep.Sessions().Len())
		require.Len(t, slices.Collect(s.ep.Sessions().All()), 5)
		require.Len(t, users("ann"), 3)
		require.Len(t, users("bob"), 1)
		require.Empty(t, users(""))
		require.Empty(t, users("eve"))
		for range s.ep.Sessions().All() {
			break
		}
		for range s.ep.Sessions().User("ann") {
			break
		}
		a2.leave() // from the middle
		synctest.Wait()
		require.Len(t, users("ann"), 2)
		users("bob")[0].SetUser("ann") // says later who it is
		require.Len(t, users("ann"), 3)
		require.Empty(t, users("bob"))
		users("ann")[0].SetUser("bob")
		require.Len(t, users("ann"), 2)
		require.Len(t, users("bob"), 1)

		_, err := s.ep.Sessions().CloseUser("ann", 1005, "")
		require.Error(t, err)
		n, err := s.ep.Sessions().CloseUser("ann", 4001, "kicked")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		for _, c := range []*client{a1, a3} {
			<-c.gone
			require.EqualValues(t, 4001, transport.CloseStatus(c.closed))
		}
		synctest.Wait()
		require.Empty(t, users("ann"))
		b.leave()
		none.leave()
		synctest.Wait()
		require.Zero(t, s.ep.Sessions().Len())
		require.Nil(t, s.ep.Sessions().Get("x"))
	})
}
