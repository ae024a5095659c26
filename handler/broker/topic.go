package broker

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

const (
	// maxInbox is how many messages of a topic wait for the one that is being delivered before
	// publishers do.
	maxInbox = 64
	// maxTurn is how many messages a goroutine delivers for others before it hands that on.
	maxTurn = 64
	// maxWait is how long a publisher waits, and an UNSUBSCRIBE for the last delivery.
	// Without an end a Sender that publishes what it is called for would wait for itself.
	maxWait = 10 * time.Second
	// chunk is how many subscribers are looked up at a time.
	chunk = 64
)

// topic is a destination that has subscribers or a retained message, or is being
// published to. One goroutine at a time delivers what is in its inbox, without holding
// a lock, so that all subscribers see the same order.
type topic struct {
	broker *Broker
	table  *table[string, *topic]
	key    string
	user   string // whose it is, if it is in the table of users' ones
	alarm  alarm  // when the retained message expires

	mu            sync.Mutex
	gone          bool
	counted       bool // in Broker.destinations
	busy          bool // somebody delivers
	inbox         []item
	room          chan struct{} // closed when the inbox has room; nil if nobody waits
	subscriptions []*subscription
	holes         int // of these, left empty while somebody delivered
	retained      *retained
}

// item is a message on its way to the subscribers.
type item struct {
	publication *handler.Publication
	message     *subprotocol.Message // nil if no subscription needed it
	seq         uint64
	expires     int64
	only        *subscription // nil for all
}

// retained is the last value of a topic.
type retained struct {
	item
	size int64
}

// patterns are the subscriptions with wildcards.
type patterns struct {
	n    atomic.Int64
	mu   sync.RWMutex
	trie *trie[*subscription]
}

// topicAt returns the topic of that key, and makes it.
func (b *Broker) topicAt(t *table[string, *topic], key, user string) *topic {
	found, _ := t.add(key, func() (*topic, error) {
		n := &topic{broker: b, table: t, key: key, user: user}
		n.alarm.wake = n.wake
		return n, nil
	})
	return found
}

// lockTopic is topicAt, and locks it.
func (b *Broker) lockTopic(t *table[string, *topic], key, user string) *topic {
	for {
		found := b.topicAt(t, key, user)
		found.mu.Lock()
		if !found.gone {
			return found
		}
		found.mu.Unlock()
		t.remove(key, found)
	}
}

// unlock lets go of t, and of the table's entry if nobody needs it.
func (t *topic) unlock() {
	gone := !t.gone && !t.busy && len(t.inbox) == 0 && len(t.subscriptions) == 0 && t.retained == nil
	counted := t.counted
	t.gone = t.gone || gone
	t.mu.Unlock()
	if !gone {
		return
	}
	t.table.remove(t.key, t)
	t.broker.alarms.clear(&t.alarm)
	if counted {
		t.broker.destinations.Add(-1)
	}
}

// count counts t as a destination in use, which may be refused if it is limited. mu is held.
func (t *topic) count(limited bool) error {
	if t.counted {
		return nil
	}
	if err := t.broker.countDestination(); err != nil {
		if limited {
			return err
		}
		t.broker.destinations.Add(1)
	}
	t.counted = true
	return nil
}

// userKey tells one user's topic from all others.
func userKey(user, destination string) string { return user + "\x00" + destination }

// joinTopic puts sub into its topic. sub.mu is held. What it returns is to be called
// when that is not held any more.
func (b *Broker) joinTopic(sub *subscription) (func(), error) {
	var t *topic
	if sub.kind == isUser {
		user := sub.session.User()
		t = b.lockTopic(&b.users, userKey(user, sub.destination), user)
	} else {
		t = b.lockTopic(&b.topics, sub.destination, "")
	}
	if err := t.count(true); err != nil {
		t.unlock()
		return nil, err
	}
	sub.topic = t
	sub.from = b.seq.Load()
	sub.place = len(t.subscriptions)
	t.subscriptions = append(t.subscriptions, sub)
	after := t.replay(sub)
	t.unlock()
	return after, nil
}

// replay has sub get the retained message. mu is held. What it returns delivers that.
func (t *topic) replay(sub *subscription) func() {
	r := t.retained
	if r == nil || r.seq > sub.from || expired(r.expires) {
		return nil
	}
	it := r.item
	it.only = sub
	t.inbox = append(t.inbox, it)
	return t.drain
}

// remove takes sub out. sub.mu is held.
func (t *topic) remove(sub *subscription) {
	t.mu.Lock()
	all := t.subscriptions
	if t.busy {
		all[sub.place] = nil
		t.holes++
	} else {
		last := len(all) - 1
		all[sub.place] = all[last]
		all[sub.place].place = sub.place
		all[last] = nil
		t.subscriptions = all[:last]
	}
	t.unlock()
}

// compact closes the holes. mu is held, and nobody is between two chunks.
func (t *topic) compact() {
	if t.holes == 0 {
		return
	}
	kept := t.subscriptions[:0]
	for _, sub := range t.subscriptions {
		if sub != nil {
			sub.place = len(kept)
			kept = append(kept, sub)
		}
	}
	clear(t.subscriptions[len(kept):])
	t.subscriptions, t.holes = kept, 0
}

// joinPattern registers sub, whose destination has wildcards. sub.mu is held. What
// it returns delivers the retained messages that there are.
func (b *Broker) joinPattern(sub *subscription) func() {
	p := &b.patterns
	p.n.Add(1)
	p.mu.Lock()
	sub.from = b.seq.Load()
	p.trie.add(sub.destination, sub)
	p.mu.Unlock()
	return func() {
		for _, t := range b.retained.matching(sub.destination, b.opts.Separator) {
			t.mu.Lock()
			after := t.replay(sub)
			t.unlock()
			if after != nil {
				after()
			}
		}
	}
}

func (b *Broker) leavePattern(sub *subscription) {
	p := &b.patterns
	p.mu.Lock()
	p.trie.remove(sub.destination, sub)
	if p.trie.len() == 0 {
		p.trie = newTrie[*subscription](b.opts.Separator)
	}
	p.mu.Unlock()
	p.n.Add(-1)
}

// matching appends the subscriptions whose pattern a topic matches.
func (p *patterns) matching(dst []*subscription, name string) []*subscription {
	if p.n.Load() == 0 {
		return dst
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	p.trie.match(name, func(sub *subscription) { dst = append(dst, sub) })
	return dst
}

// outgoing is what is said about a message beside the message.
type outgoing struct {
	expires  int64
	retain   bool
	reserved int64 // of the room for what is retained, 0 if nothing is
	own      bool  // the message is a copy already, that nobody changes
	patient  bool  // may wait for other publishers
	only     *subscription
}

// publish sends m to the topic of that key. The caller keeps m, unless it is its own.
func (b *Broker) publish(in *table[string, *topic], key, user string, m *subprotocol.Message, o outgoing) error {
	if expired(o.expires) {
		b.retained.release(o.reserved)
		b.expire(m)
		return nil
	}
	size := o.reserved
	if size > 0 {
		// It makes its topic, if need be.
	} else if _, ok := in.get(key); !ok && !b.anyPattern(key, user) {
		b.counts.unrouted.Add(1)
		return nil
	}
	it := item{publication: handler.NewPublication(m), expires: o.expires, only: o.only}
	t, err := b.openInbox(in, key, user, o.patient)
	if err == nil && size > 0 {
		// Others' parts of a transaction are done: its own can't be refused any more.
		if err = t.count(o.patient); err != nil {
			t.unlock()
		}
	}
	if err != nil {
		b.retained.release(size)
		return err
	}
	if size > 0 {
		b.retained.add(t) // before it has its number: joinPattern reads that before it looks there
	}
	it.seq = b.seq.Add(1)
	if o.own {
		it.message = m
	} else if size > 0 || b.details.Load() > 0 {
		it.message = m.Clone()
	}
	if o.retain {
		t.retain(it, size)
	}
	t.inbox = append(t.inbox, it)
	t.drainLocked()
	return nil
}

func (b *Broker) anyPattern(key, user string) bool {
	if user != "" || b.patterns.n.Load() == 0 {
		return false
	}
	var room [8]*subscription
	return len(b.patterns.matching(room[:0], key)) > 0
}

// openInbox locks the topic when there is room for one more.
func (b *Broker) openInbox(in *table[string, *topic], key, user string, patient bool) (*topic, error) {
	var timer *time.Timer
	for {
		t := b.lockTopic(in, key, user)
		if !t.busy || !patient || len(t.inbox) < maxInbox {
			return t, nil
		}
		if t.room == nil {
			t.room = make(chan struct{})
		}
		room := t.room
		t.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(maxWait)
			defer timer.Stop()
		}
		select {
		case <-room:
		case <-timer.C:
			b.counts.busy.Add(1)
			return nil, refusal("busy", "too much is sent to this destination")
		}
	}
}

// drain delivers what is in the inbox, unless somebody does.
func (t *topic) drain() {
	t.mu.Lock()
	t.drainLocked()
}

// drainLocked is drain with mu held. It releases mu.
func (t *topic) drainLocked() {
	if t.busy {
		t.mu.Unlock()
		return
	}
	t.busy = true
	t.work()
}

// work delivers until nothing is left. The caller has set busy, and mu is held.
func (t *topic) work() {
	done := false
	defer func() {
		if !done { // a Sender or a hook has ended this goroutine
			go t.resume()
		}
	}()
	for n := 0; len(t.inbox) > 0; n++ {
		if n == maxTurn {
			t.mu.Unlock()
			done = true
			go t.resume()
			return
		}
		it := t.inbox[0]
		t.inbox[0] = item{}
		if t.inbox = t.inbox[1:]; len(t.inbox) == 0 {
			t.inbox = nil
		}
		if t.room != nil && len(t.inbox) <= maxInbox/2 {
			close(t.room)
			t.room = nil
		}
		t.mu.Unlock()
		t.deliver(&it)
		t.mu.Lock()
		if t.holes > len(t.subscriptions)/2 {
			t.compact()
		}
	}
	t.compact()
	t.busy = false
	done = true
	t.unlock()
}

func (t *topic) resume() {
	t.mu.Lock()
	t.work()
}

// deliver gives one message to all that want it. Nothing is locked.
func (t *topic) deliver(it *item) {
	if it.only != nil {
		t.give(it.only, it)
		return
	}
	var room [chunk]*subscription
	for i, end := 0, false; !end; {
		batch := room[:0]
		t.mu.Lock()
		for ; i < len(t.subscriptions) && len(batch) < chunk; i++ {
			if sub := t.subscriptions[i]; sub != nil && sub.from < it.seq {
				batch = append(batch, sub)
			}
		}
		end = i >= len(t.subscriptions)
		t.mu.Unlock()
		for _, sub := range batch {
			t.give(sub, it)
		}
	}
	if t.user != "" {
		return
	}
	for _, sub := range t.broker.patterns.matching(room[:0], t.key) {
		if sub.from < it.seq {
			t.give(sub, it)
		}
	}
}

// give gives it to one subscription.
func (t *topic) give(sub *subscription, it *item) {
	defer func() {
		sub.leave()
		if v := recover(); v != nil { // of a Sender, which must not keep the others from theirs
			t.broker.counts.panics.Add(1)
		}
	}()
	switch {
	case !sub.enter():
	case sub.kind == isUser && it.only == nil && sub.session.User() != t.user:
	case it.message == nil && (sub.selector != nil || sub.consumer != nil):
	case sub.selector != nil && !sub.selector.match(it.message):
	case sub.consumer != nil:
		user := t.user
		if it.only != nil {
			user = ""
		}
		sub.consumer.queue.keep(it, user)
	default:
		// The session counts what it could not take.
		_, _ = sub.session.Publish(it.publication, sub.id, "")
	}
}

// retainer bounds what all topics retain.
type retainer struct {
	count, bytes atomic.Int64

	mu     sync.Mutex
	topics map[*topic]struct{}
}

// reserve counts a message of that size that is to be retained.
func (r *retainer) reserve(b *Broker, size int64) error {
	count, bytes := r.count.Add(1), r.bytes.Add(size)
	if count <= int64(b.opts.MaxRetained) && bytes <= b.opts.MaxRetainedBytes {
		return nil
	}
	r.release(size)
	return refusal("too-many-retained", "there are as many retained messages as there may be")
}

// release takes a message of that size out of the count.
func (r *retainer) release(size int64) {
	if size > 0 {
		r.count.Add(-1)
		r.bytes.Add(-size)
	}
}

// add has matching find t, which is to retain a message.
func (r *retainer) add(t *topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics == nil {
		r.topics = make(map[*topic]struct{})
	}
	r.topics[t] = struct{}{}
}

func (r *retainer) remove(t *topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.topics, t); len(r.topics) == 0 {
		r.topics = nil
	}
}

// retain keeps it, which size was reserved for, or nothing if that is 0. mu is held.
func (t *topic) retain(it item, size int64) {
	b := t.broker
	if t.retained != nil {
		b.retained.release(t.retained.size)
		t.retained = nil
	}
	if size == 0 {
		b.retained.remove(t)
		return
	}
	t.retained = &retained{it, size}
	if it.expires != 0 {
		b.alarms.set(&t.alarm, time.Unix(0, it.expires))
	}
}

// wake forgets the retained message if its time has come.
func (t *topic) wake(time.Time) {
	t.mu.Lock()
	switch {
	case t.gone || t.retained == nil || t.retained.expires == 0:
	case expired(t.retained.expires):
		t.retain(item{}, 0)
	default:
		t.broker.alarms.set(&t.alarm, time.Unix(0, t.retained.expires))
	}
	t.unlock()
}

// matching returns the topics with a retained message that pattern matches.
func (r *retainer) matching(pattern string, separator byte) []*topic {
	if r.count.Load() == 0 {
		return nil
	}
	one := newTrie[struct{}](separator)
	one.add(pattern, struct{}{})
	literal, _, _ := strings.Cut(pattern, "*")
	// "/a/**" matches "/a", too.
	literal = strings.TrimSuffix(literal, string(separator))
	var found []*topic
	r.mu.Lock()
	for t := range r.topics {
		if strings.HasPrefix(t.key, literal) {
			found = append(found, t)
		}
	}
	r.mu.Unlock()
	return slices.DeleteFunc(found, func(t *topic) bool {
		other := true
		one.match(t.key, func(struct{}) { other = false })
		return other
	})
}
