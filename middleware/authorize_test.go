package middleware_test

import (
	"context"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// rules are those of a chat whose administrators have a corner of their own.
var rules = []middleware.Rule{
	middleware.Deny("SEND /app/admin/"),
	middleware.Deny("/app/audit"),
	middleware.Allow("SEND /app/{area}/private/{rest...}", func(r handler.Request) bool { return r.PathValue("area") == "mine" }),
	middleware.Allow("SEND /app/", middleware.Anyone),
	middleware.Allow("SUBSCRIBE /topic/rooms/{room}", middleware.Anyone),
	middleware.Allow("SUBSCRIBE /user/{user}/queue", func(r handler.Request) bool { return r.PathValue("user") == "ann" }),
	middleware.Allow("news", middleware.Anyone),
	middleware.Allow("SEND", middleware.Anyone),
}

// ask returns the error of the rules for a message.
func ask(rules []middleware.Rule, k subprotocol.Kind, destination string) error {
	h := middleware.Authorize(rules...)(handler.HandlerFunc(nothing))
	return h.Handle(context.Background(), request(&subprotocol.Message{Kind: k, Destination: destination}))
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const send, subscribe = subprotocol.KindSend, subprotocol.KindSubscribe
	for _, tt := range []struct {
		kind        subprotocol.Kind
		destination string
		allowed     bool
	}{
		{send, "/app/say", true},
		{send, "/app/rooms/1/say", true},
		{send, "/app/adm", true},
		{send, "/app/administer", true},
		{send, "/app/x/admin/y", true},
		{send, "/app/mine/private/a/b", true},
		{send, "/app/yours/private/a/b", false},
		{send, "/app/yours/privates/a", true},
		{send, "", true},
		{send, "news", true},
		{subscribe, "news", true},
		{subscribe, "/topic/rooms/1", true},
		{subscribe, "/user/ann/queue", true},
		{subscribe, "/user/bob/queue", false},
		{subscribe, "/user/Ann/queue", false},
		// by default
		{send, "/topic/rooms/1", false},
		{send, "/elsewhere", false},
		{subscribe, "", false},
		{subscribe, "/app/say", false},
		{subscribe, "/topic/rooms", false},
		{subscribe, "/topic/rooms/1/2", false},
		{subscribe, "/topic/", false},
		{subscribe, "/", false},
		// by the rules before the broad one, however it is written
		{send, "/app/admin/x", false},
		{send, "/app/admin", false},
		{send, "/app/audit", false},
		{send, "/app/ADMIN/x", false},
		{send, "/APP/admin/x", false},
		{send, "/app/\u017fay", true}, // a long s is a letter like any other
		{send, "/app/Audit", false},
		{send, "/app/audit/", false},
		{send, "app/admin/x", false},
		{send, "/app//admin/x", false},
		{send, "//app/admin/x", false},
		{send, "/app/./admin/x", false},
		{send, "/app/x/../admin/x", false},
		{send, "/app/x/..", false},
		{send, "/app/..", false},
		{send, "/app/", false},
		{send, "/app/admin//x", false},
		{send, "/app/admin/x/", false},
		{send, "/app\\admin\\x", false},
		{send, "/app/\\admin", false},
		{send, "/app/admin\x00/x", false},
		{send, "/app/admin /x", false},
		{send, "/app/ admin/x", false},
		{send, "/app/\u200badmin/x", false},
		{send, "/app/\u202eadmin/x", false},
		{send, "/app/admin\u00a0/x", false},
		{send, "/app/\xffadmin/x", false},
		{send, "/app/adm\nin/x", false},
		{send, "/app", false},
		{send, "News", false},
		{send, "/news", false},
		// nothing is decoded
		{send, "/app/%61dmin/x", true},
		{send, "/app/x?admin", true},
	} {
		err := ask(rules, tt.kind, tt.destination)
		if tt.allowed {
			require.NoError(t, err, "%v %q", tt.kind, tt.destination)
			continue
		}
		require.Equal(t, &subprotocol.Error{Code: "forbidden", Text: tt.kind.String() + " is not allowed here"}, err,
			"%v %q", tt.kind, tt.destination)
	}
}

// TestAuthorizeWithoutSlash: destinations without one are a world of their own, which no
// pattern for all the others touches.
func TestAuthorizeWithoutSlash(t *testing.T) {
	t.Parallel()
	for _, all := range []string{"/", "/{all...}", "/{a}"} {
		rules := []middleware.Rule{middleware.Deny(all), middleware.Allow("{name}", middleware.Anyone)}
		require.NoError(t, ask(rules, subprotocol.KindSend, "queue.a"), all)
		require.Error(t, ask(rules, subprotocol.KindSend, "/queue.a"), all)
	}
	// But a slash that is left out does not get around a name.
	rules := []middleware.Rule{middleware.Deny("/app/admin/"), middleware.Allow("{area}/{rest...}", middleware.Anyone)}
	require.NoError(t, ask(rules, subprotocol.KindSend, "app/say"))
	require.Error(t, ask(rules, subprotocol.KindSend, "app/admin/x"))
}

// TestAuthorizeAll: a wildcard for the rest that stands alone is about all destinations, as
// it is in a Mux.
func TestAuthorizeAll(t *testing.T) {
	t.Parallel()
	for _, destination := range []string{"news", "/news", "/app/admin/x"} {
		require.Error(t, ask([]middleware.Rule{
			middleware.Deny("SEND {all...}"), middleware.Allow("SEND /", middleware.Anyone), middleware.Allow("SEND news", middleware.Anyone),
		}, subprotocol.KindSend, destination))
		require.NoError(t, ask([]middleware.Rule{
			middleware.Allow("{all...}", func(r handler.Request) bool { return r.PathValue("all") == destination }),
		}, subprotocol.KindSend, destination))
	}
}

// TestAuthorizeMux: what the rules keep away from a route of a Mux does not reach it, and
// the route's own wildcards count there.
func TestAuthorizeMux(t *testing.T) {
	t.Parallel()
	reached := ""
	to := func(name string) handler.Handler {
		return handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
			reached = name + r.PathValue("area") + r.PathValue("rest")
			return nil
		})
	}
	mux := handler.NewMux()
	mux.Use(middleware.Authorize(rules...))
	mux.Route("SEND /app/admin/{rest...}", to("admin "))
	mux.Route("SEND /app/audit", to("audit"))
	mux.Route("SEND /app/mine/private/{rest...}", to("private "))
	mux.Route("SEND /app/yours/private/{rest...}", to("private "))
	mux.Route("SEND /app/", to("app"))
	mux.Route("SEND", to("raw"))
	for destination, want := range map[string]string{
		"/app/say": "app", "": "raw", "/app/mine/private/x/y": "private minex/y",
		"/app/yours/private/x": "", "/app/admin/x": "", "/app/admin": "", "/app/audit": "", "/app//admin/x": "",
		"/app/admin//": "", "/app/x/../admin/x": "", "/APP/admin/x": "", "/app/": "",
	} {
		reached = ""
		_ = mux.Handle(t.Context(), request(&subprotocol.Message{Kind: subprotocol.KindSend, Destination: destination}))
		require.Equal(t, want, reached, destination)
	}
}

// TestAuthorizeOtherKinds: what follows from what was allowed passes, what no client may
// send does not.
func TestAuthorizeOtherKinds(t *testing.T) {
	t.Parallel()
	passes := map[subprotocol.Kind]bool{
		subprotocol.KindConnect: true, subprotocol.KindDisconnect: true, subprotocol.KindHeartbeat: true,
		subprotocol.KindUnsubscribe: true, subprotocol.KindAck: true, subprotocol.KindNack: true,
	}
	for k := subprotocol.Kind(0); k < 30; k++ {
		require.Equal(t, passes[k], ask(nil, k, "/anything//at all") == nil, k)
	}
}

func TestAuthorizePredicates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		auth := middleware.NewAuthenticator(verifier, &middleware.AuthOptions{Anonymous: true})
		s := newStack(t, nothing, handler.WithMiddleware(middleware.Recover, auth.Authenticate, middleware.Authorize(
			middleware.Allow("SEND /anyone", middleware.Anyone),
			middleware.Allow("SEND /user", middleware.SignedIn),
			middleware.Allow("SEND /admin", middleware.Role("root", "admin")),
			middleware.Allow("SEND /panics", func(handler.Request) bool { panic("oops") }),
		)))
		for _, tt := range []struct {
			header [][2]string
			want   []string
		}{
			{nil, []string{"connected", "receipt", "forbidden", "forbidden", "internal", "forbidden"}},
			{[][2]string{{"authorization", "Bearer ann"}},
				[]string{"connected", "receipt", "receipt", "forbidden", "internal", "forbidden"}},
			{[][2]string{{"login", "ann"}, {"passcode", "pw"}},
				[]string{"connected", "receipt", "receipt", "receipt", "internal", "forbidden"}},
		} {
			c := s.dial(tt.header...)
			for _, d := range []string{"/anyone", "/user", "/admin", "/panics"} {
				c.send(`{"type":"send","receipt":"1","destination":"` + d + `"}`)
			}
			c.send(`{"type":"subscribe","receipt":"1","subscription":"s","destination":"/anyone"}`)
			got := c.all()
			require.Equal(t, "s", got[len(got)-1].Subscription, "the client learns which one has failed")
			var codes []string
			for _, f := range got {
				codes = append(codes, strings.TrimPrefix(f.Type+":"+f.Code, "error:"))
			}
			require.Equal(t, tt.want, strings.Split(strings.ReplaceAll(strings.Join(codes, " "), ":", ""), " "))
			c.leave()
		}
	})
}

func TestAuthorizePanics(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"", "SEND ", "GET /x", "ACK /x", "send /x", " /x", "/x y z", "/{}", "/{a", "/a}", "/x{a}", "/{a}x", "/{a}/{a}",
		"CONNECT", "UNSUBSCRIBE", "Send", "subscribe", "/{$}", "SEND /a/{$}", "/{a...}/b", "/{...}", "//", "/a//b", "/../a", "/a/.", "/a\\b", "/{a{b}", "/a\n", "{a b}",
	} {
		require.Panics(t, func() { middleware.Deny(p) }, p)
	}
	require.Panics(t, func() { middleware.Allow("/x", nil) })
	require.Panics(t, func() { middleware.Authorize(middleware.Rule{}) })
}

// FuzzAuthorize: however a destination is written, nobody who reads it leniently finds
// the forbidden corner in one that was let through.
func FuzzAuthorize(f *testing.F) {
	for _, s := range []string{
		"/app/x", "/app/admin/x", "/app//admin", "/app/./admin", "/app/ADMIN", "app/admin", "/app/x/../admin/",
		"/app/\u017fdmin", "/app/adm\u0131n", "/app/admin\x00", "\\app\\admin",
	} {
		f.Add(s)
	}
	rules := []middleware.Rule{middleware.Deny("SEND /app/admin/"), middleware.Allow("SEND /{all...}", middleware.Anyone)}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || ask(rules, subprotocol.KindSend, s) != nil {
			return
		}
		lenient := strings.ToLower(path.Clean("/" + strings.Map(func(c rune) rune {
			switch {
			case c == '\\':
				return '/'
			case c <= ' ':
				return -1
			}
			return c
		}, s)))
		if lenient == "/app/admin" || strings.HasPrefix(lenient, "/app/admin/") {
			if strings.Contains(s, " ") {
				return // a blank inside of a segment is a character like any other
			}
			t.Fatalf("%q was let through", s)
		}
	})
}

// FuzzPattern: a pattern is refused at set-up or used without a panic, and one without
// wildcards matches itself.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"SEND /a/{b}/c", "SUBSCRIBE /a/", "/", "/{x...}", "SEND", "a/b", "/{a}/{b...}", "{}", "SEND /a b"} {
		f.Add(p, "/a/b/c")
	}
	f.Fuzz(func(t *testing.T, p, d string) {
		rule, ok := parse(p)
		if !ok {
			return
		}
		rs := []middleware.Rule{rule}
		_ = ask(rs, subprotocol.KindSend, d)
		_ = ask(rs, subprotocol.KindSubscribe, d)
		_, self, _ := strings.Cut(p, "SEND ")
		if strings.HasPrefix(p, "SEND ") && !strings.ContainsAny(p, "{}") && !strings.HasSuffix(p, "/") && ask(rs, subprotocol.KindSend, self) != nil {
			t.Fatalf("%q does not match itself", p)
		}
	})
}

// FuzzAuthorizeLikeMux: a pattern that a Mux takes too means there what it means in a rule:
// Deny keeps all away that a Mux would route by it, Allow lets nothing else through.
func FuzzAuthorizeLikeMux(f *testing.F) {
	for _, p := range []string{"/a/{b}/c", "/a/", "/", "/{x...}", "{x...}", "{x}", "", "a/b", "/{a}/{b...}", "/a/{$}", "/a b", "/A"} {
		for _, d := range []string{"/a/b/c", "/a/b", "a"} {
			f.Add(p, d)
		}
	}
	f.Fuzz(func(t *testing.T, p, d string) {
		p = strings.TrimSuffix("SEND "+p, " ")
		allow, ok := parse(p)
		if !ok {
			return
		}
		mux := handler.NewMux()
		if func() (panics bool) {
			defer func() { panics = recover() != nil }()
			mux.Route(p, handler.HandlerFunc(nothing))
			return
		}() {
			return
		}
		routes := mux.Handle(t.Context(), request(&subprotocol.Message{Kind: subprotocol.KindSend, Destination: d})) == nil
		all := []middleware.Rule{middleware.Deny(p), middleware.Allow("/", middleware.Anyone), middleware.Allow("{all...}", middleware.Anyone)}
		if routes && ask(all, subprotocol.KindSend, d) == nil {
			t.Fatalf("Deny(%q) lets %q through, which a Mux routes by it", p, d)
		}
		if !routes && ask([]middleware.Rule{allow}, subprotocol.KindSend, d) == nil {
			t.Fatalf("Allow(%q) lets %q through, which a Mux does not route by it", p, d)
		}
	})
}

func parse(p string) (r middleware.Rule, ok bool) {
	defer func() { ok = recover() == nil }()
	return middleware.Allow(p, middleware.Anyone), true
}
