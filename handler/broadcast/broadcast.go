package broadcast

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Options are the limits of a Broadcaster. The zero value is the default.
type Options struct {
	// MaxDestinations bounds how many destinations have subscribers at a time. 0
	// means 65536. Each costs some 200 bytes and its text: a high limit lets clients
	// hold memory.
	MaxDestinations int

	// MaxSubscriptions bounds the subscriptions of all sessions together. 0 means
	// 1048576. Each costs some 200 bytes and its id, the first one of a session some 500. How
	// many one session has is the endpoint's limit: see handler.WithMaxSubscriptions.
	MaxSubscriptions int
}

// maxDestination is how many bytes a destination has at most.
const maxDestination = 1024

// Broadcaster passes messages on to the sessions that have subscribed to their
// destination. It is safe for concurrent use, and may serve several endpoints.
type Broadcaster struct {
	opts Options

	// mu is held for a moment only, and never while a topic's lock is waited for.
	mu      sync.RWMutex
	topics  map[string]*topic
	members map[*handler.Session]*member
	count   int // subscriptions
	peak    int // of topics and members since the maps were made
}

var (
	_ handler.Handler       = (*Broadcaster)(nil)
	_ handler.Publisher     = (*Broadcaster)(nil)
	_ handler.UserPublisher = (*Broadcaster)(nil)
)

// topic is a destination that has subscribers.
type topic struct {
	destination string
	users       int // how many subscriptions refer to it, guarded by Broadcaster.mu

	mu            sync.Mutex
	subscriptions []*subscription
}

// subscription is one session's interest in one topic.
type subscription struct {
	session *handler.Session
	id      string
	topic   *topic

	// Guarded by topic.mu.
	place int // in topic.subscriptions
	ended bool
}

// member is a session that has subscriptions, guarded by Broadcaster.mu.
type member struct {
	subscriptions map[string]*subscription // by id
	stop          func() bool              // ends the wait for the end of the session
}

// New makes a Broadcaster. nil means the zero Options; later changes to o have no
// effect. It panics if a limit is negative.
func New(o *Options) *Broadcaster {
	b := new(Broadcaster)
	if o != nil {
		b.opts = *o
	}
	if b.opts.MaxDestinations < 0 || b.opts.MaxSubscriptions < 0 {
		panic("broadcast: Options has a negative limit")
	}
	if b.opts.MaxDestinations == 0 {
		b.opts.MaxDestinations = 65536
	}
	if b.opts.MaxSubscriptions == 0 {
		b.opts.MaxSubscriptions = 1 << 20
	}
	b.renew()
	return b
}

// renew makes empty maps: those that once were large keep their room.
func (b *Broadcaster) renew() {
	b.topics = make(map[string]*topic)
	b.members = make(map[*handler.Session]*member)
	b.peak = 0
}

// Handle subscribes for a SUBSCRIBE, ends that for an UNSUBSCRIBE, and publishes a SEND
// with its header, content type and body. Other kinds it accepts and does nothing. What
// it refuses is a *subprotocol.Error that is not fatal: "bad-destination",
// "too-many-destinations", "too-many-subscriptions", "subscription-exists",
// "no-subscription", or "no-acks".
func (b *Broadcaster) Handle(_ context.Context, r handler.Request) error {
	m := r.Message
	switch m.Kind {
	case subprotocol.KindSubscribe:
		if m.AckMode != subprotocol.AckAuto {
			return &subprotocol.Error{Code: "no-acks", Text: "what this destination brings is not acknowledged"}
		}
		return b.Subscribe(r.Session, m.Subscription, m.Destination)
	case subprotocol.KindUnsubscribe:
		return b.Unsubscribe(r.Session, m.Subscription)
	case subprotocol.KindSend:
		if err := check(m.Destination); err != nil {
			return err
		}
		destination := m.Destination
		// How it came, as text or binary, is a matter of the sender's sub-protocol.
		p := publication(destination, 0, m)
		return r.OnCommit(func() error {
			b.publish(destination, p, nil)
			return nil
		})
	}
	return nil
}

func check(destination string) error {
	switch {
	case destination == "":
		return &subprotocol.Error{Code: "bad-destination", Text: "there is no destination"}
	case len(destination) > maxDestination:
		return &subprotocol.Error{Code: "bad-destination", Text: fmt.Sprintf("the destination has more than %d bytes", maxDestination)}
	}
	return nil
}

// Subscribe has s get what is sent to destination, until Unsubscribe with the same id
// or the end of s. For clients that subscribe themselves Handle does it; where the
// sub-protocol has no subscriptions id is any text that tells them apart. Errors are
// those of Handle.
func (b *Broadcaster) Subscribe(s *handler.Session, id, destination string) error {
	if err := check(destination); err != nil {
		return err
	}
	sub, err := b.register(s, id, destination)
	if err != nil {
		return err
	}
	sub.begin()
	return nil
}

// register makes a subscription that is not in its topic yet.
func (b *Broadcaster) register(s *handler.Session, id, destination string) (*subscription, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, t := b.members[s], b.topics[destination]
	switch {
	case m != nil && m.subscriptions[id] != nil:
		return nil, &subprotocol.Error{Code: "subscription-exists", Text: "this session has a subscription of that id already"}
	case b.count >= b.opts.MaxSubscriptions:
		return nil, &subprotocol.Error{Code: "too-many-subscriptions", Text: "there are as many subscriptions as there may be"}
	case t == nil && len(b.topics) >= b.opts.MaxDestinations:
		return nil, &subprotocol.Error{Code: "too-many-destinations", Text: "there are as many destinations as there may be"}
	}
	if t == nil {
		// The text may be a part of a longer one that must not be held.
		t = &topic{destination: strings.Clone(destination)}
		b.topics[t.destination] = t
	}
	if m == nil {
		m = &member{subscriptions: make(map[string]*subscription)}
		m.stop = context.AfterFunc(s.Context(), func() { b.forget(s) })
		b.members[s] = m
	}
	sub := &subscription{session: s, id: strings.Clone(id), topic: t}
	m.subscriptions[sub.id] = sub
	t.users++
	b.count++
	b.peak = max(b.peak, len(b.topics), len(b.members))
	return sub, nil
}

// Unsubscribe ends the subscription that s has under id. When it returns nothing
// more is queued for it.
func (b *Broadcaster) Unsubscribe(s *handler.Session, id string) error {
	b.mu.Lock()
	m := b.members[s]
	if m == nil || m.subscriptions[id] == nil {
		b.mu.Unlock()
		return &subprotocol.Error{Code: "no-subscription", Text: "this session has no subscription of that id here"}
	}
	sub := m.subscriptions[id]
	delete(m.subscriptions, id)
	b.release(sub)
	if len(m.subscriptions) == 0 {
		m.stop()
		delete(b.members, s)
	}
	b.tidy()
	b.mu.Unlock()
	sub.end()
	return nil
}

// forget ends all that s has. Its context has ended.
func (b *Broadcaster) forget(s *handler.Session) {
	b.mu.Lock()
	m := b.members[s]
	if m == nil {
		b.mu.Unlock()
		return
	}
	delete(b.members, s)
	for _, sub := range m.subscriptions {
		b.release(sub)
	}
	b.tidy()
	b.mu.Unlock()
	for _, sub := range m.subscriptions {
		sub.end()
	}
}

// release takes sub out of the count, and its topic out of the map if it was the
// last. mu is held.
func (b *Broadcaster) release(sub *subscription) {
	b.count--
	if sub.topic.users--; sub.topic.users == 0 {
		delete(b.topics, sub.topic.destination)
	}
}

// tidy lets go of the room that many topics or members took. mu is held.
func (b *Broadcaster) tidy() {
	if b.peak > 1024 && len(b.topics) == 0 && len(b.members) == 0 {
		b.renew()
	}
}

// begin puts sub into its topic, unless its session has ended in between.
func (sub *subscription) begin() {
	t := sub.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	if !sub.ended {
		sub.place = len(t.subscriptions)
		t.subscriptions = append(t.subscriptions, sub)
	}
}

// end takes sub out of its topic, or keeps it from getting there.
func (sub *subscription) end() {
	t := sub.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	sub.ended = true
	all := t.subscriptions
	if sub.place >= len(all) || all[sub.place] != sub {
		return
	}
	last := len(all) - 1
	all[sub.place] = all[last]
	all[sub.place].place = sub.place
	all[last] = nil
	t.subscriptions = all[:last]
}

// Publish sends the type, content type, header and body of m to all who are subscribed
// to destination. That there are none is no error; one that could not be reached is its
// endpoint's to count. The error is about destination.
func (b *Broadcaster) Publish(_ context.Context, destination string, m *subprotocol.Message) error {
	return b.publishMessage(destination, m, nil)
}

// PublishToUser sends m to those who are subscribed to destination and whose
// Session.User is user. It takes time by the number of all subscribers of
// destination. A user of "" is an error.
func (b *Broadcaster) PublishToUser(_ context.Context, user, destination string, m *subprotocol.Message) error {
	if user == "" {
		return errNoUser
	}
	return b.publishMessage(destination, m, func(s *handler.Session) bool { return s.User() == user })
}

var errNoUser = errors.New("broadcast: publish to a user without a name")

func (b *Broadcaster) publishMessage(destination string, m *subprotocol.Message, to func(*handler.Session) bool) error {
	if err := check(destination); err != nil {
		return err
	}
	if b.topic(destination) == nil {
		return nil
	}
	b.publish(destination, publication(destination, m.Type, m), to)
	return nil
}

// publication has what receivers are to see of m.
func publication(destination string, typ transport.MessageType, m *subprotocol.Message) *handler.Publication {
	return handler.NewPublication(&subprotocol.Message{
		Type: typ, Destination: destination, ContentType: m.ContentType, Header: m.Header, Body: m.Body,
	})
}

func (b *Broadcaster) topic(destination string) *topic {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.topics[destination]
}

// publish sends p to the subscribers that to picks, nil for all.
func (b *Broadcaster) publish(destination string, p *handler.Publication, to func(*handler.Session) bool) {
	t := b.topic(destination)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sub := range t.subscriptions {
		if to == nil || to(sub.session) {
			// The session counts what it could not take.
			_, _ = sub.session.Publish(p, sub.id, "")
		}
	}
}
