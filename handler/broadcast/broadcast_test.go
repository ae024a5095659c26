package broadcast

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an endpoint with JSON envelopes over a pipe.
type server struct {
	t    testing.TB
	pipe *pipe.Transport
	ep   *handler.Endpoint
}

func serve(t testing.TB, h handler.Handler, opts ...handler.Option) *server {
	p := pipe.New(nil)
	opts = append([]handler.Option{handler.WithSubProtocols(envelope.NewJSON(nil)), handler.WithHeartbeat(0, 0)}, opts...)
	return &server{t, p, handler.NewEndpoint(p, h, opts...)}
}

// client records what it gets.
type client struct {
	t    testing.TB
	conn transport.Conn
	gone chan struct{}

	mu   sync.Mutex
	more sync.Cond
	got  []string
}

func (s *server) dial() *client {
	c := &client{t: s.t, gone: make(chan struct{})}
	c.more.L = &c.mu
	conn, err := s.pipe.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return c })
	if err != nil {
		s.t.Error(err)
		return nil
	}
	c.conn = conn
	return c
}

func (c *client) Receive(m transport.Message) {
	c.mu.Lock()
	c.got = append(c.got, string(m.Data))
	c.mu.Unlock()
	c.more.Broadcast()
}

func (c *client) Writable() {}

func (c *client) Closed(error) { close(c.gone) }

// say sends frames, with ' for ".
func (c *client) say(frames ...string) {
	for _, f := range frames {
		n, err := c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(strings.ReplaceAll(f, "'", `"`))}})
		if n != 1 || err != nil {
			c.t.Errorf("%s: %d %v", f, n, err)
		}
	}
}

// wait returns what has come up to a frame with that text, and forgets it.
func (c *client) wait(text string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for i, f := range c.got {
			if strings.Contains(f, text) {
				got := c.got[:i+1]
				c.got = append([]string(nil), c.got[i+1:]...)
				return got
			}
		}
		c.more.Wait()
	}
}

// all returns what has come until nothing moves any more, and forgets it. It needs a
// synctest bubble.
func (c *client) all() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

func (c *client) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

func (b *Broadcaster) requireEmpty(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.topics)
	require.Empty(t, b.members)
	require.Zero(t, b.count)
}

func message(body string) *subprotocol.Message { return &subprotocol.Message{Body: []byte(body)} }

func TestPublish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		ann, bob := s.dial(), s.dial()
		for _, c := range []*client{ann, bob} {
			c.say(`{'type':'connect'}`)
			c.wait("connected")
		}
		ann.say(`{'type':'subscribe','subscription':'1','destination':'/a','receipt':'r'}`,
			`{'type':'subscribe','subscription':'2','destination':'/a'}`,
			`{'type':'subscribe','subscription':'3','destination':'/b'}`)
		require.Equal(t, []string{`{"type":"receipt","receipt":"r"}`}, ann.all())
		bob.say(`{'type':'subscribe','subscription':'1','destination':'/a'}`,
			`{'type':'send','destination':'/a','header':[['k','v']],'contentType':'application/json','body':{'x':1}}`)
		deliver := func(sub string) string {
			return `{"type":"deliver","subscription":"` + sub +
				`","destination":"/a","contentType":"application/json","header":[["k","v"]],"body":{"x":1}}`
		}
		require.ElementsMatch(t, []string{deliver("1"), deliver("2")}, ann.all())
		require.Equal(t, []string{deliver("1")}, bob.all())

		ctx := t.Context()
		require.NoError(t, b.Publish(ctx, "/b", &subprotocol.Message{Destination: "/elsewhere", Body: []byte("2")}))
		require.NoError(t, b.Publish(ctx, "/nobody", message("3")))
		require.NoError(t, b.Publish(ctx, "/b/", message("4")))
		require.Equal(t, []string{`{"type":"deliver","subscription":"3","destination":"/b","body":2}`}, ann.all())
		require.Empty(t, bob.all())

		ann.say(`{'type':'unsubscribe','subscription':'1','receipt':'r'}`)
		ann.wait(`"receipt":"r"`)
		require.NoError(t, b.Publish(ctx, "/a", message("5")))
		require.Equal(t, []string{`{"type":"deliver","subscription":"2","destination":"/a","body":5}`}, ann.all())
		require.Len(t, bob.all(), 1)

		ann.leave()
		synctest.Wait()
		require.Len(t, b.members, 1)
		require.Len(t, b.topics, 1)
		require.NoError(t, b.Publish(ctx, "/a", message("6")))
		require.Len(t, bob.all(), 1)
		bob.say(`{'type':'unsubscribe','subscription':'1'}`)
		synctest.Wait()
		b.requireEmpty(t)
		bob.leave()
	})
}

func TestPublishToUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindConnect {
				r.Session.SetUser(r.Message.Header.Get("user"))
			}
			return b.Handle(ctx, r)
		}))
		var cs []*client
		for _, user := range []string{"ann", "ann", "bob", ""} {
			c := s.dial()
			c.say(`{'type':'connect','header':[['user','`+user+`']]}`, `{'type':'subscribe','subscription':'1','destination':'/queue'}`)
			c.wait("connected")
			cs = append(cs, c)
		}
		synctest.Wait()
		require.NoError(t, b.PublishToUser(t.Context(), "ann", "/queue", message("1")))
		require.NoError(t, b.PublishToUser(t.Context(), "eve", "/queue", message("2")))
		require.NoError(t, b.PublishToUser(t.Context(), "ann", "/other", message("3")))
		require.Error(t, b.PublishToUser(t.Context(), "", "/queue", message("4")))
		for i, n := range []int{1, 1, 0, 0} {
			require.Len(t, cs[i].all(), n, i)
			cs[i].leave()
		}
	})
}

func TestTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Message.Destination == "/fail" {
				return errors.New("failed")
			}
			return b.Handle(ctx, r)
		}))
		c := s.dial()
		c.say(`{'type':'connect'}`, `{'type':'subscribe','subscription':'1','destination':'/a'}`,
			`{'type':'begin','transaction':'t'}`, `{'type':'send','transaction':'t','destination':'/a','body':1}`)
		require.Len(t, c.all(), 1, "the connected alone")
		c.say(`{'type':'commit','transaction':'t'}`)
		require.Equal(t, []string{`{"type":"deliver","subscription":"1","destination":"/a","body":1}`}, c.all())
		c.say(`{'type':'begin','transaction':'t'}`, `{'type':'send','transaction':'t','destination':'/a','body':2}`,
			`{'type':'send','transaction':'t','destination':'/fail'}`, `{'type':'commit','transaction':'t'}`)
		require.NotContains(t, strings.Join(c.all(), "\n"), "deliver")
		c.leave()
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxDestinations: 2, MaxSubscriptions: 3})
		s := serve(t, b)
		a := s.dial()
		a.say(`{'type':'connect'}`)
		a.wait("connected")
		synctest.Wait()
		var session *handler.Session
		for x := range s.ep.Sessions().All() {
			session = x
		}
		handle := func(kind subprotocol.Kind, id, destination string, mode subprotocol.AckMode) string {
			err := b.Handle(t.Context(), handler.Request{Session: session, Message: &subprotocol.Message{
				Kind: kind, Subscription: id, Destination: destination, AckMode: mode,
			}})
			if err == nil {
				return ""
			}
			e, ok := errors.AsType[*subprotocol.Error](err)
			require.True(t, ok, "%v", err)
			require.False(t, e.Fatal)
			require.NotEmpty(t, e.Text)
			return e.Code
		}
		long := strings.Repeat("x", maxDestination)
		sub, unsub := subprotocol.KindSubscribe, subprotocol.KindUnsubscribe
		for i, tt := range []struct {
			kind            subprotocol.Kind
			id, destination string
			mode            subprotocol.AckMode
			want            string
		}{
			{sub, "1", "", 0, "bad-destination"},
			{sub, "1", long + "x", 0, "bad-destination"},
			{sub, "1", long, subprotocol.AckClient, "no-acks"},
			{sub, "1", long, subprotocol.AckClientIndividual, "no-acks"},
			{sub, "1", long, 0, ""},
			{sub, "1", "/b", 0, "subscription-exists"},
			{sub, "2", "/b", 0, ""},
			{sub, "3", "/c", 0, "too-many-destinations"},
			{sub, "3", "/b", 0, ""},
			{sub, "4", "/b", 0, "too-many-subscriptions"},
			{unsub, "4", "/b", 0, "no-subscription"},
			{unsub, "1", "", 0, ""},
			{unsub, "1", "", 0, "no-subscription"},
			{sub, "1", "/c", 0, ""},
			{subprotocol.KindSend, "", "", 0, "bad-destination"},
			{subprotocol.KindSend, "", long + "x", 0, "bad-destination"},
			{subprotocol.KindSend, "", "/c", 0, ""},
			{subprotocol.KindAck, "1", "/c", 0, ""},
			{subprotocol.KindNack, "1", "/c", 0, ""},
			{subprotocol.KindConnect, "", "", 0, ""},
			{subprotocol.KindDisconnect, "", "", 0, ""},
		} {
			require.Equal(t, tt.want, handle(tt.kind, tt.id, tt.destination, tt.mode), i)
		}
		require.Len(t, a.all(), 1)
		require.Error(t, b.Publish(t.Context(), "", message("1")))
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
		// A session that is over leaves nothing behind either.
		require.NoError(t, b.Subscribe(session, "1", "/a"))
		synctest.Wait()
		b.requireEmpty(t)
	})
	require.PanicsWithValue(t, "broadcast: Options has a negative limit", func() { New(&Options{MaxSubscriptions: -1}) })
}

// TestUnsubscribeInAnyOrder: who ends a subscription ends that one alone.
func TestUnsubscribeInAnyOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const ids = "abcd"
		b := New(nil)
		s, c := session(t, b)
		for _, order := range []string{"abcd", "dcba", "adbc", "bdac", "cabd"} {
			left := ids
			for _, id := range strings.Split(ids, "") {
				require.NoError(t, b.Subscribe(s, id, "/a"))
			}
			for _, id := range strings.Split(order, "") {
				require.NoError(t, b.Unsubscribe(s, id))
				left = strings.ReplaceAll(left, id, "")
				require.NoError(t, b.Publish(t.Context(), "/a", message("1")))
				var want []string
				for _, id := range strings.Split(left, "") {
					want = append(want, `{"type":"deliver","subscription":"`+id+`","destination":"/a","body":1}`)
				}
				require.ElementsMatch(t, want, c.all(), "%s without %s", order, left)
			}
		}
		// A session that ends while it subscribes does not get into the topic.
		sub, err := b.register(s, "1", "/a")
		require.NoError(t, err)
		b.forget(s)
		sub.begin()
		require.Empty(t, sub.topic.subscriptions)
		b.requireEmpty(t)
		c.leave()
	})
}

// TestRaw: the server subscribes sessions that can't do it themselves.
func TestRaw(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		p := pipe.New(nil)
		s := &server{t, p, handler.NewEndpoint(p, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			switch r.Message.Kind {
			case subprotocol.KindConnect:
				return b.Subscribe(r.Session, "chat", "/chat")
			case subprotocol.KindSend:
				return b.Publish(ctx, "/chat", r.Message)
			}
			return nil
		}), handler.WithSubProtocols(raw.New(nil)))}
		c, d := s.dial(), s.dial()
		c.say("hello")
		require.Equal(t, []string{"hello"}, c.all())
		require.Equal(t, []string{"hello"}, d.all())
		c.leave()
		d.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestOrder: all subscribers of a destination see its messages in one order, and from
// its receipt on a subscriber misses none.
func TestOrder(t *testing.T) {
	t.Parallel()
	const publishers, each, early, late = 4, 200, 5, 5
	b := New(nil)
	slowly := func(next handler.Sender) handler.Sender {
		return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
			runtime.Gosched()
			return next.Send(o)
		})
	}
	s := serve(t, b, handler.WithQueue(handler.Limits{Messages: 1 << 20, Bytes: 1 << 30}), handler.WithOutbound(slowly))
	join := func() *client {
		c := s.dial()
		c.say(`{'type':'connect'}`, `{'type':'subscribe','subscription':'1','destination':'/a','receipt':'r'}`)
		c.wait(`"receipt":"r"`)
		return c
	}
	var cs []*client
	for range early {
		cs = append(cs, join())
	}
	var wg sync.WaitGroup
	half := make(chan struct{})
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if p == 0 && i == each/2 {
					close(half)
				}
				if err := b.Publish(context.Background(), "/a", message(fmt.Sprint(p*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	<-half
	for i := range late {
		c := join()
		require.NoError(t, b.Publish(context.Background(), "/a", message(fmt.Sprintf(`"after %d"`, i))))
		cs = append(cs, c)
	}
	wg.Wait()
	require.NoError(t, b.Publish(context.Background(), "/a", message(`"end"`)))
	all := cs[0].wait(`"end"`)
	require.Len(t, all, publishers*each+late+1)
	for i, c := range cs[1:] {
		got := c.wait(`"end"`)
		require.Equal(t, all[len(all)-len(got):], got, i)
		if n := i + 1 - early; n >= 0 {
			require.Contains(t, strings.Join(got, "\n"), fmt.Sprintf("after %d", n))
		}
	}
	for _, c := range cs {
		c.leave()
	}
	require.NoError(t, s.ep.Shutdown(context.Background()))
}

// TestSessionsComeAndGo has sessions subscribe, publish, unsubscribe and break off at once,
// while the server publishes.
func TestSessionsComeAndGo(t *testing.T) {
	t.Parallel()
	const workers, rounds = 8, 60
	b := New(nil)
	s := serve(t, b)
	done := make(chan struct{})
	var publisher, wg sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if err := b.Publish(context.Background(), fmt.Sprint("/", i%7), message("1")); err != nil {
				t.Error(err)
			}
			runtime.Gosched()
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				c := s.dial()
				if c == nil {
					return
				}
				c.say(`{'type':'connect'}`)
				for n := range 5 {
					c.say(fmt.Sprintf(`{'type':'subscribe','subscription':'%d','destination':'/%d'}`, n, (w+i+n)%7))
				}
				c.say(`{'type':'unsubscribe','subscription':'2'}`, fmt.Sprintf(`{'type':'send','destination':'/%d','body':2}`, w%7))
				if i%2 == 0 {
					c.say(`{'type':'send','destination':'/x','body':2,'receipt':'r'}`)
					c.wait(`"receipt":"r"`)
				}
				c.leave()
			}
		})
	}
	wg.Wait()
	close(done)
	publisher.Wait()
	require.NoError(t, s.ep.Shutdown(context.Background()))
	// What AfterFunc runs may still be on its way.
	for {
		b.mu.RLock()
		left := b.count
		b.mu.RUnlock()
		if left == 0 {
			break
		}
		runtime.Gosched()
	}
	b.requireEmpty(t)
}

// counting counts what its framers encode for all receivers.
type counting struct {
	*envelope.SubProtocol
	tails *atomic.Int64
}

func (p counting) NewFramer(name string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	f := p.SubProtocol.NewFramer(name, cfg)
	return countingFramer{f, f.(subprotocol.Former), f.(subprotocol.Splitter), p.tails}
}

type countingFramer struct {
	subprotocol.Framer
	subprotocol.Former
	subprotocol.Splitter
	tails *atomic.Int64
}

func (f countingFramer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	f.tails.Add(1)
	return f.Splitter.AppendTail(dst, m)
}

// TestEncodesOnce: however many receive a message, it is encoded once.
func TestEncodesOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		p := pipe.New(nil)
		tails := new(atomic.Int64)
		s := &server{t, p, handler.NewEndpoint(p, b, handler.WithSubProtocols(counting{envelope.NewJSON(nil), tails}))}
		var cs []*client
		for i := range 50 {
			c := s.dial()
			c.say(`{'type':'connect'}`, fmt.Sprintf(`{'type':'subscribe','subscription':'%d','destination':'/a'}`, i))
			c.all()
			cs = append(cs, c)
		}
		for n := range 2 {
			require.NoError(t, b.Publish(t.Context(), "/a", message("1")))
			for _, c := range cs {
				require.Len(t, c.all(), 1)
			}
			require.EqualValues(t, n+1, tails.Load())
		}
		for _, c := range cs {
			c.leave()
		}
	})
}
