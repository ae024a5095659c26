package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
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
	all := []handler.Option{handler.WithSubProtocols(envelope.NewJSON(nil)), handler.WithHeartbeat(0, 0)}
	return &server{t, p, handler.NewEndpoint(p, h, append(all, opts...)...)}
}

// named has each Connect with a header login set the user of its session, and passes all else on.
func named(next handler.Handler) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindConnect {
			r.Session.SetUser(r.Message.Header.Get("login"))
			return nil
		}
		return next.Handle(ctx, r)
	})
}

// client records what it gets.
type client struct {
	t         testing.TB
	conn      transport.Conn
	gone      chan struct{}
	overflows bool // its session may be ended because too much is queued for it

	mu    sync.Mutex
	more  sync.Cond
	got   []string
	over  bool
	cause error // why it is over
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

// join opens a session of that user, or without one.
func (s *server) join(user string) *client {
	c := s.dial()
	c.say(`{'type':'connect','header':[['login','` + user + `']]}`)
	c.wait("connected")
	return c
}

func (c *client) Receive(m transport.Message) {
	c.mu.Lock()
	c.got = append(c.got, string(m.Data))
	c.mu.Unlock()
	c.more.Broadcast()
}

func (c *client) Writable() {}

func (c *client) Closed(err error) {
	c.mu.Lock()
	c.over, c.cause = true, err
	c.mu.Unlock()
	c.more.Broadcast()
	close(c.gone)
}

// lost fails because the connection is over, unless that is as it may be.
func (c *client) lost(what string) {
	if !c.overflows || transport.CloseStatus(c.cause) != transport.StatusPolicyViolation {
		c.t.Fatalf("%s: the connection is over: %v", what, c.cause)
	}
}

// say sends frames, with ' for ".
func (c *client) say(frames ...string) {
	for _, f := range frames {
		n, err := c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(strings.ReplaceAll(f, "'", `"`))}})
		switch {
		case errors.Is(err, net.ErrClosed):
			<-c.gone
			c.lost(f)
		case n != 1 || err != nil:
			c.t.Errorf("%s: %d %v", f, n, err)
		}
	}
}

// wait returns what has come up to a frame with that text, and forgets it. It fails if the
// connection ends before.
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
		if c.over {
			c.lost(text)
			return nil
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

// frame is what a test looks at in what a client gets.
type frame struct {
	Type, Subscription, ID, Destination, Receipt, Code string

	Header [][2]string
	Body   json.RawMessage
}

func parse(t testing.TB, text string) frame {
	var f frame
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return f
}

func (f *frame) header(name string) string {
	for _, h := range f.Header {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// frames is all, parsed.
func (c *client) frames() []frame {
	var fs []frame
	for _, text := range c.all() {
		fs = append(fs, parse(c.t, text))
	}
	return fs
}

// bodies is the bodies of the deliveries among all.
func (c *client) bodies() string {
	var bodies []string
	for _, f := range c.frames() {
		if f.Type == "deliver" {
			bodies = append(bodies, string(f.Body))
		}
	}
	return strings.Join(bodies, " ")
}

// codes is the codes of the errors among all.
func (c *client) codes() string {
	var codes []string
	for _, f := range c.frames() {
		if f.Type == "error" {
			codes = append(codes, f.Code)
		}
	}
	return strings.Join(codes, " ")
}

// subscribe has a subscription begin, and keeps what came before its receipt.
func (c *client) subscribe(id, destination, mode string, header ...string) {
	var fields []string
	for i := 0; i < len(header); i += 2 {
		fields = append(fields, `['`+header[i]+`','`+header[i+1]+`']`)
	}
	c.say(`{'type':'subscribe','subscription':'` + id + `','destination':'` + destination + `','ack':'` + mode +
		`','receipt':'sub-` + id + `','header':[` + strings.Join(fields, ",") + `]}`)
	before := c.wait(`"sub-` + id + `"`)
	c.mu.Lock()
	c.got = append(before[:len(before)-1:len(before)-1], c.got...)
	c.mu.Unlock()
}

func (c *client) send(destination string, bodies ...string) {
	for _, b := range bodies {
		c.say(`{'type':'send','destination':'` + destination + `','body':` + b + `}`)
	}
}

// settle has ACKs or NACKs sent.
func (c *client) settle(kind, subscription string, ids ...string) {
	for _, id := range ids {
		c.say(`{'type':'` + kind + `','subscription':'` + subscription + `','id':'` + id + `'}`)
	}
}

func (c *client) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
}

// cut breaks the connection.
func (c *client) cut() {
	p, ok := transport.As[*pipe.Conn](c.conn)
	if !ok {
		c.t.Fatal("this is no pipe")
	}
	p.Cut()
	<-c.gone
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

func body(text string) *subprotocol.Message { return &subprotocol.Message{Body: []byte(text)} }

// requireEmpty checks that b holds nothing.
func (b *Broker) requireEmpty(t testing.TB) {
	t.Helper()
	require.Zero(t, b.members.len())
	require.Zero(t, b.topics.len())
	require.Zero(t, b.users.len())
	require.Zero(t, b.queues.len())
	require.Zero(t, b.patterns.trie.len())
	require.Zero(t, b.subscriptions.Load())
	require.Zero(t, b.destinations.Load())
	require.Zero(t, b.queueBytes.Load())
	require.Zero(t, b.backlogBytes.Load())
	require.Zero(t, b.details.Load())
	require.Zero(t, b.patterns.n.Load())
	require.Zero(t, b.retained.count.Load())
	require.Zero(t, b.retained.bytes.Load())
	require.Empty(t, b.retained.topics)
	b.alarms.mu.Lock()
	defer b.alarms.mu.Unlock()
	require.Empty(t, b.alarms.waiting)
}
