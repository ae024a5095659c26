package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// member is a session that has subscriptions here, or an open transaction.
type member struct {
	session *handler.Session
	stop    func() bool // ends the wait for the end of the session

	mu            sync.Mutex
	gone          bool
	subscriptions map[string]*subscription // by id
	users         int                      // of them, those of user destinations
	user          string                   // whom these were last looked for under
	staged        []weak.Pointer[op]
}

// subscription is one session's interest in one destination.
type subscription struct {
	broker      *Broker
	member      *member
	session     *handler.Session
	id          string
	destination string // as the client said it
	kind        kind
	pattern     bool // the destination has wildcards
	mode        subprotocol.AckMode
	selector    *selector
	consumer    *consumer // nil if it is of a topic, without acknowledgements

	// state counts the deliveries that are under way, and has the bit ended.
	state atomic.Uint32

	// mu is held while the subscription begins, moves or ends.
	mu       sync.Mutex
	begun    bool
	detailed bool          // counts in Broker.details
	topic    *topic        // where it is, nil for patterns and queues
	quiet    chan struct{} // closed when it has ended and no delivery is under way

	// from is the last message of before. Guarded by topic.mu or patterns.mu.
	from uint64
	// place is where it stands in its topic. Guarded by topic.mu.
	place int
}

const ended = 1 << 31

func (sub *subscription) ended() bool { return sub.state.Load()&ended != 0 }

// enter counts a delivery. It reports false if sub has ended. leave ends it either way.
func (sub *subscription) enter() bool { return sub.state.Add(1)&ended == 0 }

func (sub *subscription) leave() {
	if sub.state.Add(^uint32(0)) != ended {
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.quiet != nil {
		close(sub.quiet)
		sub.quiet = nil
	}
}

// settleDown waits until no delivery to sub, which has ended, is under way, so that
// nothing comes behind the receipt of an UNSUBSCRIBE. A Sender that holds one up is not waited
// for without an end.
func (sub *subscription) settleDown() {
	sub.mu.Lock()
	if sub.state.Load() == ended {
		sub.mu.Unlock()
		return
	}
	quiet := make(chan struct{})
	sub.quiet = quiet
	sub.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-quiet:
	case <-timer.C:
	}
}

func (sub *subscription) public() Subscription {
	return Subscription{Session: sub.session, ID: sub.id, Destination: sub.destination, AckMode: sub.mode}
}

// Subscribe has s get what is sent to destination, without acknowledgements, until
// Unsubscribe with the same id or the end of s. For clients that subscribe themselves Handle
// does it; where the sub-protocol has no subscriptions id is any text that tells
// them apart. Errors are those of Handle.
func (b *Broker) Subscribe(s *handler.Session, id, destination string) error {
	return b.subscribe(s, &subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: id, Destination: destination})
}

// Unsubscribe ends the subscription that s has under id. When it returns no message is
// given to it any more, but one that is on its way in another goroutine. The error
// is "no-subscription" if there is none.
func (b *Broker) Unsubscribe(s *handler.Session, id string) error {
	_, err := b.unsubscribe(s, id)
	return err
}

// CloseSubscription ends the subscription that s has under id, as Unsubscribe does, and
// tells the client so with an Unsubscribe. Where the sub-protocol can't say that, as
// STOMP can't, it sends an Error "subscription-ended", which ends such a session.
func (b *Broker) CloseSubscription(s *handler.Session, id string) error {
	sub, err := b.unsubscribe(s, id)
	if err != nil || !s.Features().Subscriptions {
		return err
	}
	if _, err = s.Send(&subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: id, Destination: sub.destination}); err == nil {
		return nil
	}
	e := &subprotocol.Error{Code: "subscription-ended", Text: "the server has ended a subscription of this session", Subscription: id}
	_, err = s.Send(&subprotocol.Message{Kind: subprotocol.KindError, Subscription: id, Error: e})
	return err
}

// subscribe registers what m asks for.
func (b *Broker) subscribe(s *handler.Session, m *subprotocol.Message) error {
	sub, err := b.newSubscription(s, m)
	if err != nil {
		return err
	}
	if b.subscriptions.Add(1) > int64(b.opts.MaxSubscriptions) {
		b.subscriptions.Add(-1)
		return refusal("too-many-subscriptions", "there are as many subscriptions as there may be")
	}
	if err := b.register(sub); err != nil {
		b.subscriptions.Add(-1)
		return err
	}
	begun, err := sub.begin()
	if err != nil {
		b.end(sub)
		return err
	}
	if h := b.opts.Hooks.Subscribed; h != nil && begun {
		b.call(func() { h(sub.public()) })
	}
	return nil
}

// newSubscription reads a SUBSCRIBE. The texts may be parts of a longer one that must
// not be held.
func (b *Broker) newSubscription(s *handler.Session, m *subprotocol.Message) (*subscription, error) {
	sub := &subscription{
		broker: b, session: s, id: strings.Clone(m.Subscription), destination: strings.Clone(m.Destination),
		mode: m.AckMode, pattern: hasWildcard(m.Destination, b.opts.Separator),
	}
	var err error
	if sub.kind, err = b.check(m.Destination, true); err != nil {
		return nil, err
	}
	if sub.pattern {
		if sub.kind != isTopic {
			return nil, refusal("bad-destination", "only topics have wildcards")
		}
		if err = checkLength(m.Destination, b.opts.Separator); err != nil {
			return nil, malformed(err)
		}
	}
	if sub.selector, err = b.selector(m); err != nil {
		return nil, err
	}
	window, err := b.window(m)
	if err != nil {
		return nil, err
	}
	if sub.kind == isQueue || sub.mode != subprotocol.AckAuto {
		sub.consumer = &consumer{sub: sub, window: window}
	}
	return sub, nil
}

// register enters sub into its session's table.
func (b *Broker) register(sub *subscription) error {
	for {
		m := b.member(sub.session)
		m.mu.Lock()
		switch {
		case m.gone:
			m.mu.Unlock()
			b.members.remove(sub.session, m)
			continue
		case m.subscriptions[sub.id] != nil:
			m.mu.Unlock()
			return refusal("subscription-exists", "this session has a subscription of that id already")
		}
		sub.member = m
		if m.subscriptions == nil {
			m.subscriptions = make(map[string]*subscription)
		}
		m.subscriptions[sub.id] = sub
		if sub.kind == isUser {
			if m.users++; m.users == 1 {
				m.user = sub.session.User()
			}
		}
		m.mu.Unlock()
		return nil
	}
}

// member returns what there is of a session, and makes it.
func (b *Broker) member(s *handler.Session) *member {
	m, _ := b.members.add(s, func() (*member, error) {
		m := &member{session: s}
		m.stop = context.AfterFunc(s.Context(), func() { b.forget(m) })
		return m, nil
	})
	return m
}

// find returns the subscription that s has under id, nil if there is none.
func (b *Broker) find(s *handler.Session, id string) *subscription {
	m, ok := b.members.get(s)
	if !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subscriptions[id]
}

func (b *Broker) unsubscribe(s *handler.Session, id string) (*subscription, error) {
	sub := b.find(s, id)
	if sub == nil || !b.end(sub) {
		return nil, refusal("no-subscription", "this session has no subscription of that id here")
	}
	return sub, nil
}

// end takes sub out of everything. It reports false if somebody else does.
func (b *Broker) end(sub *subscription) bool {
	m := sub.member
	m.mu.Lock()
	if m.subscriptions[sub.id] != sub {
		m.mu.Unlock()
		return false
	}
	delete(m.subscriptions, sub.id)
	if sub.kind == isUser {
		m.users--
	}
	empty := !m.gone && len(m.subscriptions) == 0 && len(m.staged) == 0
	m.gone = m.gone || empty
	m.mu.Unlock()
	if empty {
		m.stop()
		b.members.remove(m.session, m)
	}
	b.ended(sub)
	return true
}

// forget ends all that m has, whose session's context has ended.
func (b *Broker) forget(m *member) {
	m.mu.Lock()
	if m.gone {
		m.mu.Unlock()
		return
	}
	m.gone = true
	all := m.subscriptions
	m.subscriptions, m.staged = nil, nil
	m.mu.Unlock()
	b.members.remove(m.session, m)
	for _, sub := range all {
		b.ended(sub)
	}
}

// ended ends sub, which is in no table any more.
func (b *Broker) ended(sub *subscription) {
	b.subscriptions.Add(-1)
	begun := sub.end()
	if h := b.opts.Hooks.Unsubscribed; h != nil && begun {
		b.call(func() { h(sub.public()) })
	}
}

// begin puts sub where its messages are, unless it has ended meanwhile.
func (sub *subscription) begin() (bool, error) {
	b := sub.broker
	sub.mu.Lock()
	if sub.ended() {
		sub.mu.Unlock()
		return false, nil
	}
	if sub.kind != isQueue && (sub.consumer != nil || sub.selector != nil) {
		b.details.Add(1)
		sub.detailed = true
	}
	if sub.kind != isQueue && sub.consumer != nil {
		q := b.newQueue("")
		q.private = true
		q.join(sub.consumer)
	}
	var err error
	var after func()
	switch {
	case sub.kind == isQueue:
		after, err = b.consume(sub)
	case sub.pattern:
		after = b.joinPattern(sub)
	default:
		after, err = b.joinTopic(sub)
	}
	sub.begun = err == nil
	begun := sub.begun
	sub.mu.Unlock()
	if after != nil {
		after()
	}
	return begun, err
}

// end takes sub from where it is. It reports whether it had begun.
func (sub *subscription) end() bool {
	b := sub.broker
	sub.mu.Lock()
	sub.state.Or(ended)
	begun := sub.begun
	if begun {
		if sub.pattern {
			b.leavePattern(sub)
		}
		if sub.topic != nil {
			sub.topic.remove(sub)
		}
	}
	c := sub.consumer
	if sub.detailed {
		b.details.Add(-1)
	}
	sub.mu.Unlock()
	if c != nil && c.queue != nil {
		c.queue.part(c)
	}
	return begun
}
