package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

type say struct {
	Text string `json:"text"`
	From struct {
		Age int `json:"age"`
	} `json:"from"`
}

type said struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

func saying(_ context.Context, r Request, in say) (said, error) {
	return said{r.PathValue("room"), in.Text}, nil
}

// valued validates by its value, pointed by its pointer.
type (
	valued  struct{ N int }
	pointed struct{ N int }
)

func (v valued) Validate() error {
	switch v.N {
	case 1:
		return errors.New("n must not be 1")
	case 2:
		return fmt.Errorf("wrapped: %w", &subprotocol.Error{Code: "two", Text: "no twos"})
	}
	return nil
}

func (p *pointed) Validate() error { return valued{p.N}.Validate() }

// places records what is published.
type places struct {
	got []string
	err error
	ctx context.Context // of the latest
}

func (p *places) Publish(ctx context.Context, destination string, m *subprotocol.Message) error {
	p.ctx = ctx
	if err := ctx.Err(); err != nil {
		return err
	}
	p.got = append(p.got, fmt.Sprintf("%s %s %s", destination, m.ContentType, m.Body))
	return p.err
}

func (p *places) PublishToUser(ctx context.Context, user, destination string, m *subprotocol.Message) error {
	return p.Publish(ctx, user+" at "+destination, m)
}

// typedSession opens a session of the full protocol with both codecs, JSON first.
func typedSession(t *testing.T, h Handler, opts ...Option) (*Session, func(lines ...string) []string) {
	t.Helper()
	opts = append([]Option{WithCodecs(jsoncodec.New(nil), msgpackcodec.New(nil))}, opts...)
	s, say, _ := talk(t, h.Handle, opts...)
	require.Equal(t, []string{"CONNECTED"}, say("CONNECT"))
	return s, say
}

func TestFuncReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := NewMux()
		m.Route("SEND /rooms/{room}", Func(saying))
		m.Route("SUBSCRIBE /rooms/{room}", Func(func(_ context.Context, r Request, _ None) (said, error) {
			return said{r.PathValue("room"), ""}, nil
		}))
		m.Route("SEND /bytes", Func(func(_ context.Context, _ Request, in []byte) ([]byte, error) { return in[1:], nil }))
		m.Route("SEND /string", Func(func(_ context.Context, _ Request, in string) (string, error) { return in + in, nil }))
		m.Route("SEND /nil", Func(func(context.Context, Request, None) (*said, error) { return nil, nil }))
		m.Route("SEND /none", Func(func(context.Context, Request, None) (None, error) { return None{}, nil }))
		m.Route("SEND /do", Do(func(_ context.Context, _ Request, in say) error { return errors.New(in.Text) }))
		m.Route("SEND /fail", Func(func(context.Context, Request, None) (int, error) {
			return 1, &subprotocol.Error{Code: "full", Text: "x"}
		}))
		m.Route("SEND /unencodable", Func(func(context.Context, Request, None) (func(), error) { return func() {}, nil }))
		_, say := typedSession(t, m)
		for _, tt := range []struct{ in, want string }{
			{`SEND d=/rooms/blue r=1|{"text":"hi"}`, `REPLY r=1|{"room":"blue","text":"hi"}`},
			{`SEND d=/rooms/blue|{"text":"hi"}`, ``},
			{`SUBSCRIBE d=/rooms/blue s=7`, `REPLY s=7|{"room":"blue","text":""}`},
			{`SUBSCRIBE d=/rooms/red s=8 r=2`, `REPLY s=8 r=2|{"room":"red","text":""}`},
			{`UNSUBSCRIBE s=8 r=3`, `RECEIPT r=3`},
			{`ACK s=7 i=1 r=4`, `RECEIPT r=4`},
			{`SEND d=/bytes r=5|xyz`, `REPLY r=5|yz`},
			{`SEND d=/string r=6|xyz`, `REPLY r=6|xyzxyz`},
			{`SEND d=/nil r=7`, `REPLY r=7|null`},
			{`SEND d=/none r=8`, `RECEIPT r=8`},
			{`SEND d=/do r=9|{"text":"secret"}`, `ERROR r=9 internal`},
			{`SEND d=/fail r=10`, `ERROR r=10 full`},
			{`SEND d=/unencodable r=11`, `ERROR r=11 internal`},
			{`SEND d=/rooms/blue r=12|{"text":1}`, `ERROR r=12 bad-body`},
		} {
			require.Equal(t, tt.want, strings.Join(say(tt.in), "\n"), tt.in)
		}
	})
}

// TestFuncRefusals: what is wrong with a body is said without anything about the
// program.
func TestFuncRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := typedSession(t, HandlerFunc(nothing))
		ctx := t.Context()
		handle := func(h Handler, contentType, body string) error {
			return h.Handle(ctx, Request{Session: s, Message: &subprotocol.Message{
				Kind: subprotocol.KindSend, ContentType: contentType, Body: []byte(body),
			}})
		}
		calls := 0
		do := func() Handler { return Do(func(context.Context, Request, say) error { calls++; return nil }) }
		value := Do(func(context.Context, Request, valued) error { calls++; return nil })
		pointer := Do(func(context.Context, Request, *pointed) error { calls++; return nil })
		own := Do(func(context.Context, Request, pointed) error { calls++; return nil })
		for _, tt := range []struct {
			h                 Handler
			contentType, body string
			code, text        string
		}{
			{do(), "text/plain", `{}`, "unsupported-content-type",
				`the content type "text/plain" is not supported, but application/json, application/msgpack`},
			{do(), strings.Repeat("\n", 1000), `{}`, "", ""}, // blanks name no type
			{do(), "\x00" + strings.Repeat("x", 1000), `{}`, "unsupported-content-type",
				`the content type "\x00` + strings.Repeat("x", 63) + `" is not supported, but application/json, application/msgpack`},
			{do(), "", `{`, "bad-body", "the body can't be read as application/json"},
			{do(), "", ``, "bad-body", "the body can't be read as application/json"},
			{do(), "application/json; charset=utf-8", `[]`, "bad-body", "the body can't be read as application/json"},
			{do(), "", `{"text":1}`, "bad-body", `the field "text" of the body has a value of the wrong type`},
			{do(), "", `{"from":{"age":1e999}}`, "bad-body", `the field "from.age" of the body has a value of the wrong type`},
			{do(), "application/msgpack", `{}`, "bad-body", "the body can't be read as application/msgpack"},
			{do(), "Application/JSON", `{}`, "", ""},
			{value, "", `{"N":1}`, "invalid", "n must not be 1"},
			{value, "", `{"N":2}`, "two", "no twos"},
			{value, "", `{"N":3}`, "", ""},
			{own, "", `{"N":1}`, "invalid", "n must not be 1"},
			{own, "", `{"N":3}`, "", ""},
			{pointer, "", `{"N":1}`, "invalid", "n must not be 1"},
			{pointer, "", `{"N":3}`, "", ""},
			{pointer, "", `null`, "bad-body", "the body has no value"},
		} {
			calls = 0
			err := handle(tt.h, tt.contentType, tt.body)
			if tt.code == "" {
				require.NoError(t, err, tt.body)
				require.Equal(t, 1, calls, tt.body)
				continue
			}
			require.Zero(t, calls, tt.body)
			e, ok := errors.AsType[*subprotocol.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, subprotocol.Error{Code: tt.code, Text: tt.text}, *e)
			require.NotContains(t, e.Text, "say")
		}
		// The cause is there for logs.
		err := handle(do(), "", `{"text":1}`)
		_, ok := errors.AsType[*json.UnmarshalTypeError](err)
		require.True(t, ok, "%v", err)
	})
}

func TestFuncWithoutCodec(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told error
		m := NewMux()
		m.Route("SEND /in", Do(func(context.Context, Request, say) error { return nil }))
		m.Route("SEND /out", Func(func(context.Context, Request, None) (said, error) { return said{}, nil }))
		_, say, _ := talk(t, m.Handle, WithHooks(Hooks{HandlerError: func(_ *Session, _ *subprotocol.Message, err error) { told = err }}))
		say("CONNECT")
		for _, line := range []string{"SEND d=/in r=1", "SEND d=/out r=1"} {
			told = nil
			require.Equal(t, []string{"ERROR r=1 internal"}, say(line))
			require.EqualError(t, told, "handler: a typed handler needs a codec: see WithCodecs")
		}
	})
}

// TestFuncWithoutReplies: where a reply could belong to no subscription, only a
// SUBSCRIBE is answered.
func TestFuncWithoutReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := fullFeatures()
		f.Replies = false
		e := NewEndpoint(fakeTransport{}, Func(saying), WithCodecs(jsoncodec.New(nil)), WithSubProtocols(plainProtocol{f}))
		c := &fakeConn{room: -1}
		_, r := open(t, e, c)
		r.Receive(textMessage("CONNECT\nSEND d=/x r=1|{}\nSUBSCRIBE d=/x s=1|{}"))
		require.Equal(t, []string{"CONNECTED", "RECEIPT r=1", `REPLY d=/x s=1|{"room":"","text":""}`}, c.messages())
		r.Closed(nil)
	})
}

// TestFuncOnRaw: where nothing can be asked for, every result is sent.
func TestFuncOnRaw(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := NewMux()
		m.Route("SEND", Func(saying))
		e := newFake(t, m.Handle, WithCodecs(jsoncodec.New(nil)))
		c := &fakeConn{room: -1}
		var types []transport.MessageType
		c.onWrite = func(b []transport.Message) { types = append(types, b[0].Type) }
		_, r := open(t, e, c)
		r.Receive(transport.Message{Type: transport.MessageText, Data: []byte(`{"text":"a"}`)})
		r.Receive(transport.Message{Type: transport.MessageBinary, Data: []byte(`{"text":"b"}`)})
		r.Receive(transport.Message{Type: transport.MessageBinary, Data: []byte(`bad`)})
		require.Equal(t, []string{`{"room":"","text":"a"}`, `{"room":"","text":"b"}`}, c.messages())
		require.Equal(t, []transport.MessageType{transport.MessageText, transport.MessageBinary}, types)
		r.Closed(nil)
	})
}

func TestFuncSendsElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := new(places)
		m := NewMux()
		m.Route("SEND /to/{room}", Func(saying, WithSendTo(p, "/topic/{room}/x"), WithSendTo(p, "/all")))
		m.Route("SEND /me", Func(saying, WithSendToUser(p, "", "/queue/me")))
		m.Route("SEND /user/{who}/{q}", Func(saying, WithSendToUser(p, "{who}", "/queue/{q}"), WithReply()))
		m.Route("SEND /missing", Func(saying, WithSendTo(p, "/all"), WithSendTo(p, "/{room}"), WithReply()))
		m.Route("SEND /nobody", Func(saying, WithSendToUser(p, "{who}", "/all")))
		m.Route("SUBSCRIBE /text", Func(func(context.Context, Request, None) (string, error) { return "hi", nil },
			WithSendTo(p, "/all"), WithReply()))
		m.Route("SEND /bytes", Func(func(_ context.Context, _ Request, in []byte) ([]byte, error) { return in, nil },
			WithSendTo(p, "/all")))
		s, say := typedSession(t, m)
		do := func(line string) []string {
			p.got = nil
			return say(line)
		}
		require.Equal(t, []string{"RECEIPT r=1"}, do(`SEND d=/to/a r=1|{"text":"hi"}`))
		require.Equal(t, []string{
			`/topic/a/x application/json {"room":"a","text":"hi"}`, `/all application/json {"room":"a","text":"hi"}`,
		}, p.got)

		require.Equal(t, []string{"ERROR r=2 no-user"}, do(`SEND d=/me r=2|{}`))
		require.Empty(t, p.got)
		s.SetUser("ann")
		require.Equal(t, []string{"RECEIPT r=3"}, do(`SEND d=/me r=3|{}`))
		require.Equal(t, []string{`ann at /queue/me application/json {"room":"","text":""}`}, p.got)

		require.Equal(t, []string{`REPLY r=4|{"room":"","text":""}`}, do(`SEND d=/user/bob/q1 r=4|{}`))
		require.Equal(t, []string{`bob at /queue/q1 application/json {"room":"","text":""}`}, p.got)
		require.Empty(t, do(`SEND d=/user/bob/q1|{}`))

		for _, d := range []string{"/missing", "/nobody"} {
			require.Equal(t, []string{"ERROR r=5 internal"}, do(`SEND r=5 d=`+d+`|{}`))
			require.Empty(t, p.got, "nothing may be sent if a destination is not known")
		}
		require.Equal(t, []string{"REPLY s=1|hi"}, do("SUBSCRIBE d=/text s=1"))
		require.Equal(t, []string{"/all text/plain hi"}, p.got)

		do("SEND d=/bytes|x")
		require.Equal(t, []string{"/all  x"}, p.got, "something of an earlier result is left")

		p.err = errors.New("secret")
		require.Equal(t, []string{"ERROR r=6 internal"}, do(`SEND d=/user/bob/q1 r=6|{}`))
		p.err = &subprotocol.Error{Code: "full", Text: "x"}
		require.Equal(t, []string{"ERROR r=7 full"}, do(`SEND d=/to/a r=7|{}`))
		require.Len(t, p.got, 1)
	})
}

// TestFuncInTransaction: what a part publishes follows at the commit, or never.
func TestFuncInTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type name struct{}
		p := new(places)
		m := NewMux()
		m.Use(func(next Handler) Handler {
			return HandlerFunc(func(ctx context.Context, r Request) error {
				ctx, cancel := context.WithCancel(context.WithValue(ctx, name{}, r.Message.Destination))
				defer cancel() // which must not reach what is done at the commit
				return next.Handle(ctx, r)
			})
		})
		m.Route("SEND /to/{room}", Func(saying, WithSendTo(p, "/topic/{room}"), WithReply()))
		m.Route("SEND /plain/{room}", Func(saying, WithSendTo(p, "/topic/{room}")))
		m.Route("SEND /missing", Func(saying, WithSendTo(p, "/{room}")))
		s, say := typedSession(t, m)
		require.Empty(t, say("BEGIN t=1", `SEND t=1 d=/to/a r=1|{"text":"1"}`, `SEND t=1 d=/plain/b|{"text":"2"}`))
		require.Empty(t, p.got)
		require.Equal(t, []string{`REPLY r=1|{"room":"a","text":"1"}`, "RECEIPT r=2"}, say("COMMIT t=1 r=2"))
		require.Equal(t, []string{
			`/topic/a application/json {"room":"a","text":"1"}`, `/topic/b application/json {"room":"b","text":"2"}`,
		}, p.got)
		require.Equal(t, "/plain/b", p.ctx.Value(name{}))
		require.NoError(t, context.Cause(p.ctx))
		last, cancel := context.WithCancel(p.ctx)
		defer cancel()

		p.got = nil
		got := say("BEGIN t=1", `SEND t=1 d=/to/a r=1|{}`, `SEND t=1 d=/missing r=2|{}`, "COMMIT t=1 r=3")
		require.Contains(t, got, "ERROR r=2 internal")
		require.NotContains(t, strings.Join(got, "\n"), "REPLY")
		require.Empty(t, p.got)

		p.err = errors.New("secret")
		require.Equal(t, []string{"ERROR r=4 transaction-incomplete"}, say("BEGIN t=1", `SEND t=1 d=/plain/a|{}`, "COMMIT t=1 r=4"))
		require.NoError(t, last.Err())
		(*receiver)(s).Closed(nil)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(last), net.ErrClosed)
	})
}

func TestFuncMisuse(t *testing.T) {
	t.Parallel()
	p := new(places)
	for want, f := range map[string]func(){
		"handler: Func without a function":                                              func() { Func[None, None](nil) },
		"handler: Do without a function":                                                func() { Do[None](nil) },
		"handler: WithSendTo without a Publisher":                                       func() { WithSendTo(nil, "/x") },
		"handler: WithSendToUser without a UserPublisher":                               func() { WithSendToUser(nil, "", "/x") },
		`handler: WithSendTo: "" is malformed: {name} stands for a path value`:          func() { WithSendTo(p, "") },
		`handler: WithSendTo: "/{x" is malformed: {name} stands for a path value`:       func() { WithSendTo(p, "/{x") },
		`handler: WithSendTo: "/x}" is malformed: {name} stands for a path value`:       func() { WithSendTo(p, "/x}") },
		`handler: WithSendTo: "/{}" is malformed: {name} stands for a path value`:       func() { WithSendTo(p, "/{}") },
		`handler: WithSendTo: "/{a...}" is malformed: {name} stands for a path value`:   func() { WithSendTo(p, "/{a...}") },
		`handler: WithSendToUser: "{{a}}" is malformed: {name} stands for a path value`: func() { WithSendToUser(p, "{{a}}", "/x") },
		"handler: Func without a result, and an option that says where to send it": func() {
			Func(func(context.Context, Request, None) (None, error) { return None{}, nil }, WithSendTo(p, "/x"))
		},
	} {
		require.PanicsWithValue(t, want, f)
	}
}

// typedCases are typed handlers and what each message costs them in allocations.
func typedCases() []struct {
	name, body string
	h          Handler
	allocs     float64
} {
	type point struct{ X, Y int }
	nowhere := publisherFunc(func() {})
	return []struct {
		name, body string
		h          Handler
		allocs     float64
	}{
		{"none", "", Do(func(context.Context, Request, None) error { return nil }), 0},
		{"bytes", "hello", Func(func(_ context.Context, _ Request, in []byte) ([]byte, error) { return in, nil }), 0},
		{"string", "hello", Func(func(_ context.Context, _ Request, in string) (string, error) { return in, nil }), 1},
		// The value, and what encoding/json takes for itself.
		{"json in", `{"X":1,"Y":2}`, Do(func(context.Context, Request, point) error { return nil }), 5},
		{"json out", "", Func(func(context.Context, Request, None) (point, error) { return point{1, 2}, nil }), 1},
		{"send to", "hello", Func(func(_ context.Context, _ Request, in []byte) ([]byte, error) { return in, nil },
			WithSendTo(nowhere, "/topic/x")), 0},
		{"send to path", "hello", Func(func(_ context.Context, _ Request, in []byte) ([]byte, error) { return in, nil },
			WithSendTo(nowhere, "/topic/{room}")), 1},
	}
}

type publisherFunc func()

func (f publisherFunc) Publish(context.Context, string, *subprotocol.Message) error {
	f()
	return nil
}

func TestTypedAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	e := newFake(t, nothing, WithCodecs(jsoncodec.New(nil)))
	s, r := open(t, e, &fakeConn{room: -1, discard: true})
	for _, tt := range typedCases() {
		m := &subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte(tt.body)}
		m.SetPathValue("room", "blue")
		ctx := t.Context()
		n := testing.AllocsPerRun(1000, func() {
			if err := tt.h.Handle(ctx, Request{Session: s, Message: m}); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %v allocations", tt.name, n)
		if !raceEnabled {
			require.LessOrEqual(t, n, tt.allocs, tt.name)
		}
	}
	r.Closed(nil)
}

func BenchmarkTyped(b *testing.B) {
	e := newFake(b, nothing, WithCodecs(jsoncodec.New(nil)))
	s, r := open(b, e, &fakeConn{room: -1, discard: true})
	for _, tt := range typedCases() {
		b.Run(strings.ReplaceAll(tt.name, " ", "-"), func(b *testing.B) {
			m := &subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte(tt.body)}
			m.SetPathValue("room", "blue")
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if err := tt.h.Handle(ctx, Request{Session: s, Message: m}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	r.Closed(nil)
}
