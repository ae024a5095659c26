package handler

import (
	"errors"
	"net"
	"slices"
)

// free lets go of what e holds.
func (s *Session) free(e *entry) {
	s.endpoint.pools.freeBuffer(e.buf)
	*e = entry{}
}

// Queued is what waits to be sent to the client, as WithQueue counts it: messages, and
// the bytes of memory that they hold.
func (s *Session) Queued() Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Limits{int(s.queued), s.bytes}
}

// enqueue queues e or does what the overflow policy says.
func (s *Session) enqueue(e entry) (Status, error) {
	s.mu.Lock()
	if s.phase != phaseOpen {
		s.mu.Unlock()
		s.free(&e)
		return Closed, errSessionClosed
	}
	if s.fits(&e) && s.fitsAll(&e) {
		s.push(e)
		s.schedule()
		s.mu.Unlock()
		return Queued, nil
	}
	return s.overflow(e)
}

// fits reports whether the session's own limits have room for e. It is called
// with mu held, as are all below that don't say otherwise.
func (s *Session) fits(e *entry) bool {
	l := &s.endpoint.cfg.queue
	return l.fit(int(s.queued), s.bytes, e)
}

// fitsAll reports whether the limit over all sessions has room for e.
func (s *Session) fitsAll(e *entry) bool {
	return s.endpoint.queuedBytes.Load()+s.costOf(e) <= s.endpoint.cfg.maxQueuedBytes
}

// costOf is what the sum over all sessions grows by if e is queued.
func (s *Session) costOf(e *entry) int64 {
	cost := e.cost()
	if e.form != nil && e.form.refs.Load() == 0 {
		cost += int64(len(e.form.shared.Data()))
	}
	return cost
}

// patient is fits for who waits: a session with nothing queued is not held up by
// the others, because the message that waits is in memory either way.
func (s *Session) patient(e *entry) bool {
	return s.queued == 0 || s.fits(e) && s.fitsAll(e)
}

// push appends e to the queue.
func (s *Session) push(e entry) {
	s.count(&e)
	s.grow()
	s.ring.pushBack(e)
}

// putBack queues e, whose Write was refused, in front of what came meanwhile.
func (s *Session) putBack(e *entry) {
	s.count(e)
	s.grow()
	s.ring.pushFront(*e)
}

func (s *Session) count(e *entry) {
	s.queued++
	s.bytes += e.held()
	s.endpoint.queuedBytes.Add(e.cost())
	if e.form != nil {
		e.form.hold()
	}
}

// discount takes e, which has left the queue for good, out of all sums and frees
// it.
func (s *Session) discount(e *entry) {
	s.queued--
	s.bytes -= e.held()
	s.endpoint.queuedBytes.Add(-e.cost())
	if e.form != nil {
		e.form.release()
	}
	s.free(e)
}

// grow makes room for one more entry in the ring.
func (s *Session) grow() {
	p := &s.endpoint.pools
	old := s.ring
	if old == nil {
		s.ring = p.ring(minRing)
		return
	}
	if old.n < len(old.e) {
		return
	}
	s.ring = p.ring(2 * len(old.e))
	for old.n > 0 {
		s.ring.pushBack(old.popFront())
	}
	p.freeRing(old)
}

// shrink gives an empty ring back.
func (s *Session) shrink() {
	if s.ring != nil && s.ring.n == 0 {
		s.endpoint.pools.freeRing(s.ring)
		s.ring = nil
	}
}

// dropQueue drops what is queued and not being written. The caller reports the
// result with dropped once it has released mu.
func (s *Session) dropQueue(reason DropReason) Drop {
	d := Drop{Reason: reason}
	if s.ring == nil {
		return d
	}
	for s.ring.n > 0 {
		e := s.ring.popFront()
		d.Messages++
		d.Bytes += e.size()
		s.discount(&e)
	}
	s.shrink()
	return d
}

// dropped counts d and tells the hook. It is called without mu.
func (s *Session) dropped(d Drop) {
	if d.Messages == 0 {
		return
	}
	e := s.endpoint
	e.counts.dropped[d.Reason].Add(uint64(d.Messages))
	e.tell(func(h *Hooks) {
		if h.Drop != nil {
			h.Drop(s, d)
		}
	})
}

// wait records that a Write took less than all.
func (s *Session) wait() {
	s.waiting = !s.writable
	s.writable = false
}

// schedule hands the session to the flush workers if there is something to write.
func (s *Session) schedule() {
	if s.queued == 0 || s.scheduled || s.writing || s.waiting || s.phase >= phaseClosed {
		return
	}
	s.scheduled = true
	s.endpoint.flusher.add(s)
}

// wrote ends a time of writing: it hands what is left to the workers, or goes on
// closing. It is called with mu held and releases it.
func (s *Session) wrote() {
	s.writing = false
	s.shrink()
	if s.phase == phaseDraining && s.queued == 0 {
		s.hangUp()
		return
	}
	s.schedule()
	s.mu.Unlock()
}

// admitWaiters queues what waits for room, as far as there is any.
func (s *Session) admitWaiters() {
	x := s.extra
	if x == nil || s.phase != phaseOpen {
		return
	}
	n := 0
	for n < len(x.waiters) && s.patient(&x.waiters[n].entry) {
		w := x.waiters[n]
		s.push(w.entry)
		w.done <- nil
		n++
	}
	x.waiters = slices.Delete(x.waiters, 0, n)
	if len(x.waiters) == 0 {
		x.waiters = nil
	}
}

// failWaiters ends all SendContexts.
func (s *Session) failWaiters() {
	if s.extra == nil {
		return
	}
	for _, w := range s.extra.waiters {
		s.free(&w.entry)
		w.done <- errSessionClosed
	}
	s.extra.waiters = nil
}

// maxRounds is how many batches a worker writes before other sessions have their
// turn.
const maxRounds = 4

// flush writes what is queued. The workers call it, without mu.
func (s *Session) flush() {
	s.mu.Lock()
	s.scheduled = false
	if s.writing || s.waiting || s.queued == 0 || s.phase >= phaseClosed {
		s.mu.Unlock()
		return
	}
	s.writing = true
	f := s.endpoint.pools.flight()
	var drops [3]Drop
	for range maxRounds {
		if s.waiting || s.ring == nil || s.ring.n == 0 || s.phase >= phaseClosed {
			break
		}
		s.writeBatch(f, &drops)
	}
	s.wrote()
	s.endpoint.pools.flights.Put(f)
	for _, d := range drops {
		s.dropped(d)
	}
}

// writeBatch writes the front of the queue, and releases mu meanwhile.
func (s *Session) writeBatch(f *flight, drops *[3]Drop) {
	k := min(s.ring.n, maxBatch)
	for i := range k {
		f.entries[i] = s.ring.popFront()
	}
	s.shrink()
	s.writable = false
	s.mu.Unlock()

	for i := range k {
		f.messages[i] = f.entries[i].message()
	}
	n, err := s.conn.Write(f.messages[:k])
	n = max(0, min(n, k))
	clear(f.messages[:k])

	s.mu.Lock()
	bytes := 0
	for i := range n {
		bytes += f.entries[i].size()
		s.discount(&f.entries[i])
	}
	s.tally.out(n, bytes)
	if n > 0 {
		s.noteSent()
	}
	if err != nil && n < k {
		if errors.Is(err, net.ErrClosed) {
			s.lost()
			s.lose(f.entries[n:k], &drops[0])
			d := s.dropQueue(DroppedClosed)
			drops[0].Messages += d.Messages
			drops[0].Bytes += d.Bytes
			return
		}
		drops[1].Reason = DroppedUnsendable
		drops[1].Messages++
		drops[1].Bytes += f.entries[n].size()
		s.discount(&f.entries[n])
		n++
	}
	if s.phase >= phaseClosed {
		s.lose(f.entries[n:k], &drops[0])
		return
	}
	short := err == nil && n < k
	if old := s.tooOld(f.entries[n:k]); old > 0 {
		s.lose(f.entries[n:n+old], &drops[2])
		drops[2].Reason = DroppedOldest
		n += old
	}
	for i := k - 1; i >= n; i-- {
		s.grow()
		s.ring.pushFront(f.entries[i])
		f.entries[i] = entry{}
	}
	if short {
		s.wait()
	}
	s.admitWaiters()
}

// lost records that the connection takes nothing any more; Closed is to follow.
func (s *Session) lost() {
	if s.phase < phaseClosed {
		s.phase = phaseClosed
		s.failWaiters()
	}
}

// lose drops entries of a flight that can't be sent any more.
func (s *Session) lose(entries []entry, d *Drop) {
	d.Reason = DroppedClosed
	for i := range entries {
		d.Messages++
		d.Bytes += entries[i].size()
		s.discount(&entries[i])
	}
}
