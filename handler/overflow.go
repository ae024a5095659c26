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
// session's own limit is reached. If that of all sessions together is, the session
// for which most is queued is closed, with 1013: clients that read don't pay
// for those that don't. It is the default.
func CloseOnOverflow() OverflowPolicy { return OverflowPolicy{mode: overflowClose} }

// DropNewest drops the message that finds no room.
func DropNewest() OverflowPolicy { return OverflowPolicy{mode: overflowNewest} }

// DropOldest drops messages from the front of the queue until there is room, but
// none that is being written; those don't count while the transport has them in
// hand. If there would be no room without the whole queue either, because
// other sessions have filled the bound over all, it drops the new message alone, and so
// it does while the answer to Connect is at the front.
func DropOldest() OverflowPolicy { return OverflowPolicy{mode: overflowOldest} }

// Conflate puts a message that finds no room in the place of the oldest queued
// one with the same key, and drops the others with that key: the client gets
// the latest value of each key. A message whose key is "", or is not in the
// queue, is dropped as with DropNewest. key is called for every message that is
// queued, from any goroutine; the message is valid until it returns, and what
// it returns must not alias the message's Body. Messages that the transport has in
// hand are neither replaced nor counted meanwhile.
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
		if n, ok := s.roomAfter(&e); ok {
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
		d := s.conflate(e)
		waits := s.ringFits(&e) && s.fitsAll(&e)
		if d.Messages > 0 || waits {
			if d.Messages == 0 {
				s.push(e)
			}
			s.schedule()
			s.mu.Unlock()
			s.dropped(d)
			return Queued, nil
		}
		s.mu.Unlock()
	case overflowClose:
		code := transport.StatusPolicyViolation
		own, held := !s.fits(&e), s.bytes
		s.mu.Unlock()
		if !own {
			code = transport.StatusTryAgainLater
			if s.endpoint.shed(s, held) {
				return s.enqueueAgain(e)
			}
		}
		one.Reason = DroppedClosed
		_ = s.end(code, tooMuch, ErrQueueFull, true)
	default:
		s.mu.Unlock()
	}
	s.free(&e)
	s.dropped(one)
	return Dropped, ErrQueueFull
}

const tooMuch = "too much is queued"

// shed closes the session for which most is queued, if that is more than held, which
// is queued for s.
func (e *Endpoint) shed(s *Session, held int) bool {
	largest := s
	for _, o := range e.sessions.snapshot() {
		o.mu.Lock()
		if o.phase == phaseOpen && o.bytes > held {
			largest, held = o, o.bytes
		}
		o.mu.Unlock()
	}
	return largest != s && largest.end(transport.StatusTryAgainLater, tooMuch, ErrQueueFull, true) == nil
}

// enqueueAgain is enqueue after another session has made room.
func (s *Session) enqueueAgain(e entry) (Status, error) {
	s.mu.Lock()
	if s.phase == phaseOpen && s.fits(&e) && s.fitsAll(&e) {
		s.push(e)
		s.schedule()
		s.mu.Unlock()
		return Queued, nil
	}
	s.mu.Unlock()
	one := Drop{Reason: DroppedClosed, Messages: 1, Bytes: e.size()}
	s.free(&e)
	_ = s.end(transport.StatusTryAgainLater, tooMuch, ErrQueueFull, true)
	s.dropped(one)
	return Dropped, ErrQueueFull
}

// ringHeld is how many messages the ring has and what they hold: all that is
// queued but what a Write has in hand. It is called with mu held.
func (s *Session) ringHeld() (n, bytes int) {
	if s.ring == nil {
		return 0, 0
	}
	for i := range s.ring.n {
		bytes += s.ring.at(i).held()
	}
	return s.ring.n, bytes
}

// ringFits is fits without what a Write has in hand.
func (s *Session) ringFits(e *entry) bool {
	n, bytes := s.ringHeld()
	return s.endpoint.cfg.queue.fit(n, bytes, e)
}

// fit reports whether a queue of n messages that hold bytes has room for e.
func (l *Limits) fit(n, bytes int, e *entry) bool {
	return n == 0 || n < l.Messages && bytes+e.held() <= l.Bytes
}

// roomAfter is how many of the oldest messages in the ring must go so that e fits.
// It reports false if e would not fit without all of them either, or if one must not
// go. It is called with mu held.
func (s *Session) roomAfter(e *entry) (drop int, ok bool) {
	l := &s.endpoint.cfg.queue
	n, bytes := s.ringHeld()
	all := s.endpoint.queuedBytes.Load() + s.costOf(e)
	for i := range n + 1 {
		if l.fit(n-i, bytes, e) && all <= s.endpoint.cfg.maxQueuedBytes {
			return i, true
		}
		if i == n || s.ring.at(i).kept {
			break
		}
		old := s.ring.at(i)
		bytes -= old.held()
		all -= old.cost()
		if f := old.form; f != nil && f != e.form && f.owner == s.endpoint && f.refs.Load() == 1 {
			all -= int64(len(f.shared.Data()))
		}
	}
	return 0, false
}

// tooOld is how many of entries, which a Write has given back, have no place in
// front of what came meanwhile. If the first must not be dropped it is none, and the
// queue is longer by one batch at most. It is called with mu held.
func (s *Session) tooOld(entries []entry) int {
	n, bytes := s.ringHeld()
	if s.endpoint.cfg.overflow.mode != overflowOldest || n == 0 || len(entries) > 0 && entries[0].kept {
		return 0
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if !s.endpoint.cfg.queue.fit(n, bytes, &entries[i]) {
			return i + 1
		}
		n++
		bytes += entries[i].held()
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
	n, bytes := s.ringHeld()
	switch {
	case d.Messages == 0,
		!c.queue.fit(n-d.Messages, bytes-held, &e),
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
