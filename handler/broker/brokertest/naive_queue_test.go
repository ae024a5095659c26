package brokertest_test

import (
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

func (b *naive) acknowledge(r handler.Request, m *subprotocol.Message) error {
	var s *interest
	for _, one := range b.subs {
		own := one.session == r.Session && one.id == m.Subscription
		if !own && !b.is("anybody may settle") {
			continue
		}
		if slices.ContainsFunc(one.unsettled, func(d delivery) bool { return d.id == m.ID }) {
			s = one
		}
	}
	if s == nil {
		switch {
		case b.is("an unknown Ack is accepted"):
			return nil
		case b.is("an unknown Ack is not named"):
			return refusal("unknown-ack", "there is no such delivery")
		case b.is("an unknown Ack settles the next"):
			s := b.subs[slices.IndexFunc(b.subs, func(s *interest) bool { return s.session == r.Session && s.id == m.Subscription })]
			s.unsettled = s.unsettled[min(1, len(s.unsettled)):]
		}
		return refusal("unknown-ack", "there is no delivery "+m.ID)
	}
	id, kind := m.ID, m.Kind
	if m.Transaction == "" || b.is("an Ack does not wait for its transaction") {
		b.settle(s, id, kind)
		return nil
	}
	if b.is("an Ack in a transaction is forgotten") {
		return nil
	}
	return r.OnCommit(func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.settle(s, id, kind)
		return nil
	})
}

func (b *naive) settle(s *interest, id string, kind subprotocol.Kind) {
	i := slices.IndexFunc(s.unsettled, func(d delivery) bool { return d.id == id })
	if i < 0 || b.is("Acks are ignored") {
		return
	}
	first := i
	switch cumulative := s.mode == subprotocol.AckClient; {
	case cumulative && b.is("a cumulative Ack settles one"):
	case cumulative && kind == subprotocol.KindNack && b.is("a cumulative Nack refuses one"):
	case cumulative, b.is("an individual Ack is cumulative"):
		first = 0
	}
	last := i + 1
	if b.is("an Ack settles all") {
		last = len(s.unsettled)
	}
	done := slices.Clone(s.unsettled[first:last])
	s.unsettled = slices.Delete(s.unsettled, first, last)
	if kind == subprotocol.KindNack && !b.is("a refused message is dropped") {
		for _, d := range done {
			b.refuse(s, d.item)
		}
	}
	if b.is("one Ack settles for all subscribers") {
		for _, o := range b.subs {
			if o.to == s.to && len(o.unsettled) > 0 {
				o.unsettled = o.unsettled[1:]
				b.flush(o)
			}
		}
	}
	if !b.is("an Ack makes no room") {
		b.flush(s)
		b.pump(s.to)
	}
}

// refuse has another consumer try, unless all have tried enough.
func (b *naive) refuse(s *interest, it *item) {
	if it.refused = s; b.is("a refused message comes back to the same") {
		s.backlog = append(s.backlog, it)
		return
	}
	if n := b.setup.MaxDeliveries; n > 0 && it.attempts >= n && !b.is("a poisonous message comes again and again") {
		switch m := it.Message.Clone(); {
		case b.is("a poisonous message vanishes"):
		case b.is("a dead letter has no header"):
			m.Header = nil
			fallthrough
		default:
			m.Header.Add("dead", "yes")
			_ = b.route(b.setup.DeadLetter, m)
		}
		return
	}
	b.back(s.to, it)
}

// flush delivers what waits for room in one's own window.
func (b *naive) flush(s *interest) {
	for len(s.backlog) > 0 && len(s.unsettled) < s.window {
		it := s.backlog[0]
		s.backlog = s.backlog[1:]
		b.deliver(s, it)
	}
}

func (b *naive) enqueue(to string, it *item) error {
	consumers := func() (all []*interest) {
		for _, s := range b.subs {
			if s.to == to {
				all = append(all, s)
			}
		}
		return all
	}()
	switch {
	case b.is("a queue is a topic"):
		for _, s := range consumers {
			b.deliver(s, it)
		}
		return nil
	case b.is("a queue is not kept") && len(consumers) == 0:
		return nil
	case b.is("a tenth is lost") && b.count%10 == 0:
		return nil
	case b.is("a tenth comes twice") && b.count%10 == 0:
		b.queues[to] = append(b.queues[to], &item{Message: it.Message, number: it.number})
	case b.is("queues are one"):
		for _, s := range b.subs {
			if strings.HasPrefix(s.to, "/queue/") && s.to != to {
				to = s.to
			}
		}
	case b.is("the queue is a stack"):
		it.number = -it.number
	case b.is("messages of a queue change places"):
		if b.late == nil {
			it.number += 2
			b.late = func() {}
			b.back(to, it)
			return nil
		}
		b.late = nil
	case b.is("a queue keeps no content type"):
		it.ContentType = ""
	}
	b.back(to, it)
	b.pump(to)
	return nil
}

// pump gives what a queue has to consumers with room, those first that have the
// least.
func (b *naive) pump(to string) {
	if b.is("the queue waits for the slowest") && slices.ContainsFunc(b.subs, func(s *interest) bool {
		return s.to == to && s.mode != subprotocol.AckAuto && len(s.unsettled) >= s.window
	}) {
		return
	}
	for i := 0; i < len(b.queues[to]); {
		it := b.queues[to][i]
		if !it.over.IsZero() && it.over.Before(time.Now()) {
			b.queues[to] = slices.Delete(b.queues[to], i, i+1)
			continue
		}
		var best *interest
		for _, s := range b.subs {
			if s.to != to || s.mode != subprotocol.AckAuto && len(s.unsettled) >= s.window ||
				!s.picks(it) && !b.is("selectors of queues are ignored") {
				continue
			}
			if best == nil || it.refused == best || len(s.unsettled) < len(best.unsettled) && it.refused != s {
				best = s
			}
		}
		if best == nil {
			i++
			continue
		}
		b.queues[to] = slices.Delete(b.queues[to], i, i+1)
		b.deliver(best, it)
	}
}
