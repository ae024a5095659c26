package brokertest

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// client is one session of a rule. Its methods are called by one goroutine at a time, and
// end that with fatalf when something is not as it must be.
type client struct {
	k      *kit
	name   string
	conn   transport.Conn
	framer subprotocol.Framer
	room   chan struct{} // has room for one: Writable came
	gone   chan struct{} // closed at the end

	count int // of receipts and subscriptions
	marks *sub
	hand  func(*subprotocol.Message) // nil, or gets the deliveries, which are not kept then

	// Guarded by kit.mu.
	full    chan struct{} // nil, or Receive waits for it or for the end of the rule
	session string        // its ID, "" before Connected
	answers map[string]*subprotocol.Message
	subs    map[string]*sub
	strayed string // an Error that answers nothing
	cause   error  // why the connection is over
}

// sub is one subscription of a client.
type sub struct {
	*client
	id          string
	destination string
	mode        subprotocol.AckMode

	// Guarded by kit.mu.
	got   []*subprotocol.Message
	read  int    // how many of got the rule has seen
	last  string // the receipt of its UNSUBSCRIBE
	ended bool   // that has come
}

// dial opens a session of a user, "" for nobody.
func (k *kit) dial(user string) *client {
	c := &client{
		k: k, room: make(chan struct{}, 1), gone: make(chan struct{}),
		framer:  envelope.NewJSON(nil).NewFramer(envelope.JSON, subprotocol.FramerConfig{Client: true}),
		answers: make(map[string]*subprotocol.Message), subs: make(map[string]*sub),
	}
	ctx, cancel := k.context()
	defer cancel()
	conn, err := k.pipe.Dial(ctx, "pipe://localhost/?"+user, &transport.DialConfig{
		SubProtocols: []string{envelope.JSON},
	}, func(conn transport.Conn) transport.Receiver {
		c.conn = conn
		return (*receiver)(c)
	})
	if err != nil {
		k.fatalf("the handshake failed: %v", err)
	}
	c.conn = conn
	k.locked(func() {
		k.clients = append(k.clients, c)
		c.name = fmt.Sprintf("session %d", len(k.clients))
	})
	c.write(&subprotocol.Message{Kind: subprotocol.KindConnect})
	c.wait("Connected", func() bool { return c.session != "" })
	return c
}

// wait waits for something that must come.
func (c *client) wait(what string, cond func() bool) {
	over := false
	ok := c.k.wait(func() bool {
		if cond() {
			return true
		}
		over = c.cause != nil
		return over
	})
	if !ok || over {
		c.lost(what)
	}
}

// lost fails because something has not come.
func (c *client) lost(what string) {
	c.k.mu.Lock()
	cause, strayed := c.cause, ""
	for _, o := range c.k.clients {
		strayed += o.strayed
	}
	c.k.mu.Unlock()
	if cause != nil {
		c.k.fatalf("%s: %s has not come, the connection is over: %v%s", c.name, what, cause, strayed)
	}
	c.k.fatalf("%s: %s has not come%s", c.name, what, strayed)
}

// write sends m.
func (c *client) write(m *subprotocol.Message) {
	b, typ, err := c.framer.Append(nil, m)
	if err != nil {
		panic(err) // a rule says what can't be said
	}
	one := []transport.Message{{Type: typ, Data: b}}
	for {
		n, err := c.conn.Write(one)
		if n == 1 {
			return
		}
		if err != nil {
			c.lost("room to send")
		}
		select {
		case <-c.room:
		case <-c.gone:
		case <-c.k.over:
			runtime.Goexit()
		}
	}
}

// request sends m with a receipt and returns the answer: nil, or the Error.
func (c *client) request(m *subprotocol.Message) *subprotocol.Error {
	receipt := c.next("r")
	m.Receipt = receipt
	c.write(m)
	var answer *subprotocol.Message
	c.wait("the answer to a "+m.Kind.String(), func() bool {
		answer = c.answers[receipt]
		return answer != nil
	})
	if answer.Kind == subprotocol.KindError {
		return answer.Error
	}
	return nil
}

// must is request of what may not be refused.
func (c *client) must(m *subprotocol.Message) {
	if e := c.request(m); e != nil {
		c.k.fatalf("%s: the %v of %q was refused: %v", c.name, m.Kind, cmp.Or(m.Destination, m.ID, m.Transaction, m.Subscription), e)
	}
}

// next is a name that this client has not used.
func (c *client) next(prefix string) string {
	c.count++
	return prefix + strconv.Itoa(c.count)
}

// An extra is what a rule adds to a message.
type extra func(m *subprotocol.Message)

func header(name, value string) extra {
	return func(m *subprotocol.Message) { m.Header.Add(name, value) }
}

func inTransaction(name string) extra {
	return func(m *subprotocol.Message) { m.Transaction = name }
}

// with makes the subscription one of that mode, with room for many.
func with(mode subprotocol.AckMode) extra { return window(mode, 100) }

// window bounds the deliveries that are not settled.
func window(mode subprotocol.AckMode, n int) extra {
	return func(m *subprotocol.Message) {
		m.AckMode = mode
		m.Header.Add("prefetch-count", strconv.Itoa(n))
	}
}

// message makes a Send.
func message(destination, body string, extras []extra) *subprotocol.Message {
	m := &subprotocol.Message{
		Kind: subprotocol.KindSend, Destination: destination, ContentType: "text/plain", Body: []byte(body),
	}
	for _, x := range extras {
		x(m)
	}
	return m
}

// send sends, and waits for the receipt.
func (c *client) send(destination, body string, extras ...extra) {
	c.must(message(destination, body, extras))
}

// post sends, and does not wait.
func (c *client) post(destination, body string, extras ...extra) {
	c.write(message(destination, body, extras))
}

// transaction sends a Begin, Commit or Abort.
func (c *client) transaction(kind subprotocol.Kind, name string) {
	c.must(&subprotocol.Message{Kind: kind, Transaction: name})
}

// subscribe subscribes, and waits for the receipt.
func (c *client) subscribe(destination string, extras ...extra) *sub {
	s, e := c.trySubscribe(destination, extras...)
	if e != nil {
		c.k.fatalf("%s: the SUBSCRIBE of %q was refused: %v", c.name, destination, e)
	}
	return s
}

func (c *client) trySubscribe(destination string, extras ...extra) (*sub, *subprotocol.Error) {
	s := &sub{client: c, id: c.next("s"), destination: destination}
	m := &subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: s.id, Destination: destination}
	for _, x := range extras {
		x(m)
	}
	s.mode = m.AckMode
	c.k.locked(func() { c.subs[s.id] = s })
	return s, c.request(m)
}

// unsubscribe ends the subscription, and waits for the receipt.
func (s *sub) unsubscribe() {
	m := &subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: s.id}
	s.k.locked(func() { s.last = "r" + strconv.Itoa(s.count+1) }) // the one that request takes
	s.must(m)
}

// settled is an Ack or a Nack of a delivery.
func (s *sub) settled(kind subprotocol.Kind, id string, extras ...extra) *subprotocol.Message {
	m := &subprotocol.Message{Kind: kind, Subscription: s.id, ID: id}
	for _, x := range extras {
		x(m)
	}
	return m
}

func (s *sub) ack(m *subprotocol.Message)  { s.must(s.settled(subprotocol.KindAck, m.ID)) }
func (s *sub) nack(m *subprotocol.Message) { s.must(s.settled(subprotocol.KindNack, m.ID)) }

// take waits for n more deliveries.
func (s *sub) take(n int) []*subprotocol.Message {
	var got []*subprotocol.Message
	s.wait(fmt.Sprintf("delivery %d of %s", n, s.destination), func() bool {
		if len(s.got)-s.read < n {
			return false
		}
		got = s.got[s.read : s.read+n]
		return true
	})
	s.k.locked(func() { s.read += n })
	return got
}

// expect waits for deliveries of exactly these bodies, in this order.
func (s *sub) expect(bodies ...string) []*subprotocol.Message {
	var got []*subprotocol.Message
	enough := s.k.wait(func() bool {
		got = s.got[s.read:min(len(s.got), s.read+len(bodies))]
		return len(got) == len(bodies) || s.cause != nil
	})
	if have := said(got); !slices.Equal(have, bodies) {
		why := ""
		if !enough {
			why = ", and nothing more came"
		}
		s.k.fatalf("%s: on %s came %q, not %q%s", s.name, s.destination, have, bodies, why)
	}
	s.k.locked(func() { s.read += len(bodies) })
	return got
}

// quiet shows that nothing more has come: whatever was sent to this session before
// comes before the marks.
func (s *sub) quiet() {
	s.round()
	s.k.mu.Lock()
	more := s.got[s.read:]
	s.k.mu.Unlock()
	if len(more) > 0 {
		s.k.fatalf("%s: on %s came %q, which must not come", s.name, s.destination, said(more))
	}
}

// round sends marks to the client itself, one after the other.
func (c *client) round() {
	if c.marks == nil {
		c.marks = c.subscribe(c.k.topic("marks-" + strings.ReplaceAll(c.name, " ", "-")))
	}
	for range 3 {
		c.send(c.marks.destination, "mark")
		c.marks.expect("mark")
	}
}

// drop breaks the connection, and waits until the broker has handled that.
func (c *client) drop() {
	p, ok := transport.As[*pipe.Conn](c.conn)
	if !ok {
		panic("brokertest: the carrier is no pipe")
	}
	p.Cut()
	if !c.k.wait(func() bool { return c.k.ended[c.session] }) {
		c.k.fatalf("%s: its Disconnect was not handled", c.name)
	}
}

// said are the bodies of deliveries.
func said(ms []*subprotocol.Message) []string {
	all := []string{}
	for _, m := range ms {
		all = append(all, string(m.Body))
	}
	return all
}

// receiver and sink keep what the transport and the framer call out of the methods.
type (
	receiver client
	sink     client
)

func (r *receiver) Receive(m transport.Message) {
	c := (*client)(r)
	c.k.mu.Lock()
	full := c.full
	c.k.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-c.k.over:
		}
	}
	if err := c.framer.Decode(m, (*sink)(c)); err != nil {
		c.k.errorf("%s: what came can't be decoded: %v", c.name, err)
	}
}

func (r *receiver) Writable() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}

func (r *receiver) Closed(err error) {
	c := (*client)(r)
	c.k.locked(func() { c.cause = err })
	close(c.gone)
}

func (e *sink) Emit(m *subprotocol.Message) error {
	c := (*client)(e)
	if c.hand != nil && m.Kind == subprotocol.KindDeliver {
		c.hand(m)
		return nil
	}
	m = m.Clone()
	var broken, why string
	c.k.locked(func() { broken, why = c.note(m) })
	if broken != "" {
		c.k.report(broken, "%s: %s", c.name, why)
	}
	return nil
}

// note keeps m, and returns which rule it breaks by itself.
func (c *client) note(m *subprotocol.Message) (broken, why string) {
	switch m.Kind {
	case subprotocol.KindConnected:
		c.session = m.ID
	case subprotocol.KindReceipt, subprotocol.KindReply:
		c.answered(m)
	case subprotocol.KindError:
		if m.Receipt == "" {
			c.strayed = fmt.Sprintf("; to %s came the error %v", c.name, m.Error)
			break
		}
		c.answered(m)
	case subprotocol.KindDeliver:
		s := c.subs[m.Subscription]
		switch {
		case s == nil:
			return ruleFanOut, fmt.Sprintf("%q came for a subscription %q that it does not have", m.Body, m.Subscription)
		case s.ended:
			return ruleUnsubscribe, fmt.Sprintf("%q came after the receipt of UNSUBSCRIBE", m.Body)
		}
		s.got = append(s.got, m)
	}
	return "", ""
}

// answered notes the answer to a request.
func (c *client) answered(m *subprotocol.Message) {
	c.answers[m.Receipt] = m
	for _, s := range c.subs {
		if m.Kind == subprotocol.KindReceipt && s.last == m.Receipt {
			s.ended = true
		}
	}
}
