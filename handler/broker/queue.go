package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/subprotocol"
)

const (
	// A session that had no room is tried again after minRetry, then after twice as
	// long, and so on up to maxRetry.
	minRetry = 5 * time.Millisecond
	maxRetry = time.Second
	// sweepPause is the time between two looks for expired messages in a queue.
	sweepPause = time.Second
	// maxSelecting is how long selectors are looked at before others may have the queue.
	maxSelecting = 10 * time.Millisecond
)

// queue holds messages until each was settled by one consumer. It is a destination, or
// the private backlog of one subscription of a topic. One goroutine at a time gives
// messages to consumers, without holding a lock.
type queue struct {
	broker  *Broker
	name    string
	private bool
	number  uint64 // the order in which several are locked
	alarm   alarm

	mu      sync.Mutex
	gone    bool
	pumping bool
	turns   impatient // of who pumps

	n      int // messages, those included that are unsettled or under way
	bytes  int64
	seq    uint64 // of the last message
	ready  entryList
	counts QueueCounters

	consumers  int
	unsettled  int          // deliveries
	free       consumerList // those that may get a message, who waits longest first
	waiting    []*consumer  // those whose sessions had no room
	generation int          // how often a message came back

	selecting time.Time // when next began to look at selectors
	undecided bool      // next has to be called again

	refused []refused // which consumer may get what it refused, the first first
	expiry  int64     // nothing in ready expires before, 0 for never
	swept   time.Time
}

// entry is a message in a queue.
type entry struct {
	message *subprotocol.Message // immutable
	user    string               // whom it is for, "" for whoever takes from the queue
	seq     uint64               // its place in the order
	size    int64
	expires int64

	next, prev *entry // in queue.ready
	attempts   int
	owner      *consumer // who has not settled it yet
	avoid      *consumer // who has refused it, and may have it again at due
	due        time.Time
	claimed    bool // by a transaction that is being committed
}

type refused struct {
	entry *entry
	by    *consumer
	due   time.Time
}

// stale reports whether the entry was delivered again since, or is gone.
func (r refused) stale() bool { return r.entry.avoid != r.by || !r.entry.due.Equal(r.due) }

// consumer is a subscription that takes from a queue. All but sub and window are guarded
// by queue.mu.
type consumer struct {
	sub    *subscription
	window int
	queue  *queue // constant once the subscription has begun

	next, prev *consumer // in queue.free
	free       bool
	gone       bool
	waits      bool          // is in queue.waiting
	patience   time.Duration // after which it is tried again
	retry      time.Time     // when that is
	open       int           // how many of unsettled are
	unsettled  []slot        // by number; one that is settled is empty until those before are
	passed     uint64        // all ready messages up to this one are not for it
	generation int           // of the queue, when passed was found out
}

// slot is a delivery.
type slot struct {
	number uint64
	entry  *entry
}

// aftermath is what is to be done when no lock is held.
type aftermath struct {
	dead    []deadLetter
	expired []*subprotocol.Message
	dropped []*subprotocol.Message
}

type deadLetter struct {
	message  *subprotocol.Message
	attempts int
	reason   DeadReason
}

// newQueue makes a queue that is in no table yet.
func (b *Broker) newQueue(name string) *queue {
	q := &queue{broker: b, name: name, number: b.queueNumber.Add(1)}
	q.alarm.wake = q.wake
	return q
}

// lockQueue returns the queue of that name, locked, and makes it.
func (b *Broker) lockQueue(name string) (*queue, error) {
	for {
		q, err := b.queueAt(name)
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		if !q.gone {
			return q, nil
		}
		q.mu.Unlock()
		b.queues.remove(name, q)
	}
}

func (b *Broker) queueAt(name string) (*queue, error) {
	return b.queues.add(name, func() (*queue, error) {
		if err := b.countDestination(); err != nil {
			return nil, err
		}
		return b.newQueue(name), nil
	})
}

// unlock lets go of q, and of the table's entry if nobody needs it.
func (q *queue) unlock() {
	gone := !q.private && !q.gone && q.n == 0 && q.consumers == 0 && !q.pumping
	if gone {
		q.gone = true
		q.broker.past.add(&q.counts)
	}
	q.mu.Unlock()
	if gone {
		q.broker.queues.remove(q.name, q)
		q.broker.alarms.clear(&q.alarm)
		q.broker.destinations.Add(-1)
	}
}

// consume puts sub into its queue. What it returns gives it messages.
func (b *Broker) consume(sub *subscription) (func(), error) {
	q, err := b.lockQueue(sub.destination)
	if err != nil {
		return nil, err
	}
	q.join(sub.consumer)
	q.unlock()
	return q.pump, nil
}

// join lets c take from q. mu is held, or nobody else has q.
func (q *queue) join(c *consumer) {
	c.queue = q
	q.consumers++
	q.release(c)
}

// release lets c have messages if it has room. mu is held.
func (q *queue) release(c *consumer) {
	if !c.free && !c.gone && !c.waits && c.open < c.window {
		q.free.push(c)
	}
}

// hold keeps c from getting messages. mu is held.
func (q *queue) hold(c *consumer) {
	if c.free {
		q.free.remove(c)
	}
}

// part takes c out, and gives what it had to others.
func (q *queue) part(c *consumer) {
	var a aftermath
	q.mu.Lock()
	c.gone = true
	q.consumers--
	q.hold(c)
	if c.waits {
		q.waiting = slices.DeleteFunc(q.waiting, func(o *consumer) bool { return o == c })
	}
	open := c.unsettled
	c.unsettled, c.open = nil, 0
	// The last one first: where the others then belong is found at once.
	for _, s := range slices.Backward(open) {
		if s.entry != nil {
			q.unsettled--
			s.entry.owner = nil
			if q.private {
				q.discount(s.entry)
			} else if !q.bury(s.entry, DeadAbandoned, &a) {
				q.putBack(s.entry)
			}
		}
	}
	if !q.private {
		q.unlock()
		q.broker.finish(&a)
		q.pump()
		return
	}
	for q.ready.head != nil {
		q.discount(q.ready.head)
		q.ready.remove(q.ready.head)
	}
	q.gone = true
	q.broker.past.add(&q.counts)
	q.mu.Unlock()
	q.broker.alarms.clear(&q.alarm)
}

// held is what counts the bytes of q, and of all others like it.
func (q *queue) held() *atomic.Int64 {
	if q.private {
		return &q.broker.backlogBytes
	}
	return &q.broker.queueBytes
}

// discount takes e, which leaves q for good, out of all sums. mu is held.
func (q *queue) discount(e *entry) {
	q.n--
	q.bytes -= e.size
	q.held().Add(-e.size)
	e.avoid = nil
}

// bury discounts e if it was delivered as often as it may be. mu is held.
func (q *queue) bury(e *entry, reason DeadReason, a *aftermath) bool {
	if e.attempts < q.broker.opts.MaxDeliveries {
		return false
	}
	q.discount(e)
	q.counts.Dead++
	a.dead = append(a.dead, deadLetter{e.message, e.attempts, reason})
	return true
}

// push appends e, a new message that is counted in held. mu is held.
func (q *queue) push(e *entry) {
	q.n++
	q.bytes += e.size
	q.seq++
	e.seq = q.seq
	q.counts.Accepted++
	q.ready.insert(e)
	q.expires(e)
}

// putBack has e, which was given to a consumer, wait in its old place. mu is held.
func (q *queue) putBack(e *entry) {
	q.generation++
	q.ready.insert(e)
	q.expires(e)
}

// expires has e, which is ready, looked for when it expires. mu is held.
func (q *queue) expires(e *entry) {
	if e.expires == 0 || q.expiry != 0 && q.expiry <= e.expires {
		return
	}
	q.expiry = e.expires
	q.broker.alarms.set(&q.alarm, q.nextSweep())
}

func (q *queue) nextSweep() time.Time {
	at := time.Unix(0, q.expiry)
	if earliest := q.swept.Add(sweepPause); at.Before(earliest) {
		return earliest
	}
	return at
}

// refuse has e, which c could not or would not take, go to somebody else, or to c again
// after a while. mu is held.
func (q *queue) refuse(e *entry, c *consumer, reason DeadReason, a *aftermath) {
	if q.bury(e, reason, a) {
		return
	}
	e.avoid, e.due = c, time.Now().Add(q.broker.opts.RedeliveryDelay)
	if len(q.refused) == cap(q.refused) {
		// Many may have been settled since: with a long delay they would add up.
		q.refused = slices.DeleteFunc(q.refused, refused.stale)
	}
	q.refused = append(q.refused, refused{e, c, e.due})
	q.broker.alarms.set(&q.alarm, e.due)
	q.putBack(e)
}

// keep takes a message of a topic for the one consumer of a private queue. If there are
// too many the oldest goes.
func (q *queue) keep(it *item, user string) {
	b := q.broker
	e := &entry{message: it.message, user: user, size: sizeOf(it.message), expires: it.expires}
	q.held().Add(e.size)
	var a aftermath
	q.mu.Lock()
	if q.gone {
		q.mu.Unlock()
		q.held().Add(-e.size)
		return
	}
	q.push(e)
	// Who holds no more than others may hold, too, does not pay for those who hold all.
	share := b.opts.MaxBytes / max(1, b.details.Load())
	for q.ready.n > b.opts.MaxBacklog || q.ready.n > 0 && q.n > 1 &&
		(q.bytes > b.opts.MaxQueueBytes || q.bytes > share && q.held().Load() > b.opts.MaxBytes) {
		old := q.ready.head
		q.drop(old, &a)
	}
	q.mu.Unlock()
	b.finish(&a)
	q.pump()
}

// wake does what q has waited for.
func (q *queue) wake(now time.Time) {
	var a aftermath
	q.mu.Lock()
	if q.gone {
		q.mu.Unlock()
		return
	}
	for len(q.refused) > 0 && !q.refused[0].due.After(now) {
		r := q.refused[0]
		q.refused[0] = refused{}
		q.refused = q.refused[1:]
		if !r.stale() {
			r.entry.avoid = nil
			q.generation++
		}
	}
	if len(q.refused) == 0 {
		q.refused = nil
	} else {
		q.broker.alarms.set(&q.alarm, q.refused[0].due)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(c *consumer) bool {
		if c.retry.After(now) {
			q.broker.alarms.set(&q.alarm, c.retry)
			return false
		}
		c.waits = false
		q.release(c)
		return true
	})
	q.sweep(now, &a)
	q.unlock()
	q.broker.finish(&a)
	q.pump()
}

// sweep drops what has expired. mu is held.
func (q *queue) sweep(now time.Time, a *aftermath) {
	if q.expiry == 0 {
		return
	}
	if at := q.nextSweep(); at.After(now) {
		q.broker.alarms.set(&q.alarm, at)
		return
	}
	q.swept = now
	q.expiry = 0
	for e := q.ready.head; e != nil; {
		next := e.next
		if e.expires != 0 && e.expires <= now.UnixNano() {
			q.expire(e, a)
		} else {
			q.expires(e)
		}
		e = next
	}
}

// expire drops e, which is ready. mu is held.
func (q *queue) expire(e *entry, a *aftermath) {
	q.ready.remove(e)
	q.discount(e)
	q.counts.Expired++
	a.expired = append(a.expired, e.message)
}

// drop drops e, which is ready. mu is held.
func (q *queue) drop(e *entry, a *aftermath) {
	q.ready.remove(e)
	q.discount(e)
	q.counts.Dropped++
	a.dropped = append(a.dropped, e.message)
}

// next finds who is to get which message. If that takes long it returns nobody before it
// has found out, and sets q.undecided. mu is held.
func (q *queue) next(a *aftermath) (*consumer, *entry) {
	q.selecting, q.undecided = time.Time{}, false
	if q.ready.head == nil {
		return nil, nil
	}
	for c := q.free.head; c != nil && !q.undecided; c = c.next {
		if e := q.firstFor(c, a); e != nil {
			return c, e
		}
	}
	return nil, nil
}

// firstFor returns the first message that c may get. mu is held.
func (q *queue) firstFor(c *consumer, a *aftermath) *entry {
	if c.generation != q.generation {
		c.generation, c.passed = q.generation, 0
	}
	if q.ready.tail == nil || q.ready.tail.seq <= c.passed {
		return nil
	}
	for e := q.ready.head; e != nil; {
		next := e.next
		switch {
		case e.seq <= c.passed:
		case expired(e.expires):
			q.expire(e, a)
		case e.user != "" && e.user != c.sub.session.User():
			q.drop(e, a) // it was kept for another user of this session
		case e.avoid == c:
			c.passed = e.seq
		case c.sub.selector != nil && !q.selects(c, e):
			c.passed = e.seq
			if q.undecided {
				return nil
			}
		default:
			return e
		}
		e = next
	}
	return nil
}

// selects asks c's selector about e, and looks at the clock. mu is held.
func (q *queue) selects(c *consumer, e *entry) bool {
	if q.selecting.IsZero() {
		q.selecting = time.Now()
	}
	if c.sub.selector.match(e.message) {
		return true
	}
	q.undecided = time.Since(q.selecting) > maxSelecting
	return false
}

// entryList is a list in the order of seq.
type entryList struct {
	head, tail *entry
	n          int
}

// insert puts e where it belongs. What comes back is searched for from the front, as it is
// older than most.
func (l *entryList) insert(e *entry) {
	l.n++
	if l.tail == nil || l.tail.seq < e.seq {
		e.prev, e.next = l.tail, nil
		if l.tail == nil {
			l.head = e
		} else {
			l.tail.next = e
		}
		l.tail = e
		return
	}
	at := l.head
	for at.seq < e.seq {
		at = at.next
	}
	e.prev, e.next = at.prev, at
	if at.prev == nil {
		l.head = e
	} else {
		at.prev.next = e
	}
	at.prev = e
}

func (l *entryList) remove(e *entry) {
	l.n--
	if e.prev == nil {
		l.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// consumerList is a list of those who are free.
type consumerList struct{ head, tail *consumer }

func (l *consumerList) push(c *consumer) {
	c.free = true
	c.prev, c.next = l.tail, nil
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.next = c
	}
	l.tail = c
}

func (l *consumerList) remove(c *consumer) {
	c.free = false
	if c.prev == nil {
		l.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}
