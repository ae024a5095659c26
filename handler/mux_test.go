package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
)

// marks is a Handler that says its name in the error it returns.
type marks string

func (h marks) Handle(_ context.Context, r Request) error { return handled(h) }

type handled string

func (h handled) Error() string { return string(h) }

// message makes a message of "KIND destination".
func message(text string) *subprotocol.Message {
	word, destination, _ := strings.Cut(text, " ")
	kind, ok := kindNamed(word)
	if !ok {
		panic(word)
	}
	return &subprotocol.Message{Kind: kind, Destination: destination}
}

// by returns who handled a message: a mark, "" for nobody and without an error, or
// the code of an error.
func by(t *testing.T, h Handler, m *subprotocol.Message) string {
	t.Helper()
	err := h.Handle(t.Context(), Request{Message: m})
	if err == nil {
		return ""
	}
	if mark, ok := errors.AsType[handled](err); ok {
		return string(mark)
	}
	e, ok := errors.AsType[*subprotocol.Error](err)
	require.True(t, ok, "%v", err)
	require.False(t, e.Fatal)
	return e.Code
}

func newMarked(patterns ...string) *Mux {
	m := NewMux()
	for _, p := range patterns {
		m.Route(p, marks(p))
	}
	return m
}

func TestMuxRoutes(t *testing.T) {
	t.Parallel()
	m := newMarked("SEND /app/rooms/{room}/say", "SEND /app/rooms/lobby/say", "SEND /app/", "SEND", "SUBSCRIBE /topic/",
		"SUBSCRIBE /topic/news", "ACK /topic/", "/topic/{$}", "/both", "SEND /both", "SEND topic.a", "SEND /files/{dir}/{path...}",
		"SEND /e//x", "/app/any/only", "UNSUBSCRIBE /un/{all...}")
	for in, want := range map[string]string{
		"SEND /app/rooms/1/say":     "SEND /app/rooms/{room}/say",
		"SEND /app/rooms/lobby/say": "SEND /app/rooms/lobby/say",
		"SEND /app/rooms//say":      "SEND /app/",
		"SEND /app/rooms/1/say/":    "SEND /app/",
		"SEND /app/":                "SEND /app/",
		"SEND /app":                 "not-found",
		"SEND /app/any/only":        "/app/any/only",
		"SEND app/":                 "not-found",
		"SEND ":                     "SEND",
		"SEND":                      "SEND",
		"SEND /":                    "not-found",
		"SUBSCRIBE":                 "not-allowed",
		"SEND topic.a":              "SEND topic.a",
		"SEND topic":                "not-found",
		"SEND /e//x":                "SEND /e//x",
		"SEND /e/x":                 "not-found",
		"SEND /files/a/b/c":         "SEND /files/{dir}/{path...}",
		"SEND /files/a/":            "SEND /files/{dir}/{path...}",
		"SEND /files/a":             "not-found",
		"SEND /files//a":            "not-found",
		"SEND /topic/x":             "not-allowed",
		"SEND /topic/%6eews":        "not-allowed",
		"SEND /topic/../both":       "not-allowed",
		"SUBSCRIBE /topic/x":        "SUBSCRIBE /topic/",
		"SUBSCRIBE /topic/news":     "SUBSCRIBE /topic/news",
		"SUBSCRIBE /topic/news/":    "SUBSCRIBE /topic/",
		"SUBSCRIBE /topic/":         "/topic/{$}",
		"SUBSCRIBE /app/x":          "not-allowed",
		"NACK /topic/x":             "SUBSCRIBE /topic/",
		"ACK /topic/x":              "ACK /topic/",
		"ACK /topic/news":           "SUBSCRIBE /topic/news",
		"ACK /app/any/only":         "/app/any/only",
		"UNSUBSCRIBE /topic/x":      "SUBSCRIBE /topic/",
		"UNSUBSCRIBE /un/x":         "UNSUBSCRIBE /un/{all...}",
		"UNSUBSCRIBE":               "not-allowed",
		"SUBSCRIBE /both":           "/both",
		"SEND /both":                "SEND /both",
		"CONNECT":                   "",
		"DISCONNECT":                "",
		"BEGIN /both":               "not-allowed",
		"BEGIN":                     "not-allowed",
	} {
		require.Equal(t, want, by(t, m, message(in)), in)
	}
	m.Route("CONNECT", marks("in"))
	m.Route("DISCONNECT", marks("out"))
	require.Equal(t, "in", by(t, m, message("CONNECT")))
	require.Equal(t, "out", by(t, m, message("DISCONNECT")))
}

func TestMuxPathValues(t *testing.T) {
	t.Parallel()
	var got string
	show := HandlerFunc(func(_ context.Context, r Request) error {
		got = fmt.Sprintf("a=%s b=%s rest=%s", r.PathValue("a"), r.PathValue("b"), r.PathValue("rest"))
		return nil
	})
	m := NewMux()
	m.Route("SEND /x/{a}/{b}", show)
	m.Route("SEND /x/{a}/y/{rest...}", show)
	m.Route("SEND {rest...}", show)
	sub := NewMux()
	sub.Route("SEND /{b}/{rest...}", show)
	m.Mount("/sub/{a}/", sub)
	for in, want := range map[string]string{
		"SEND /x/1/2":         "a=1 b=2 rest=",
		"SEND /x/1/%2f":       "a=1 b=%2f rest=",
		"SEND /x/1/y/":        "a=1 b= rest=",
		"SEND /x/1/y/2//3/":   "a=1 b= rest=2//3/",
		"SEND /z/ü":           "a= b= rest=/z/ü",
		"SEND":                "a= b= rest=",
		"SEND /sub/1/2/3/4/5": "a=1 b=2 rest=3/4/5",
	} {
		got = ""
		require.Empty(t, by(t, m, message(in)))
		require.Equal(t, want, got, in)
	}
}

func TestMuxRefusals(t *testing.T) {
	t.Parallel()
	m := newMarked("SUBSCRIBE /topic/")
	for in, want := range map[string]*subprotocol.Error{
		"SEND /x":                  {Code: "not-found", Text: `nothing here handles SEND to "/x"`},
		"SEND":                     {Code: "not-found", Text: "nothing here handles SEND without a destination"},
		"SEND /topic/x":            {Code: "not-allowed", Text: `"/topic/x" does not take SEND`},
		"SEND /\x00\r\n\xff\u202e": {Code: "not-found", Text: `nothing here handles SEND to "/\x00\r\n\xff\u202e"`},
		"SEND /" + strings.Repeat("x", 1<<20): {
			Code: "not-found", Text: `nothing here handles SEND to "/` + strings.Repeat("x", 63) + `"`,
		},
	} {
		require.Equal(t, want, m.Handle(t.Context(), Request{Message: message(in)}), in[:min(20, len(in))])
	}
	long := "/topic/" + strings.Repeat("x", 1<<20)
	require.Equal(t, &subprotocol.Error{Code: "not-allowed", Text: `"` + long[:64] + `" does not take SEND`},
		m.Handle(t.Context(), Request{Message: message("SEND " + long)}))
	m.NotFound(marks("nobody"))
	require.Equal(t, "nobody", by(t, m, message("SEND /x")))
	require.Equal(t, "nobody", by(t, m, message("SEND /topic/x")))
	require.Equal(t, "SUBSCRIBE /topic/", by(t, m, message("SUBSCRIBE /topic/x")))
	require.Empty(t, by(t, m, message("CONNECT")))
}

func TestMuxConflicts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ first, second, both string }{
		{"SEND /a/{x}", "SEND /{y}/b", `SEND "/a/b"`},
		{"SEND /a/{x}", "SEND /a/{y}", `SEND "/a/y"`},
		{"SEND /a", "SEND /a", `SEND "/a"`},
		{"SEND /a/", "SEND /a/{x...}", `SEND "/a/x"`},
		{"SEND", "SEND {$}", `SEND ""`},
		{"/a/{x}", "SEND /{y}/b", `SEND "/a/b"`},
		{"/a", "/a", `SEND "/a"`},
		{"SUBSCRIBE /a/{x}", "NACK /{y}/b", `NACK "/a/b"`},
		{"SEND /a/", "SEND /{x}/{y}/c", `SEND "/a/y/c"`},
		{"SEND /a/", "SEND /{x}/b/c/d", `SEND "/a/b/c/d"`},
		{"SEND /a/", "SEND /{x}//b", `SEND "/a//b"`},
	} {
		for range 2 {
			m := newMarked(tt.first)
			want := fmt.Sprintf("handler: patterns %q and %q conflict: both match %s and neither is more specific",
				tt.second, tt.first, tt.both)
			require.PanicsWithValue(t, want, func() { m.Route(tt.second, marks("x")) })
			require.Len(t, m.patterns, 1, "a pattern that was refused has left traces")
			tt.first, tt.second = tt.second, tt.first
			if strings.Contains(tt.both, "y") {
				break // the names in the example depend on the order
			}
		}
	}
	// None of these conflict, in either order.
	patterns := []string{"SEND /a/{x}", "SEND /a/b", "SEND /a/", "/a/{x}", "/a/", "/", "SUBSCRIBE /a/{x}", "ACK /a/{x}", "{all...}", "/c/{x}/d",
		"/c/{x}/e", "/c/b/{$}", "SEND", "ACK {$}"}
	newMarked(patterns...)
	for i, j := 0, len(patterns)-1; i < j; i, j = i+1, j-1 {
		patterns[i], patterns[j] = patterns[j], patterns[i]
	}
	m := newMarked(patterns...)
	require.Equal(t, "SEND /a/{x}", by(t, m, message("SEND /a/1")))
	require.Equal(t, "ACK /a/{x}", by(t, m, message("ACK /a/1")))
	require.Equal(t, "SUBSCRIBE /a/{x}", by(t, m, message("NACK /a/1")))
	require.Equal(t, "/a/", by(t, m, message("NACK /a/1/2")))
}

func TestMuxMisuse(t *testing.T) {
	t.Parallel()
	nop := func(h Handler) Handler { return h }
	typed := Do(func(context.Context, Request, None) error { return nil })
	mounted := func() *Mux { sub := NewMux(); NewMux().Mount("/x/", sub); return sub }
	self := NewMux()
	below := NewMux()
	self.Mount("/x/", below)
	for want, f := range map[string]func(){
		`handler: pattern "": it is empty`:                                        func() { NewMux().Route("", marks("x")) },
		`handler: pattern "SEND" without a handler`:                               func() { NewMux().Route("SEND", nil) },
		`handler: pattern "CONNECT" stands twice`:                                 func() { newMarked("CONNECT", "CONNECT") },
		`handler: pattern "ACK /x": typed handlers are for SEND and SUBSCRIBE`:    func() { NewMux().Route("ACK /x", typed) },
		`handler: pattern "CONNECT": typed handlers are for SEND and SUBSCRIBE`:   func() { NewMux().Route("CONNECT", typed) },
		`handler: Mux.Use comes before Route, Mount and NotFound`:                 func() { newMarked("SEND").Use(nop) },
		`handler: NotFound without a handler`:                                     func() { NewMux().NotFound(nil) },
		`handler: prefix "/x" is not a destination with a slash at its end`:       func() { NewMux().Mount("/x", NewMux()) },
		`handler: prefix "SEND /x/" is not a destination with a slash at its end`: func() { NewMux().Mount("SEND /x/", NewMux()) },
		`handler: prefix "/{x...}" is not a destination with a slash at its end`:  func() { NewMux().Mount("/{x...}", NewMux()) },
		`handler: prefix "/{/": "{" is not a whole segment in braces`:             func() { NewMux().Mount("/{/", NewMux()) },
		`handler: prefix "/x/": a Mux is mounted once`:                            func() { NewMux().Mount("/x/", mounted()) },
		`handler: prefix "/y/": a Mux is mounted once`:                            func() { NewMux().Mount("/y/", nil) },
		`handler: prefix "/x/": a Mux is mounted below itself`:                    func() { below.Mount("/x/", self) },
		`handler: pattern "CONNECT": a Mux that is mounted gets no CONNECT`:       func() { NewMux().Mount("/x/", newMarked("CONNECT")) },
		`handler: pattern "DISCONNECT": a Mux that is mounted gets no DISCONNECT`: func() { mounted().Route("DISCONNECT", marks("x")) },
		`handler: pattern "SEND": in a Mux that is mounted a destination begins with a slash`: func() {
			NewMux().Mount("/x/", newMarked("SEND"))
		},
		`handler: pattern "x/": in a Mux that is mounted a destination begins with a slash`: func() {
			mounted().Mount("x/", NewMux())
		},
	} {
		require.PanicsWithValue(t, want, f)
	}
	m := NewMux()
	m.Use(func(Handler) Handler { return nil })
	require.PanicsWithValue(t, "handler: a middleware returned no handler", func() { by(t, m, message("SEND")) })
}

// tracing adds its name to the trace that all of a test share.
func tracing(trace *[]string, name string) func(Handler) Handler {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, r Request) error {
			*trace = append(*trace, name)
			return next.Handle(ctx, r)
		})
	}
}

func TestMuxMiddleware(t *testing.T) {
	t.Parallel()
	var trace []string
	m := NewMux()
	m.Use(tracing(&trace, "a"), tracing(&trace, "b"))
	m.Use(tracing(&trace, "c"))
	m.Route("SEND /x", marks("x"))
	sub := NewMux()
	sub.Use(tracing(&trace, "s"))
	m.Mount("/app/admin/", sub)
	sub.Route("SEND /kick", marks("kick"))
	sub.Route("SUBSCRIBE /{all...}", marks("all"))
	deep := NewMux()
	deep.Use(tracing(&trace, "d"))
	deep.Route("SEND /y/{$}", marks("y"))
	deep.Route("SEND {all...}", marks("rest"))
	sub.Mount("/deep/{x}/", deep)
	for _, tt := range []struct{ in, who, trace string }{
		{"SEND /x", "x", "a b c"},
		{"SEND /y", "not-found", "a b c"},
		{"CONNECT", "", "a b c"},
		{"DISCONNECT", "", "a b c"},
		{"SEND /app/admin/kick", "kick", "a b c s"},
		{"SUBSCRIBE /app/admin/kick", "all", "a b c s"},
		{"UNSUBSCRIBE /app/admin/", "all", "a b c s"},
		{"SEND /app/admin/other", "not-allowed", "a b c s"},
		{"SEND /app/admin", "not-found", "a b c"},
		{"SEND /app/admin//kick", "not-allowed", "a b c s"},
		{"SEND /app/admin/deep/1/y/", "y", "a b c s d"},
		{"SEND /app/admin/deep/1/", "rest", "a b c s d"},
		{"NACK /app/admin/deep/1/y", "not-allowed", "a b c s d"},
	} {
		trace = nil
		require.Equal(t, tt.who, by(t, m, message(tt.in)), tt.in)
		require.Equal(t, tt.trace, strings.Join(trace, " "), tt.in)
	}
	m.NotFound(marks("outer"))
	require.Equal(t, "outer", by(t, m, message("SEND /app/admin/other")))
	require.Equal(t, "outer", by(t, m, message("NACK /app/admin/deep/1/y")))
	sub.NotFound(marks("inner"))
	require.Equal(t, "inner", by(t, m, message("SEND /app/admin/other")))
	require.Equal(t, "inner", by(t, m, message("NACK /app/admin/deep/1/y")))
	require.Equal(t, "outer", by(t, m, message("SEND /y")))
}

// TestMuxMountsInAnyOrder: what a Mux skips does not depend on when it was mounted.
func TestMuxMountsInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, prefixes := range [][3]string{{"/a/", "/b/", "/c/"}, {"a/", "/", "/{x}/"}, {"{x}/y/", "/b//", "/c/"}, {"/", "/", "/"}} {
		whole := strings.TrimSuffix(prefixes[0], "/") + strings.TrimSuffix(prefixes[1], "/") + strings.TrimSuffix(prefixes[2], "/") + "/end"
		whole = strings.ReplaceAll(whole, "{x}", "value")
		for order := range 6 {
			ms := [4]*Mux{NewMux(), NewMux(), NewMux(), NewMux()}
			ms[3].Route("SEND /end", marks("end"))
			for _, i := range [6][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}[order] {
				ms[i].Mount(prefixes[i], ms[i+1])
			}
			require.Equal(t, "end", by(t, ms[0], message("SEND "+whole)), "%v %d %s", prefixes, order, whole)
		}
	}
}

// TestMuxChangedDestination: middleware may send a message elsewhere.
func TestMuxChangedDestination(t *testing.T) {
	t.Parallel()
	to := ""
	m, sub := NewMux(), newMarked("SEND /x")
	inner := NewMux()
	inner.Use(func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, r Request) error {
			r.Message.Destination = to
			return next.Handle(ctx, r)
		})
	})
	inner.Route("SEND /x", marks("inner"))
	m.Mount("/a/b/", inner)
	m.Mount("/c/", sub)
	for destination, want := range map[string]string{
		"/a/b/x": "inner", "/q/q/x": "inner", "/x": "not-found", "": "not-found", "/a/b": "not-found",
	} {
		to = destination
		require.Equal(t, want, by(t, m, message("SEND /a/b/c")), destination)
	}
}

func TestMuxAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	m := NewMux()
	accept := HandlerFunc(func(context.Context, Request) error { return nil })
	for i := range 100 {
		m.Route(fmt.Sprintf("SEND /app/%d/{a}/{b}/{c...}", i), accept)
	}
	sub := NewMux()
	sub.Route("SEND /{d}/x", accept)
	m.Mount("/sub/{c}/", sub)
	for _, destination := range []string{"/app/7/one/two/three/four", "/sub/1/2/x"} {
		msg := &subprotocol.Message{}
		ctx := t.Context()
		n := testing.AllocsPerRun(1000, func() {
			msg.Reset()
			msg.Kind, msg.Destination = subprotocol.KindSend, destination
			if err := m.Handle(ctx, Request{Message: msg}); err != nil {
				t.Error(err)
			}
		})
		if !raceEnabled {
			require.Zero(t, n, destination)
		}
	}
}

func BenchmarkMux(b *testing.B) {
	for _, n := range []int{10, 1000} {
		m := NewMux()
		accept := HandlerFunc(func(context.Context, Request) error { return nil })
		for i := range n / 2 {
			m.Route(fmt.Sprintf("SEND /app/rooms%d/{room}/say", i), accept)
			m.Route(fmt.Sprintf("SUBSCRIBE /topic/%d/", i), accept)
		}
		for name, text := range map[string]string{
			"wildcard": "SEND /app/rooms3/lobby/say", "prefix": "SUBSCRIBE /topic/4/news/today",
			"long": "SUBSCRIBE /topic/4/" + strings.Repeat("x/", 2048),
		} {
			b.Run(fmt.Sprintf("patterns=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				msg, sample, ctx := new(subprotocol.Message), message(text), context.Background()
				for b.Loop() {
					msg.Reset()
					msg.Kind, msg.Destination = sample.Kind, sample.Destination
					if err := m.Handle(ctx, Request{Message: msg}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestMuxAtOnce: the first messages may come on many goroutines.
func TestMuxAtOnce(t *testing.T) {
	t.Parallel()
	built, handled := 0, new(atomic.Int64)
	m := NewMux()
	m.Use(func(next Handler) Handler {
		built++
		return next
	})
	m.Route("SEND /{x}", HandlerFunc(func(_ context.Context, r Request) error {
		if r.PathValue("x") == r.Message.Destination[1:] {
			handled.Add(1)
		}
		return nil
	}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := m.Handle(context.Background(), Request{Message: message(fmt.Sprint("SEND /", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, built)
	require.EqualValues(t, 8, handled.Load())
}
