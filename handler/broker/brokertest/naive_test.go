package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker/brokertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// naive is a broker under one lock, with all that the kit asks about and one fault, ""
// for none.
type naive struct {
	fault string
	setup brokertest.Setup
	end   chan struct{} // closed when the test ends

	mu       sync.Mutex
	subs     []*interest
	queues   map[string][]*item
	retained map[string]*subprotocol.Message
	count    int
	parts    int    // of transactions
	late     func() // of a fault that does things late
}

// interest is a subscription.
type interest struct {
	session     *handler.Session
	id, to      string
	mode        subprotocol.AckMode
	window      int
	selects     bool
	unsettled   []delivery
	backlog     []*item // of a topic
	count, skip int
	parting     int // how many messages it still gets, of a fault
}

type delivery struct {
	id   string
	item *item
}

// item is a message on its way.
type item struct {
	*subprotocol.Message
	number   int
	attempts int
	over     time.Time
	refused  *interest
}

func (b *naive) is(fault string) bool { return b.fault == fault }

// factory makes the brokers of a fault.
func factory(fault string, end chan struct{}) brokertest.Factory {
	return func(s brokertest.Setup) (*brokertest.System, error) {
		if fault == "the factory fails" {
			return nil, errPlain
		}
		b := &naive{
			fault: fault, setup: s, end: end,
			queues: make(map[string][]*item), retained: make(map[string]*subprotocol.Message),
		}
		system := &brokertest.System{Broker: b}
		if fault == "Stop waits for ever" {
			system.Stop = func() { <-end }
		}
		return system, nil
	}
}

var errPlain = errors.New("plain")

func refusal(code, text string) error { return &subprotocol.Error{Code: code, Text: text} }

func (b *naive) known(to string) bool {
	return strings.HasPrefix(to, "/topic/") || strings.HasPrefix(to, "/queue/") || strings.HasPrefix(to, "/user/") ||
		b.is("unknown destinations are accepted")
}

func (b *naive) Handle(_ context.Context, r handler.Request) error {
	m := r.Message
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m.Kind {
	case subprotocol.KindConnect:
		if b.is("a goroutine for each session stays") {
			go func() { <-b.end }()
		}
	case subprotocol.KindSend, subprotocol.KindSubscribe:
		switch {
		case b.known(m.Destination):
		case b.is("a refusal has no text"):
			return refusal("not-found", "")
		case b.is("a refusal is fatal"):
			return &subprotocol.Error{Code: "not-found", Text: "no", Fatal: true}
		default:
			return refusal("not-found", "there is no such destination")
		}
		if m.Kind == subprotocol.KindSubscribe {
			return b.subscribe(r.Session, m)
		}
		return b.send(r, m.Clone())
	case subprotocol.KindUnsubscribe:
		b.remove(func(s *interest) bool { return s.session == r.Session && s.id == m.Subscription }, false)
	case subprotocol.KindDisconnect:
		b.remove(func(s *interest) bool { return s.session == r.Session }, true)
	case subprotocol.KindAck, subprotocol.KindNack:
		return b.acknowledge(r, m)
	}
	return nil
}

func (b *naive) send(r handler.Request, m *subprotocol.Message) error {
	inTransaction := m.Transaction != ""
	effect := func() error {
		if inTransaction {
			if b.parts++; b.parts%2 == 0 && b.is("a part of a transaction is forgotten") {
				return nil
			}
		}
		return b.route(m.Destination, m)
	}
	if b.is("a SEND does not wait for its transaction") {
		return effect()
	}
	if !inTransaction {
		return r.OnCommit(effect) // at once, under the lock
	}
	return r.OnCommit(func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		return effect()
	})
}

func (b *naive) Publish(_ context.Context, to string, m *subprotocol.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.is("Publish waits for ever") {
		<-b.end
	}
	if b.is("Publish keeps the message") {
		if b.late != nil {
			b.late()
		}
		b.late = func() { _ = b.route(to, m) }
		return nil
	}
	return b.route(to, m.Clone())
}

func (b *naive) PublishToUser(_ context.Context, user, to string, m *subprotocol.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, s := range b.subs {
		bare, personal := strings.CutPrefix(s.to, "/user")
		switch {
		case bare != to:
			continue
		case !personal && !b.is("others on the queue get a user's message"):
			continue
		case s.session.User() != user && !b.is("everybody gets a user's message"):
			continue
		case n > 0 && b.is("one session of a user gets the message"):
			continue
		}
		n++
		c := m.Clone()
		c.Destination = s.to
		if b.is("a user's message shows the bare destination") {
			c.Destination = to
		}
		b.deliver(s, &item{Message: c})
	}
	if n == 0 && b.is("a user without a session is an error") {
		return errPlain
	}
	return nil
}

func (b *naive) subscribe(session *handler.Session, m *subprotocol.Message) error {
	s := &interest{session: session, id: m.Subscription, to: m.Destination, mode: m.AckMode, window: 10}
	if n, err := strconv.Atoi(m.Header.Get("prefetch-count")); err == nil {
		s.window = n
	}
	switch {
	case b.is("prefetch-count is ignored"):
		s.window = 1000
	case b.is("the window has one too many"):
		s.window++
	}
	if text := m.Header.Get("selector"); text != "" {
		s.selects = !b.is("selectors are ignored")
		if strings.HasSuffix(text, "= ") && !b.is("a malformed selector is accepted") {
			return refusal("selector", "malformed")
		}
	}
	if b.is("a subscription begins late") {
		s.skip = 2
	}
	b.subs = append(b.subs, s)
	for to, last := range b.retained {
		if b.fits(s.to, to) && (s.to == to || !b.is("a wildcard gets nothing retained")) {
			b.deliver(s, &item{Message: last.Clone()})
		}
	}
	b.pump(s.to)
	return nil
}

// remove ends subscriptions and has what they had not settled delivered again.
func (b *naive) remove(which func(*interest) bool, gone bool) {
	for i := 0; i < len(b.subs); i++ {
		s := b.subs[i]
		if !which(s) {
			continue
		}
		if !gone && b.is("a subscription ends late") && s.parting == 0 {
			s.parting = 3
			continue
		}
		if !gone && b.is("what an ended subscription had is lost") {
			s.unsettled = nil
		}
		if gone && b.is("what a broken connection had is lost") {
			s.unsettled = nil
		}
		if !gone && b.is("an ended subscription keeps what it had") && len(s.unsettled) > 0 {
			s.to += "?"
			continue
		}
		last := i + 1
		if !gone && b.is("an ending subscription takes the next along") || gone && b.is("a broken connection takes the next along") {
			last = min(last+1, len(b.subs))
		}
		b.subs = slices.Delete(b.subs, i, last)
		i--
		if !gone && b.is("what an ended subscription had comes twice") {
			for _, d := range s.unsettled {
				c := *d.item
				b.back(s.to, &c)
			}
		}
		for _, d := range s.unsettled {
			if b.is("the order of redelivery is lost") {
				d.item.number = -d.item.number
			}
			b.back(s.to, d.item)
		}
		b.pump(s.to)
	}
}

// back puts an item into its old place.
func (b *naive) back(to string, it *item) {
	if !strings.HasPrefix(to, "/queue/") {
		return
	}
	q := append(b.queues[to], it)
	slices.SortStableFunc(q, func(x, y *item) int { return x.number - y.number })
	b.queues[to] = q
}

// expiry is when the time of m is over.
func (b *naive) expiry(m *subprotocol.Message) time.Time {
	n, err := strconv.ParseInt(m.Header.Get("ttl"), 10, 64)
	if err == nil && !b.is("ttl is ignored") {
		return time.Now().Add(time.Duration(n) * time.Millisecond)
	}
	if n, err = strconv.ParseInt(m.Header.Get("expires"), 10, 64); err == nil && !b.is("expires is ignored") {
		if b.is("expires is taken for ttl") {
			return time.UnixMilli(0)
		}
		return time.UnixMilli(n)
	}
	return time.Time{}
}

// route sends m, which is the broker's own, to a destination.
func (b *naive) route(to string, m *subprotocol.Message) error {
	b.count++
	it := &item{Message: m, number: b.count, over: b.expiry(m)}
	m.Destination = to
	b.spoil(m)
	if strings.HasPrefix(to, "/queue/") {
		return b.enqueue(to, it)
	}
	if !it.over.IsZero() && it.over.Before(time.Now()) {
		return nil
	}
	if m.Header.Get("retain") == "true" {
		if b.retained[to] == nil || !b.is("the first value is retained") {
			b.retained[to] = m.Clone()
		}
	} else if b.is("any value is retained") && b.retained[to] != nil {
		b.retained[to] = m.Clone()
	}
	if b.is("nothing is retained") {
		delete(b.retained, to)
	}
	if b.is("messages of a topic change places") && b.late == nil {
		b.late = func() { _ = b.fanOut(to, it) }
		return nil
	}
	err := b.fanOut(to, it)
	if b.late != nil && b.is("messages of a topic change places") {
		b.late()
		b.late = nil
	}
	return err
}

// spoil does what is wrong with messages themselves.
func (b *naive) spoil(m *subprotocol.Message) {
	switch {
	case b.is("headers are lost"):
		m.Header = nil
	case b.is("the content type is lost"):
		m.ContentType = ""
	case b.is("a body ends at a zero"):
		if i := slices.Index(m.Body, 0); i >= 0 {
			m.Body = m.Body[:i]
		}
	case b.is("an empty header is lost"):
		m.Header.Del("empty")
	}
}

func (b *naive) fanOut(to string, it *item) error {
	n := 0
	got := make(map[*handler.Session]bool)
	for _, s := range slices.Clone(b.subs) {
		if !b.fits(s.to, to) && (!b.is("topics are one") || !strings.HasPrefix(s.to, "/topic/")) {
			continue
		}
		n++
		switch {
		case s.skip > 0:
			s.skip--
			continue
		case got[s.session] && b.is("a session gets one copy"):
			continue
		case b.is("the first subscriber is forgotten") && n == 1:
			continue
		case s.parting == 1:
			b.subs = slices.DeleteFunc(b.subs, func(o *interest) bool { return o == s })
			continue
		case s.parting > 1:
			s.parting--
		}
		got[s.session] = true
		if !s.picks(it) {
			continue
		}
		b.deliver(s, it)
		if b.is("a subscriber gets it twice") {
			b.deliver(s, it)
		}
	}
	if n == 0 && b.is("a topic without a subscriber is an error") {
		return errPlain
	}
	return nil
}

// picks is the one selector that the kit has.
func (s *interest) picks(it *item) bool {
	size, err := strconv.Atoi(it.Header.Get("size"))
	return !s.selects || it.Header.Get("kind") == "a" && err == nil && size > 10
}

// fits is how wildcards are understood.
func (b *naive) fits(pattern, to string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == to
	}
	if !strings.HasPrefix(pattern, "/topic/") {
		return false
	}
	return b.segments(strings.Split(pattern, "/"), strings.Split(to, "/"))
}

func (b *naive) segments(p, d []string) bool {
	switch {
	case len(p) == 0:
		return len(d) == 0
	case p[0] == "**" || p[0] == "*" && b.is("* is any number of segments"):
		least := 0
		if b.is("** is one segment at least") {
			least = 1
		}
		for n := least; n <= len(d); n++ {
			if b.segments(p[1:], d[n:]) {
				return true
			}
		}
		return false
	case len(d) == 0:
		return false
	}
	return (p[0] == "*" || p[0] == d[0]) && b.segments(p[1:], d[1:])
}

// deliver gives one subscriber of a topic, or a consumer that has room, a message.
func (b *naive) deliver(s *interest, it *item) {
	manual := s.mode != subprotocol.AckAuto
	if manual && len(s.unsettled) >= s.window {
		s.backlog = append(s.backlog, it)
		return
	}
	it.attempts++
	m := it.Message.Clone()
	m.Kind, m.Subscription, m.ID = subprotocol.KindDeliver, s.id, ""
	if b.is("a wildcard subscription shows its pattern") {
		m.Destination = s.to
	}
	if it.attempts > 1 && strings.HasPrefix(s.to, "/queue/") && !b.is("a redelivery is not marked") {
		m.Header.Add("redelivered", "true")
		n := it.attempts
		if b.is("deliveries are counted to two") {
			n = 2
		}
		m.Header.Add("delivery-count", strconv.Itoa(n))
	}
	if b.is("every delivery is marked") {
		m.Header.Set("redelivered", "true")
	}
	if manual || b.is("an auto delivery has an ID") {
		s.count++
		m.ID = strconv.Itoa(s.count)
	}
	if manual || b.is("auto deliveries come again") {
		s.unsettled = append(s.unsettled, delivery{m.ID, it})
	}
	_, _ = s.session.Send(m)
	if b.is("each delivery waits for the reader") {
		if p, ok := transport.As[transport.Pinger](s.session.Conn()); ok {
			_, _ = p.Ping(s.session.Context())
		}
	}
}
