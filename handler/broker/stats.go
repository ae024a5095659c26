package broker

import (
	"iter"
	"sync"
	"sync/atomic"

	"github.com/weftws/weft/handler"
)

// Stats is what a Broker holds, and what it has counted since it was made. The numbers
// are read one after the other, so that they may be apart by what happened meanwhile.
type Stats struct {
	// What there is now.
	Sessions      int // that have subscriptions
	Subscriptions int
	Destinations  int // topics, users' ones and queues, without patterns
	Queues        int
	Retained      int
	QueueBytes    int64 // as Options.MaxBytes counts, and so it is with
	BacklogBytes  int64 // what subscriptions of topics with acknowledgements hold
	Ready         int   // messages that wait in queues, and in such backlogs
	Unsettled     int   // deliveries of both that were not acknowledged yet

	// What queues and the backlogs of subscriptions with acknowledgements have
	// counted. Expired and Dropped are all that the hooks of that name were told.
	QueueCounters

	Unrouted uint64 // messages for a topic or a user that nobody had subscribed to
	Busy     uint64 // messages that were refused with "busy"
	Panics   uint64 // of hooks and Senders
}

// QueueCounters is what queues count.
type QueueCounters struct {
	Accepted    uint64 // messages
	Delivered   uint64 // deliveries that sessions have taken
	Redelivered uint64 // of these, those of a message that was delivered before
	Acked       uint64 // deliveries that were acknowledged, or needed no acknowledgement
	Refused     uint64 // deliveries that a NACK was about
	Dead        uint64 // messages that were delivered too often
	Expired     uint64 // messages
	Dropped     uint64 // messages that a backlog had no room for
}

func (c *QueueCounters) add(o *QueueCounters) {
	c.Accepted += o.Accepted
	c.Delivered += o.Delivered
	c.Redelivered += o.Redelivered
	c.Acked += o.Acked
	c.Refused += o.Refused
	c.Dead += o.Dead
	c.Expired += o.Expired
	c.Dropped += o.Dropped
}

// QueueStats is what there is in a queue, and what it has counted since it was last made: a queue
// that is empty and has no consumers is forgotten.
type QueueStats struct {
	Destination string
	Ready       int // messages that wait
	Unsettled   int // deliveries that were not acknowledged yet
	Consumers   int
	Bytes       int64 // as Options.MaxQueueBytes counts
	QueueCounters
}

// counters are what is counted rarely.
type counters struct {
	unrouted, busy, expired, dropped, panics atomic.Uint64
}

// pastCounters are the sums of queues that are gone.
type pastCounters struct {
	gone atomic.Uint64 // how many

	mu  sync.Mutex
	sum QueueCounters
}

func (p *pastCounters) add(c *QueueCounters) {
	p.gone.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.add(c)
}

func (q *queue) stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return QueueStats{
		Destination: q.name, Ready: q.ready.n, Unsettled: q.unsettled, Consumers: q.consumers, Bytes: q.bytes, QueueCounters: q.counts,
	}
}

// Stats returns the counters. It takes time by the number of queues and sessions.
func (b *Broker) Stats() Stats {
	st := Stats{
		Subscriptions: int(b.subscriptions.Load()),
		Destinations:  int(b.destinations.Load()),
		Retained:      int(b.retained.count.Load()),
		QueueBytes:    b.queueBytes.Load(),
		BacklogBytes:  b.backlogBytes.Load(),
	}
	for range 10 {
		// A queue that was forgotten meanwhile may have counted twice, or not at all.
		before := b.past.gone.Load()
		b.sum(&st)
		if b.past.gone.Load() == before {
			break
		}
	}
	st.Unrouted = b.counts.unrouted.Load()
	st.Busy = b.counts.busy.Load()
	st.Expired = b.counts.expired.Load()
	st.Dropped = b.counts.dropped.Load()
	st.Panics = b.counts.panics.Load()
	return st
}

// sum counts sessions and queues, and adds up what all queues hold and have counted.
func (b *Broker) sum(st *Stats) {
	st.Sessions, st.Queues, st.Ready, st.Unsettled, st.QueueCounters = 0, 0, 0, 0, QueueCounters{}
	add := func(q *queue) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		if !q.gone {
			st.Ready += q.ready.n
			st.Unsettled += q.unsettled
			st.QueueCounters.add(&q.counts)
		}
		return !q.gone
	}
	for q := range b.queues.all() {
		if add(q) {
			st.Queues++
		}
	}
	for m := range b.members.all() {
		subs := m.all()
		if len(subs) > 0 {
			st.Sessions++
		}
		for _, sub := range subs {
			if q := sub.backlog(); q != nil {
				add(q)
			}
		}
	}
	b.past.mu.Lock()
	st.QueueCounters.add(&b.past.sum)
	b.past.mu.Unlock()
}

// backlog is the queue of a subscription of a topic, nil if there is none.
func (sub *subscription) backlog() *queue {
	if sub.kind == isQueue || sub.consumer == nil {
		return nil
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.consumer.queue
}

// Queue returns what there is in a queue. It reports false if there is none of that name:
// no message and no consumer.
func (b *Broker) Queue(destination string) (QueueStats, bool) {
	q, ok := b.queues.get(destination)
	if !ok {
		return QueueStats{}, false
	}
	return q.stats(), true
}

// Queues ranges over the queues, in no order.
func (b *Broker) Queues() iter.Seq[QueueStats] {
	return func(yield func(QueueStats) bool) {
		for q := range b.queues.all() {
			if !yield(q.stats()) {
				return
			}
		}
	}
}

// Subscriptions ranges over all subscriptions, in no order. The loop may take its time, and
// end what it finds.
func (b *Broker) Subscriptions() iter.Seq[Subscription] {
	return b.having(func(*subscription) bool { return true })
}

// SubscriptionsOf ranges over the subscriptions of one session.
func (b *Broker) SubscriptionsOf(s *handler.Session) iter.Seq[Subscription] {
	return func(yield func(Subscription) bool) {
		for _, sub := range b.of(s) {
			if !yield(sub.public()) {
				return
			}
		}
	}
}

// SubscriptionsTo ranges over the subscriptions to exactly this destination. It takes
// time by the number of all subscriptions.
func (b *Broker) SubscriptionsTo(destination string) iter.Seq[Subscription] {
	return b.having(func(sub *subscription) bool { return sub.destination == destination })
}

// SubscriptionsOfUser ranges over the subscriptions of all sessions of one user. It takes
// time by the number of all subscriptions.
func (b *Broker) SubscriptionsOfUser(user string) iter.Seq[Subscription] {
	return b.having(func(sub *subscription) bool { return sub.session.User() == user })
}

func (b *Broker) having(wanted func(*subscription) bool) iter.Seq[Subscription] {
	return func(yield func(Subscription) bool) {
		for m := range b.members.all() {
			for _, sub := range m.all() {
				if wanted(sub) && !yield(sub.public()) {
					return
				}
			}
		}
	}
}

// of returns the subscriptions of a session.
func (b *Broker) of(s *handler.Session) []*subscription {
	m, ok := b.members.get(s)
	if !ok {
		return nil
	}
	return m.all()
}

func (m *member) all() []*subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*subscription, 0, len(m.subscriptions))
	for _, sub := range m.subscriptions {
		all = append(all, sub)
	}
	return all
}
