package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"weak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// op is what a client wants done: a SEND, an ACK or a NACK. Those of a transaction are
// done together.
type op struct {
	kind subprotocol.Kind
	done bool // or tried

	// Of a SEND.
	to       target
	message  *subprotocol.Message
	out      outgoing
	accepted bool // it is to be pushed

	// Of a SEND to a queue, an ACK and a NACK.
	queue *queue

	// Of an ACK and a NACK.
	consumer *consumer
	id       string
	number   uint64
}

// target is where a message goes.
type target struct {
	kind        kind
	destination string // as the receivers see it
	user        string
}

// settleRequest does what r, an ACK or a NACK, asks for.
func (b *Broker) settleRequest(r handler.Request) error {
	m := r.Message
	o := &op{kind: m.Kind, id: m.ID}
	sub := b.find(r.Session, m.Subscription)
	if sub == nil || sub.consumer == nil || sub.mode == subprotocol.AckAuto {
		return o.unknown()
	}
	n, err := strconv.ParseUint(m.ID, 10, 64)
	var room [20]byte
	if err != nil || string(strconv.AppendUint(room[:0], n, 10)) != m.ID { // such as 01
		return o.unknown()
	}
	sub.mu.Lock()
	o.consumer, o.number, o.queue = sub.consumer, n, sub.consumer.queue
	sub.mu.Unlock()
	if o.queue == nil { // the subscription has not begun
		return o.unknown()
	}
	o.id = strings.Clone(m.ID)
	return b.stage(r, o)
}

// unknown refuses an ACK or a NACK.
func (o *op) unknown() error {
	return refusal("unknown-ack", fmt.Sprintf("there is no delivery with the id %q to be settled here: it is unknown or was settled before", o.id))
}

// stage does o, or leaves that to the end of the transaction.
func (b *Broker) stage(r handler.Request, o *op) error {
	if r.Message.Transaction == "" {
		return r.OnCommit(func() error { return b.commit(nil, o) })
	}
	if err := b.possible(o); err != nil {
		return err
	}
	m := b.member(r.Session)
	if err := r.OnCommit(func() error { return b.commit(m, o) }); err != nil || o.done {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.staged) == cap(m.staged) {
		m.staged = slices.DeleteFunc(m.staged, func(p weak.Pointer[op]) bool { return p.Value() == nil })
	}
	m.staged = append(m.staged, weak.Make(o))
	return nil
}

// commit does o, and with it all that was staged behind it: it is the first of its
// transaction that is called for, so that what stands before it belongs to transactions that
// failed. Nothing but a weak pointer is left of those.
func (b *Broker) commit(m *member, o *op) error {
	if o.done {
		return nil
	}
	ops := []*op{o}
	if m != nil {
		m.mu.Lock()
		found := false
		for _, p := range m.staged {
			s := p.Value()
			switch {
			case s == o:
				found = true
			case found && s != nil:
				ops = append(ops, s)
			}
		}
		m.staged = nil
		m.mu.Unlock()
	}
	for _, o := range ops {
		o.done = true
	}
	return b.do(ops)
}

// possible reports what keeps o from being done as things are, so that the part of a
// transaction that can't be done is the one that is refused.
func (b *Broker) possible(o *op) error {
	q := o.queue
	if o.to.kind == isQueue {
		q, _ = b.queues.get(o.to.destination)
	}
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case o.kind != subprotocol.KindSend:
		if o.consumer.find(o.number) < 0 {
			return o.unknown()
		}
	case q.n >= b.opts.MaxQueueMessages || q.bytes+sizeOf(o.message) > b.opts.MaxQueueBytes:
		return o.full()
	}
	return nil
}

func (o *op) full() error {
	return refusal("queue-full", fmt.Sprintf("%q is full", o.to.destination))
}

// do does all of ops, or nothing and reports why.
func (b *Broker) do(ops []*op) error {
	if len(ops) > 1 {
		if err := b.awaitRoom(ops); err != nil {
			return err
		}
	}
	var a aftermath
	queues, err := b.lockQueues(ops)
	if err != nil {
		return err
	}
	var bytes int64
	if err = b.prepare(ops, &bytes); err == nil {
		for _, o := range ops {
			o.apply(&a)
		}
	} else {
		for _, o := range ops {
			o.forget()
			b.retained.release(o.out.reserved)
		}
		b.queueBytes.Add(-bytes)
	}
	for _, q := range queues {
		q.unlock()
	}
	if err != nil {
		return err
	}
	for _, o := range ops {
		if o.kind == subprotocol.KindSend && o.to.kind != isQueue {
			// A part of a transaction does not wait, because others' parts are done.
			o.out.patient = len(ops) == 1
			if e := b.publishTo(o.to, o.message, o.out); e != nil && err == nil {
				err = e
			}
		}
	}
	b.finish(&a)
	for _, q := range queues {
		q.pump()
	}
	return err
}

// awaitRoom waits until the topics of ops have room, as they are published to without
// waiting once others' parts are done.
func (b *Broker) awaitRoom(ops []*op) error {
	for _, o := range ops {
		table, key := &b.topics, o.to.destination
		switch o.to.kind {
		case isTopic:
		case isUser:
			table, key = &b.users, userKey(o.to.user, o.to.destination)
		default:
			continue
		}
		if _, ok := table.get(key); !ok {
			continue
		}
		t, err := b.openInbox(table, key, o.to.user, true)
		if err != nil {
			return err
		}
		t.unlock()
	}
	return nil
}

// lockQueues finds and locks the queues of ops, in the order of their numbers.
func (b *Broker) lockQueues(ops []*op) ([]*queue, error) {
	for {
		queues, err := b.queuesOf(ops)
		slices.SortFunc(queues, func(q, r *queue) int { return cmp.Compare(q.number, r.number) })
		for _, q := range queues {
			q.mu.Lock()
		}
		if err == nil && !slices.ContainsFunc(ops, func(o *op) bool { return o.to.kind == isQueue && o.queue.gone }) {
			return queues, nil
		}
		for _, q := range queues {
			gone := q.gone && !q.private
			q.unlock() // which lets go of one that was made for nothing
			if gone {
				b.queues.remove(q.name, q)
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// queuesOf returns the queues of ops, each once, and makes those that are not there.
func (b *Broker) queuesOf(ops []*op) ([]*queue, error) {
	var queues []*queue
	for _, o := range ops {
		if o.to.kind == isQueue {
			q, err := b.queueAt(o.to.destination)
			if err != nil {
				return queues, err
			}
			o.queue = q
		}
		if o.queue != nil && !slices.Contains(queues, o.queue) {
			queues = append(queues, o.queue)
		}
	}
	return queues, nil
}

// prepare checks that all of ops can be done, and claims what they need. The queues are
// locked.
func (b *Broker) prepare(ops []*op, bytes *int64) error {
	for i, o := range ops {
		switch {
		case o.kind != subprotocol.KindSend:
			if !o.claim() {
				return o.unknown()
			}
		case expired(o.out.expires):
		case o.to.kind != isQueue:
			if o.to.kind == isTopic && o.out.retain && len(o.message.Body) > 0 {
				if _, ok := b.topics.get(o.to.destination); !ok && b.destinations.Load() >= int64(b.opts.MaxDestinations) {
					return errDestinations
				}
				size := sizeOf(o.message)
				if err := b.retained.reserve(b, size); err != nil {
					return err
				}
				o.out.reserved = size
			}
		default:
			size := sizeOf(o.message)
			n, sum := 1, size
			for _, before := range ops[:i] {
				if before.accepted && before.queue == o.queue {
					n++
					sum += sizeOf(before.message)
				}
			}
			q := o.queue
			if q.n+n > b.opts.MaxQueueMessages || q.bytes+sum > b.opts.MaxQueueBytes {
				return o.full()
			}
			*bytes += size
			if b.queueBytes.Add(size) > b.opts.MaxBytes {
				return refusal("queue-full", "all queues together hold as much as they may")
			}
			o.accepted = true
		}
	}
	return nil
}

// claim marks the deliveries that o settles. It reports false if the one that it names is
// settled, or claimed by another op.
func (o *op) claim() bool {
	c := o.consumer
	i := c.find(o.number)
	if i < 0 || c.unsettled[i].entry.claimed {
		o.consumer = nil // it has claimed nothing
		return false
	}
	for j := o.first(i); j <= i; j++ {
		if e := c.unsettled[j].entry; e != nil {
			e.claimed = true
		}
	}
	return true
}

// first is the first place that o is about if the one that it names is at i.
func (o *op) first(i int) int {
	if o.consumer.sub.mode == subprotocol.AckClient {
		return 0
	}
	return i
}

// forget gives up what o has claimed.
func (o *op) forget() {
	if o.consumer == nil {
		return
	}
	for _, s := range o.consumer.unsettled {
		if s.entry != nil {
			s.entry.claimed = false
		}
	}
}

// apply does o, for which all is prepared, as far as it is about queues. Those are locked.
func (o *op) apply(a *aftermath) {
	q := o.queue
	switch {
	case o.kind != subprotocol.KindSend:
		o.settle(a)
	case o.accepted:
		q.push(&entry{message: o.message, size: sizeOf(o.message), expires: o.out.expires})
	case o.to.kind == isQueue:
		q.counts.Accepted++
		q.counts.Expired++
		a.expired = append(a.expired, o.message)
	}
}

// settle settles what o has claimed.
func (o *op) settle(a *aftermath) {
	c, q := o.consumer, o.queue
	i := c.find(o.number)
	for j := o.first(i); j <= i; j++ {
		if c.unsettled[j].entry == nil {
			continue
		}
		e := q.settle(c, j)
		if o.kind == subprotocol.KindAck {
			q.counts.Acked++
			q.discount(e)
		} else {
			q.counts.Refused++
			q.refuse(e, c, DeadRefused, a)
		}
	}
	c.tidy()
}
