package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

func TestTable(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	tab := newTable[string, int](3, 10*time.Second)
	has := func(s int, keys ...string) {
		t.Helper()
		for _, k := range []string{"a", "b", "c", "d", "e"} {
			_, ok := tab.get(k, at(s))
			require.Equal(t, strings.Contains(strings.Join(keys, ""), k), ok, "%s after %d s", k, s)
		}
	}
	tab.put("a", 1, at(0))
	tab.put("b", 2, at(1))
	tab.put("c", 3, at(2))
	tab.put("a", 4, at(3))
	tab.put("d", 5, at(4))
	has(4, "a", "c", "d") // b was the oldest
	v, _ := tab.get("a", at(4))
	require.Equal(t, 4, v)
	has(11, "a", "c", "d")
	has(12, "a", "d") // c has expired
	tab.remove("d")
	tab.remove("d")
	has(12, "a")
	tab.put("e", 6, at(20))
	has(20, "e")
	require.Len(t, tab.entries, 1, "what has expired went with the put")
}

func TestTableKey(t *testing.T) {
	t.Parallel()
	require.Equal(t, "ann", tableKey("ann"))
	long := strings.Repeat("x", 1<<20)
	require.Len(t, tableKey(long), maxKey+1, "no key that is kept as it is has that length")
	require.NotEqual(t, tableKey(long), tableKey(long+"y"))
	require.Equal(t, tableKey(long), tableKey(strings.Clone(long)))
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1":               "192.0.2.1",
		"::ffff:192.0.2.1":        "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1:2::",
		"2001:db8:1:2::9":         "2001:db8:1:2::",
		"fe80::1%eth0":            "fe80::",
		"2001:db8:1:3:ffff::1234": "2001:db8:1:3::",
	} {
		require.Equal(t, want, addressKey(netip.MustParseAddr(in), "id"), in)
	}
	require.Equal(t, "id", addressKey(netip.Addr{}, "id"))
}

// FuzzClean: whatever others write, a line of the log stays one line of bounded
// length, and what is harmless stays as it is.
func FuzzClean(f *testing.F) {
	for _, s := range []string{
		"", "/app", "a\nb", "\x1b]0;x\x07", "\u202e\u2028\u0085", "\xff\xfe", "\u20ac uro",
		strings.Repeat("\u20ac", 100), strings.Repeat("x", 300),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const limit = 50
		got := clean(s, limit)
		if len(got) > limit+len("...") || !utf8.ValidString(got) {
			t.Fatalf("%q became %q", s, got)
		}
		if strings.ContainsFunc(got, func(c rune) bool { return unicode.IsControl(c) || !unicode.IsPrint(c) }) {
			t.Fatalf("%q became %q", s, got)
		}
		if len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == utf8.RuneError }) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

// FuzzAuthorization: what is accepted is bounded, has no control characters, and is
// what the field says.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{
		"", "Bearer", "Bearer ", "Bearer abc", "bearer  abc==", "Bearer a b", "Bearer a=b", "Basic YW5uOnNlY3JldA==",
		"Basic YW5u", "Basic !", "Basic YW5uOnNl\nY3JldA==", "Digest x", "Basic OnB3", "Bearer \x00", "Basic AAE6Ag==",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseAuthorization(s)
		if err != nil {
			if c != (Credentials{}) {
				t.Fatalf("%q is refused and has %#v", s, c)
			}
			return
		}
		switch c.Scheme {
		case SchemeBearer:
			if c.Token == "" || !strings.HasSuffix(strings.TrimRight(s, " "), " "+c.Token) || c.User != "" || c.Password != "" {
				t.Fatalf("%q has the token %q", s, c.Token)
			}
		case SchemeBasic:
			if c.User == "" || strings.Contains(c.User, ":") || c.Token != "" {
				t.Fatalf("%q has the user %q", s, c.User)
			}
		default:
			t.Fatalf("%q has the scheme %q", s, c.Scheme)
		}
		if len(c.Token)+len(c.User)+len(c.Password) > maxCredentials || !isText(c.Token+c.User+c.Password) {
			t.Fatalf("%q has credentials that it may not have", s)
		}
	})
}

// silent is a client that does nothing.
type silent struct{ gone chan struct{} }

func (silent) Receive(transport.Message) {}
func (silent) Writable()                 {}
func (s silent) Closed(error)            { close(s.gone) }

// TestStaleTimer: a timer that was replaced just as it fired, or that fires too early
// because the clock was set back, ends nothing; one that is stopped does not
// come back.
func TestStaleTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := NewAuthenticator(func(context.Context, Credentials) (Identity, error) {
			return Identity{User: "ann", Expires: time.Now().Add(time.Hour)}, nil
		}, nil)
		var s *handler.Session
		h := handler.HandlerFunc(func(_ context.Context, r handler.Request) error { s = r.Session; return nil })
		p := pipe.New(nil)
		handler.NewEndpoint(p, h, handler.WithSubProtocols(raw.New(nil)),
			handler.WithAccept(auth.Accept), handler.WithMiddleware(auth.Authenticate))
		c := silent{make(chan struct{})}
		_, err := p.Dial(t.Context(), "pipe://localhost/",
			&transport.DialConfig{Header: http.Header{"Authorization": {"Bearer x"}}},
			func(transport.Conn) transport.Receiver { return c })
		require.NoError(t, err)
		begin := time.Now()
		first := s
		g := grantOf(first)
		other := silent{make(chan struct{})}
		conn, err := p.Dial(t.Context(), "pipe://localhost/",
			&transport.DialConfig{Header: http.Header{"Authorization": {"Bearer x"}}},
			func(transport.Conn) transport.Receiver { return other })
		require.NoError(t, err)
		require.NotNil(t, grantOf(s).timer)
		_ = conn.Close(1000, "")
		<-other.gone
		synctest.Wait()
		require.Nil(t, grantOf(s).timer, "the session has ended long before its credentials")
		g.fire()
		require.NoError(t, first.Context().Err())
		require.NoError(t, g.check())
		<-c.gone
		require.Equal(t, time.Hour, time.Since(begin))
		synctest.Wait()
		g.arm()
		require.Nil(t, g.timer)
		g.fire()
		err = g.check()
		e, ok := errors.AsType[*subprotocol.Error](err)
		require.True(t, ok)
		require.Equal(t, transport.StatusPolicyViolation, e.Status)
		require.True(t, e.Fatal)
		require.EqualError(t, err, "subprotocol: credentials-expired: the credentials have expired: middleware: credentials have expired")
	})
}

// TestByAddress: over TCP it is the address.
func TestByAddress(t *testing.T) {
	t.Parallel()
	keys := make(chan string, 2)
	h := handler.HandlerFunc(func(_ context.Context, r handler.Request) error { keys <- ByAddress(r); return nil })
	ws := gobwas.New(nil)
	ep := handler.NewEndpoint(ws, h, handler.WithSubProtocols(raw.New(nil)))
	srv := httptest.NewServer(ep)
	defer srv.Close()
	c := silent{make(chan struct{})}
	_, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil, func(transport.Conn) transport.Receiver { return c })
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", <-keys)
	require.NoError(t, ep.Shutdown(t.Context()))
	<-c.gone
	require.Empty(t, ByAddress(handler.Request{Session: new(handler.Session)}), "no address, and this session has no ID")
}
