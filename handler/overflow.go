package handler

import (
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// OverflowPolicy is what happens to a message for which there is no room:
// CloseOnOverflow, DropNewest, DropOldest, or what Conflate returns.
type OverflowPolicy struct {
	mode overflowMode
	key  func(*subprotocol.Message) string
}

type overflowMode uint8

const (
	overflowClose overflowMode = iota
	overflowNewest
	overflowOldest
	overflowConflate
)

// CloseOnOverflow closes the session and drops what is queued: a client either
// gets everything or knows that it does not. The close status is 1008 if the
// session's own limit is reached and 1013 if that of all sessions together is.
// It is the default.
func CloseOnOverflow() OverflowPolicy { return OverflowPolicy{mode: overflowClose} }

// DropNewest drops the message that finds no room.
func DropNewest() OverflowPolicy { return OverflowPolicy{mode: overflowNewest} }

// DropOldest drops messages from the front of the queue until there is room, but
// none that is being written. If there would be none without the whole queue
// either, because other sessions have filled the bound over all, it drops the new
// message alone.
func DropOldest() OverflowPolicy { return OverflowPolicy{mode: overflowOldest} }

// Conflate puts a message that finds no room in the place of the oldest queued
// one with the same key, and drops the others with that key: the client gets
// the latest value of each key. A message whose key is "", or is not in the
// queue, is dropped as with DropNewest. key is called for every message that is
// queued, from any goroutine; the message is valid until it returns, and what
// it returns must not alias the message's Body.
func Conflate(key func(m *subprotocol.Message) string) OverflowPolicy {
	if key == nil {
		panic("handler: Conflate without a key function")
	}
	return OverflowPolicy{overflowConflate, key}
}

// overflow does what the policy says about e, which does not fit. It is called
// with mu held and releases it.
func (s *Session) overflow(e entry) (Status, error) {
	one := Drop{Reason: DroppedNewest, Messages: 1, Bytes: e.size()}
	switch s.endpoint.cfg.overflow.mode {
	case overflowOldest:
		if n := s.roomAfter(&e); n > 0 {
			d := Drop{Reason: DroppedOldest, Messages: n}
			for range n {
				old := s.ring.popFront()
				d.Bytes += old.size()
				s.discount(&old)
			}
			s.push(e)
			s.schedule()
			s.mu.Unlock()
			s.dropped(d)
			return Queued, nil
		}
		s.mu.Unlock()
	case overflowConflate:
		if d := s.conflate(e); d.Messages > 0 {
			s.schedule()
			s.mu.Unlock()
			s.dropped(d)
			return Queued, nil
		}
		s.mu.Unlock()
	case overflowClose:
		code := transport.StatusPolicyViolation
		if s.fits(&e) {
			code = transport.StatusTryAgainLater
		}
		s.mu.Unlock()
		one.Reason = DroppedClosed
		_ = s.end(code, "too much is queued", ErrQueueFull, true)
	default:
		s.mu.Unlock()
	}
	s.free(&e)
	s.dropped(one)
	return Dropped, ErrQueueFull
}

// roomAfter is how many of the oldest messages must go so that e fits, 0 if it
// would not fit without all of them either. It is called with mu held.
func (s *Session) roomAfter(e *entry) int {
	if s.ring == nil {
		return 0
	}
	l := &s.endpoint.cfg.queue
	left, bytes := int(s.queued), s.bytes+e.held()
	all := s.endpoint.queuedBytes.Load() + s.costOf(e)
	for i := range s.ring.n {
		old := s.ring.at(i)
		left--
		bytes -= old.held()
		all -= old.cost()
		if f := old.form; f != nil && f != e.form && f.owner == s.endpoint && f.refs.Load() == 1 {
			all -= int64(len(f.shared.Data()))
		}
		if (left == 0 || left < l.Messages && bytes <= l.Bytes) && all <= s.endpoint.cfg.maxQueuedBytes {
			return i + 1
		}
	}
	return 0
}

// conflate replaces the oldest message with e's key by e and removes the others
// with that key. It does nothing and returns no drop if there is none, or if e
// would not fit even so. It is called with mu held.
func (s *Session) conflate(e entry) Drop {
	d := Drop{Reason: DroppedConflated}
	r := s.ring
	if e.key == "" || r == nil {
		return d
	}
	held, cost, first := 0, int64(0), -1
	for i := range r.n {
		if old := r.at(i); old.key == e.key {
			if first < 0 {
				first = i
			}
			d.Messages++
			d.Bytes += old.size()
			held += old.held()
			cost += old.cost()
		}
	}
	c := &s.endpoint.cfg
	others := int(s.queued) - d.Messages
	switch {
	case d.Messages == 0,
		others >= c.queue.Messages,
		others > 0 && s.bytes-held+e.held() > c.queue.Bytes,
		s.endpoint.queuedBytes.Load()-cost+e.cost() > c.maxQueuedBytes && e.held() > held:
		return Drop{}
	}
	to := first
	for i := first; i < r.n; i++ {
		p := r.at(i)
		switch {
		case p.key != e.key:
			*r.at(to) = *p
			to++
		case i == first:
			s.discount(p)
			s.count(&e)
			*p = e
			to++
		default:
			s.discount(p)
		}
	}
	for i := to; i < r.n; i++ {
		*r.at(i) = entry{}
	}
	r.n = to
	return d
}
