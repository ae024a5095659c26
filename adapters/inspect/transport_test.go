package inspect

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/sockjs"
	"github.com/weftws/weft/transport/transporttest"
)

var kitFeatures = transporttest.Features{
	Boundaries: true, Text: true, Binary: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
	Stall: true, Limit: true, SubProtocols: true, Header: true,
}

// watchAll watches each connection that a accepts, from its beginning.
type watchAll struct{ transport.Acceptor }

func (a watchAll) Accept(h *transport.Handshake) (transport.Admission, error) {
	adm, err := a.Acceptor.Accept(h)
	if err != nil {
		return nil, err
	}
	return watchedAdmission{adm}, nil
}

type watchedAdmission struct{ transport.Admission }

func (a watchedAdmission) Open(c transport.Conn) transport.Receiver {
	w, _ := transport.As[*conn](c)
	w.attach(newWatch(1 << 10))
	w.attach(newWatch(1 << 20))
	return a.Admission.Open(c)
}

// What is wrapped is a transport as good as the one inside, watched or not.
func TestConformance(t *testing.T) {
	t.Parallel()
	cut := func(c transport.Conn) {
		if p, ok := transport.As[*pipe.Conn](c); ok {
			p.Cut()
			return
		}
		inner := c
		for {
			u, ok := inner.(interface{ Unwrap() transport.Conn })
			if !ok {
				break
			}
			inner = u.Unwrap()
		}
		inner.(interface{ Cut() }).Cut()
	}
	overPipe := func(s transporttest.Setup) (*transporttest.Server, error) {
		p := pipe.New(&pipe.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
		b, _ := transport.As[transport.Binder](New(nil).Transport(p))
		b.Bind(s.Acceptor)
		return &transporttest.Server{Dialer: p, URL: "pipe://host/", Cut: cut}, nil
	}
	overHTTP := func(s transporttest.Setup) (*transporttest.Server, error) {
		g := gobwas.New(&gobwas.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
		tr := New(nil).Transport(g)
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, s.Acceptor) }))
		return &transporttest.Server{Dialer: g, URL: "ws" + strings.TrimPrefix(hs.URL, "http") + "/", Stop: hs.Close, Cut: cut}, nil
	}
	bare := func(s transporttest.Setup) (*transporttest.Server, error) {
		g := gobwas.New(&gobwas.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
		ls, _ := transport.As[transport.ListenerServer](New(nil).Transport(g))
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = ls.Serve(ctx, ln, s.Acceptor) }()
		return &transporttest.Server{
			Dialer: g, URL: "ws://" + ln.Addr().String() + "/", Stop: func() { cancel(); <-done }, Cut: cut,
		}, nil
	}
	for name, factory := range map[string]transporttest.Factory{"pipe": overPipe, "http": overHTTP, "bare": bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, factory, kitFeatures)
		})
		if name == "bare" {
			continue // what is watched is the same Conn
		}
		t.Run(name+" watched", func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, func(s transporttest.Setup) (*transporttest.Server, error) {
				s.Acceptor = watchAll{s.Acceptor}
				return factory(s)
			}, kitFeatures)
		})
	}
}

// A wrapped transport looks like the one inside.
func TestOptionalInterfaces(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	for _, tt := range []struct {
		inner         transport.Transport
		serves, binds bool
	}{
		{gobwas.New(nil), true, false},
		{gorilla.New(nil), false, false},
		{pipe.New(nil), false, true},
		{both{gobwas.New(nil), pipe.New(nil)}, true, true},
		{sockjs.New(gobwas.New(nil), nil), false, false},
	} {
		w := ins.Transport(tt.inner)
		require.Equal(t, tt.inner.Name(), w.Name())
		require.Equal(t, tt.inner.Features(), w.Features())
		ls, ok := transport.As[transport.ListenerServer](w)
		require.Equal(t, tt.serves, ok, w.Name())
		if ok {
			require.NotEqual(t, any(tt.inner), ls, "the wrapper's own")
		}
		b, ok := transport.As[transport.Binder](w)
		require.Equal(t, tt.binds, ok, w.Name())
		if ok {
			b.Bind(nil)
			require.NotEqual(t, any(tt.inner), b, "the wrapper's own")
		}
		_, dials := transport.As[transport.Dialer](tt.inner)
		_, ok = transport.As[transport.Dialer](w)
		require.Equal(t, dials, ok)
	}
	require.Panics(t, func() { ins.Transport(nil) })
}

// both serves listeners and is bound.
type both struct {
	*gobwas.Transport
	pipe *pipe.Transport
}

func (b both) Bind(a transport.Acceptor) { b.pipe.Bind(a) }

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}

// The endpoint's list of origins counts for what SockJS answers besides handshakes, and its
// sessions are found by the acceptor again.
func TestSockJS(t *testing.T) {
	t.Parallel()
	e := handler.NewEndpoint(New(nil).Transport(sockjs.New(nil, &sockjs.Options{CloseTimeout: time.Millisecond})), handler.HandlerFunc(echo),
		handler.WithSubProtocols(raw.New(nil)), handler.WithOrigins("good.example"))
	t.Cleanup(func() { require.NoError(t, e.Shutdown(context.Background())) })
	ask := func(method, path, origin, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, 200, ask("GET", "/info", "https://good.example", "").Code)
	require.Equal(t, 403, ask("GET", "/info", "https://evil.example", "").Code)

	w := ask("POST", "/0/a/xhr", "https://good.example", "")
	require.Equal(t, "o\n", w.Body.String())
	for s := range e.Sessions().All() {
		_, ok := transport.As[*conn](s.Conn())
		require.True(t, ok)
	}
	require.Equal(t, 204, ask("POST", "/0/a/xhr_send", "https://good.example", `["hi"]`).Code)
	require.Equal(t, "a[\"hi\"]\n", ask("POST", "/0/a/xhr", "https://good.example", "").Body.String())
}

// talker is a client over a pipe that waits for each answer.
type talker struct {
	c       transport.Conn
	batch   [1]transport.Message
	answers chan struct{}
}

func dial(tb testing.TB, p *pipe.Transport) *talker {
	k := &talker{answers: make(chan struct{}, 1)}
	c, err := p.Dial(context.Background(), "pipe://h/", nil, func(transport.Conn) transport.Receiver { return k })
	require.NoError(tb, err)
	k.c = c
	return k
}

func (k *talker) Receive(transport.Message) { k.answers <- struct{}{} }
func (k *talker) Writable()                 {}
func (k *talker) Closed(error)              {}

func (k *talker) say(data []byte) {
	k.batch[0] = transport.Message{Type: transport.MessageText, Data: data}
	_, _ = k.c.Write(k.batch[:])
	<-k.answers
}

// stack is an endpoint that echoes, over a pipe.
func stack(tb testing.TB, ins *Inspector, opts ...handler.Option) (*pipe.Transport, *handler.Endpoint) {
	p := pipe.New(nil)
	var t transport.Transport = p
	if ins != nil {
		t = ins.Transport(p)
	}
	e := handler.NewEndpoint(t, handler.HandlerFunc(echo), append([]handler.Option{handler.WithSubProtocols(raw.New(nil))}, opts...)...)
	tb.Cleanup(func() { require.NoError(tb, e.Shutdown(context.Background())) })
	return p, e
}

// Nobody pays for what nobody watches, but by an atomic load.
func TestUnwatchedDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, ins := range []*Inspector{nil, New(nil)} {
		p, _ := stack(t, ins)
		k := dial(t, p)
		data := []byte("hello")
		k.say(data)
		require.Zero(t, testing.AllocsPerRun(1000, func() { k.say(data) }))
	}
}

// BenchmarkCost is an echo through a whole endpoint over a pipe: both directions of a
// message, of which the adapter sees each. The pipe costs less than any socket, so that the
// share of the adapter is never larger than here. "copied" is what a watched session does
// itself: it copies both frames. With "watched" a viewer takes them, masks them and sends them to a
// page that reads, beside the echo on the same processors.
func BenchmarkCost(b *testing.B) {
	data := []byte(`{"type":"send","destination":"/app/rooms/blue/say","header":[["authorization","Bearer x"]],"body":{"text":"hello"}}`)
	for _, name := range []string{"without", "unwatched", "copied", "watched"} {
		b.Run(name, func(b *testing.B) {
			var ins *Inspector
			if name != "without" {
				ins = New(nil)
			}
			p, e := stack(b, ins)
			k := dial(b, p)
			k.say(data)
			s := only(b, e)
			switch name {
			case "copied":
				c, _ := transport.As[*conn](s.Conn())
				c.attach(newWatch(64 << 10))
			case "watched":
				ins.Add("e", e)
				lines := open(b, ins, serve(b, ins), "frames?endpoint=e&id="+s.ID())
				defer lines.close()
				go lines.drain()
			}
			b.ReportAllocs()
			for b.Loop() {
				k.say(data)
			}
		})
	}
}
