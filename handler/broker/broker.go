package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// maxDestination is how many bytes a destination has at most.
const maxDestination = 1024

// The headers that a client may say more with.
const (
	headerPrefetch = "prefetch-count" // of a SUBSCRIBE
	headerSelector = "selector"       // of a SUBSCRIBE
	headerRetain   = "retain"         // of a SEND, as the two below
	headerTTL      = "ttl"
	headerExpires  = "expires"
)

// The headers that say why a message is a dead letter.
const (
	deadReason      = "dead-reason"
	deadDestination = "dead-destination"
	deadDeliveries  = "dead-deliveries"
)

// Broker passes messages on, to all subscribers of a topic, to one consumer of a queue, or
// to the sessions of a user. It is safe for concurrent use, and may serve several
// endpoints.
type Broker struct {
	opts Options

	// Locks are taken in this order: subscription.mu, then topic.mu, patterns.mu or
	// queue.mu (several of these by queue.number), then alarms.mu or retainer.mu. Those of
	// tables and members are held alone. None is held while a message is given to
	// a session or a hook is called.
	members table[*handler.Session, *member]
	topics  table[string, *topic]
	users   table[string, *topic] // by userKey
	queues  table[string, *queue]

	patterns patterns
	retained retainer
	alarms   alarms
	counts   counters
	past     pastCounters // of queues that are gone

	seq           atomic.Uint64 // of the last message of a topic
	delivery      atomic.Uint64 // the number that the last delivery with an ID had: no session has one of another's
	queueNumber   atomic.Uint64
	subscriptions atomic.Int64
	destinations  atomic.Int64
	queueBytes    atomic.Int64 // held by queues
	backlogBytes  atomic.Int64 // held by backlogs
	details       atomic.Int64 // subscriptions of topics that need more than a Publication
	closed        atomic.Bool
}

var (
	_ handler.Handler       = (*Broker)(nil)
	_ handler.Publisher     = (*Broker)(nil)
	_ handler.UserPublisher = (*Broker)(nil)
)

// ErrClosed is returned after Close. It unwraps to net.ErrClosed.
var ErrClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string { return "broker: closed" }
func (closedError) Unwrap() error { return net.ErrClosed }

// New makes a Broker. nil means the zero Options; later changes to o have no effect. It
// panics if a limit is negative, if prefixes have destinations in common, or if
// DeadLetter is neither a topic nor a queue.
func New(o *Options) *Broker {
	b := new(Broker)
	if o != nil {
		b.opts = *o
	}
	b.opts.complete()
	b.members.init()
	b.topics.init()
	b.users.init()
	b.queues.init()
	b.patterns.trie = newTrie[*subscription](b.opts.Separator)
	return b
}

// Close has b accept nothing more and stops its timer; messages that wait stay where they
// are. It ends no session: Endpoint.Shutdown comes before.
func (b *Broker) Close() {
	b.closed.Store(true)
	b.alarms.close()
}

// Handle subscribes for a SUBSCRIBE and ends that for an UNSUBSCRIBE, sends on what a
// SEND has, and settles deliveries for an ACK and a NACK. Other kinds it accepts and does
// nothing. What is part of a transaction is done at its end.
//
// What it refuses is a *subprotocol.Error that is not fatal:
//
//	not-found               the destination is under none of the prefixes
//	bad-destination         it is too long, has a wildcard where none may be, names no user
//	bad-header              a header that the broker reads makes no sense
//	subscription-exists     this session has a subscription of that id
//	no-subscription         it has none
//	unknown-ack             the id is of no delivery, or of one that was settled
//	queue-full              the queue, or all of them, hold as much as they may
//	too-many-destinations   there are as many as there may be, and so it is with
//	too-many-subscriptions  subscriptions and
//	too-many-retained       retained messages
//	busy                    a topic is published to faster than that can be delivered
//	closed                  Close was called
func (b *Broker) Handle(_ context.Context, r handler.Request) error {
	m := r.Message
	b.userChanged(r.Session)
	switch m.Kind {
	case subprotocol.KindSubscribe, subprotocol.KindSend, subprotocol.KindAck, subprotocol.KindNack:
		if b.closed.Load() {
			return refusal("closed", "the broker is closed")
		}
	}
	switch m.Kind {
	case subprotocol.KindSubscribe:
		return b.subscribe(r.Session, m)
	case subprotocol.KindUnsubscribe:
		sub, err := b.unsubscribe(r.Session, m.Subscription)
		if err == nil {
			sub.settleDown()
		}
		return err
	case subprotocol.KindSend:
		return b.sendRequest(r)
	case subprotocol.KindAck, subprotocol.KindNack:
		return b.settleRequest(r)
	}
	return nil
}

// sendRequest does what a SEND asks for.
func (b *Broker) sendRequest(r handler.Request) error {
	to, err := b.target(r.Message.Destination)
	if err != nil {
		return err
	}
	o := &op{kind: subprotocol.KindSend, to: to}
	// How it came, as text or binary, is a matter of the sender's sub-protocol.
	m := message(to.destination, 0, r.Message)
	if o.out, err = b.outgoing(&m); err != nil {
		return err
	}
	if to.kind == isQueue || r.Message.Transaction != "" {
		o.message, o.out.own = m.Clone(), true
	} else {
		o.message = &m
	}
	return b.stage(r, o)
}

// Publish sends m to whom destination says, as Handle does with a SEND: to all subscribers of
// a topic, to a queue, or to a user if it begins with the UserPrefix and the name of one. Its
// type, content type, header and body go with it, and the headers expires, ttl and retain mean
// what they mean in a SEND. That a topic has no subscribers is no error; errors
// are those of Handle. It does not wait for subscribers, and for other publishers of the same
// topic ten seconds at most.
func (b *Broker) Publish(_ context.Context, destination string, m *subprotocol.Message) error {
	if b.closed.Load() {
		return ErrClosed
	}
	to, err := b.target(destination)
	if err != nil {
		return err
	}
	return b.send(to, m)
}

// PublishToUser sends m to all sessions of user that have subscribed to destination behind
// the UserPrefix: what is published to "/queue/news" gets who has subscribed to
// "/user/queue/news", and has that as its destination. That there is nobody is no error; a user of
// "" is one.
func (b *Broker) PublishToUser(_ context.Context, user, destination string, m *subprotocol.Message) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if user == "" {
		return errors.New("broker: publish to a user without a name")
	}
	to, err := b.userTarget(user, destination)
	if err != nil {
		return err
	}
	return b.send(to, m)
}

// PublishToSession sends m to s alone, if it has subscribed to destination as
// PublishToUser says. It needs no user.
func (b *Broker) PublishToSession(_ context.Context, s *handler.Session, destination string, m *subprotocol.Message) error {
	if b.closed.Load() {
		return ErrClosed
	}
	to, err := b.userTarget(s.User(), destination)
	if err != nil {
		return err
	}
	view := message(to.destination, m.Type, m)
	out, err := b.outgoing(&view)
	if err != nil {
		return err
	}
	out.patient, out.retain = true, false
	found := false
	for _, sub := range b.of(s) {
		if sub.kind != isUser || sub.destination != to.destination {
			continue
		}
		found = true
		sub.mu.Lock()
		t := sub.topic
		sub.mu.Unlock()
		if t == nil {
			continue
		}
		out.only = sub
		if err := b.publish(t.table, t.key, t.user, &view, out); err != nil {
			return err
		}
	}
	if !found {
		b.counts.unrouted.Add(1)
	}
	return nil
}

// send sends m, which is the caller's.
func (b *Broker) send(to target, m *subprotocol.Message) error {
	view := message(to.destination, m.Type, m)
	out, err := b.outgoing(&view)
	if err != nil {
		return err
	}
	o := &op{kind: subprotocol.KindSend, to: to, message: &view, out: out}
	if to.kind == isQueue {
		o.message, o.out.own = view.Clone(), true
	}
	return b.do([]*op{o})
}

// publishTo publishes to a topic or to a user.
func (b *Broker) publishTo(to target, m *subprotocol.Message, o outgoing) error {
	if to.kind == isUser {
		o.retain = false
		return b.publish(&b.users, userKey(to.user, to.destination), to.user, m, o)
	}
	return b.publish(&b.topics, to.destination, "", m, o)
}

// target says where a SEND to destination goes. The text is a copy.
func (b *Broker) target(destination string) (target, error) {
	k, err := b.check(destination, false)
	if err != nil {
		return target{}, err
	}
	if k != isUser {
		return target{kind: k, destination: strings.Clone(destination)}, nil
	}
	name, rest, ok := strings.Cut(destination[len(b.opts.UserPrefix):], "/")
	user, err := url.PathUnescape(name)
	if !ok || err != nil || user == "" {
		return target{}, refusal("bad-destination", "this destination has no user: it is "+b.opts.UserPrefix+"NAME/..., with NAME percent-encoded")
	}
	return b.userTarget(user, "/"+rest)
}

// userTarget is where a message for a user goes.
func (b *Broker) userTarget(user, destination string) (target, error) {
	to := target{kind: isUser, destination: b.opts.UserPrefix + strings.TrimPrefix(destination, "/"), user: user}
	if k, err := b.check(to.destination, false); err != nil || k != isUser {
		return target{}, refusal("bad-destination", fmt.Sprintf("%q is no destination of a user", destination))
	}
	return to, nil
}

// check says what a destination is. That of a SUBSCRIBE may be a pattern.
func (b *Broker) check(destination string, pattern bool) (kind, error) {
	if len(destination) > maxDestination {
		return 0, refusal("bad-destination", fmt.Sprintf("the destination has more than %d bytes", maxDestination))
	}
	k := b.opts.kindOf(destination)
	if k == isNothing {
		return 0, refusal("not-found", "there is no such destination")
	}
	var err error
	if !pattern {
		err = checkDestination(destination, b.opts.Separator)
	}
	// What nobody can subscribe to can't be sent to either.
	if err == nil && (pattern || strings.Contains(destination, "*")) {
		err = checkPattern(destination, b.opts.Separator)
	}
	if err != nil {
		return 0, malformed(err)
	}
	return k, nil
}

func malformed(err error) error {
	return refusal("bad-destination", "the destination is malformed: "+err.Error())
}

// message has what receivers are to see of m.
func message(destination string, typ transport.MessageType, m *subprotocol.Message) subprotocol.Message {
	return subprotocol.Message{
		Kind: subprotocol.KindDeliver, Type: typ, Destination: destination,
		ContentType: m.ContentType, Header: honest(m.Header), Body: m.Body,
	}
}

// honest is h without what only a broker may say.
func honest(h subprotocol.Header) subprotocol.Header {
	for i := range h {
		if h[i].Name == redelivered || h[i].Name == deliveryCount {
			var kept subprotocol.Header
			for _, f := range h {
				if f.Name != redelivered && f.Name != deliveryCount {
					kept = append(kept, f)
				}
			}
			return kept
		}
	}
	return h
}

// outgoing reads the headers that are about how m is to be sent.
func (b *Broker) outgoing(m *subprotocol.Message) (outgoing, error) {
	o := outgoing{retain: m.Header.Get(headerRetain) == "true"}
	if text := m.Header.Get(headerExpires); text != "" && text != "0" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
			return o, refusal("bad-header", "expires is no time in milliseconds since 1970")
		}
		o.expires = ms * int64(time.Millisecond)
		return o, nil
	}
	ttl := b.opts.TTL
	if text := m.Header.Get(headerTTL); text != "" {
		const most = 100 * 365 * 24 * time.Hour
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms <= 0 || ms > int64(most/time.Millisecond) {
			return o, refusal("bad-header", "ttl is no number of milliseconds above 0")
		}
		ttl = time.Duration(ms) * time.Millisecond
	}
	if ttl > 0 {
		o.expires = time.Now().Add(ttl).UnixNano()
	}
	return o, nil
}

// window reads how many unsettled deliveries a subscriber wants.
func (b *Broker) window(m *subprotocol.Message) (int, error) {
	text := m.Header.Get(headerPrefetch)
	if text == "" {
		return b.opts.Prefetch, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, refusal("bad-header", "prefetch-count is no number above 0")
	}
	return min(int(n), b.opts.MaxPrefetch), nil
}

// selector reads which messages a subscriber wants.
func (b *Broker) selector(m *subprotocol.Message) (*selector, error) {
	text := m.Header.Get(headerSelector)
	switch {
	case text == "":
		return nil, nil
	case !b.opts.Selectors:
		return nil, refusal("bad-header", "there are no selectors here")
	}
	s, err := parseSelector(text)
	if err != nil {
		return nil, refusal("bad-header", "the selector is malformed: "+err.Error())
	}
	return s, nil
}

// countDestination counts one more destination in use.
func (b *Broker) countDestination() error {
	if b.destinations.Add(1) > int64(b.opts.MaxDestinations) {
		b.destinations.Add(-1)
		return errDestinations
	}
	return nil
}

var errDestinations = refusal("too-many-destinations", "there are as many destinations as there may be")

// refusal is an error that the client is shown.
func refusal(code, text string) error { return &subprotocol.Error{Code: code, Text: text} }

// expired reports whether the time at is over; 0 never is.
func expired(at int64) bool { return at != 0 && at <= time.Now().UnixNano() }

// sizeOf is about the memory that a message takes in a queue.
func sizeOf(m *subprotocol.Message) int64 {
	const fixed, field = 400, 32
	n := fixed + len(m.Destination) + len(m.ContentType) + len(m.Body)
	for _, h := range m.Header {
		n += field + len(h.Name) + len(h.Value)
	}
	return int64(n)
}

// finish does what no lock may be held for.
func (b *Broker) finish(a *aftermath) {
	for _, d := range a.dead {
		b.bury(d)
	}
	for _, m := range a.expired {
		b.expire(m)
	}
	for _, m := range a.dropped {
		b.drop(m)
	}
}

// bury sends a dead letter to where it belongs.
func (b *Broker) bury(d deadLetter) {
	if h := b.opts.Hooks.DeadLettered; h != nil {
		b.call(func() { h(d.message.Destination, d.message, d.reason) })
	}
	to := b.opts.DeadLetter
	if to == "" {
		return
	}
	// One that died there before goes nowhere else.
	if d.message.Destination == to || b.closed.Load() {
		b.drop(d.message)
		return
	}
	m := *d.message
	m.Header = append(subprotocol.Header{
		{Name: deadReason, Value: d.reason.String()},
		{Name: deadDestination, Value: m.Destination},
		{Name: deadDeliveries, Value: strconv.Itoa(d.attempts)},
	}, m.Header...)
	// What made it expire or stay does not hold there.
	m.Header.Del(headerExpires)
	m.Header.Del(headerTTL)
	m.Header.Del(headerRetain)
	m.Destination = to
	o := &op{
		kind: subprotocol.KindSend, to: target{kind: b.opts.kindOf(to), destination: to},
		message: &m, out: outgoing{own: true},
	}
	if err := b.do([]*op{o}); err != nil {
		b.drop(&m)
	}
}

func (b *Broker) expire(m *subprotocol.Message) {
	b.counts.expired.Add(1)
	if h := b.opts.Hooks.Expired; h != nil {
		b.call(func() { h(m.Destination, m) })
	}
}

func (b *Broker) drop(m *subprotocol.Message) {
	b.counts.dropped.Add(1)
	if h := b.opts.Hooks.Dropped; h != nil {
		b.call(func() { h(m.Destination, m) })
	}
}

// call calls a hook.
func (b *Broker) call(f func()) {
	defer func() {
		if recover() != nil {
			b.counts.panics.Add(1)
		}
	}()
	f()
}
