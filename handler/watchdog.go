package handler

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchdog finds handlers that keep a reader for long, and hands the reader's role
// over. It looks at the readers in use, not at the sessions, and its timer runs
// only while there are any.
type watchdog struct {
	period time.Duration
	idle   sync.Pool // *slot

	mu    sync.Mutex
	slots []*slot
	timer *time.Timer
	armed bool
}

// slot stands for a goroutine that has a reader's role.
type slot struct {
	session atomic.Pointer[Session] // set by that goroutine
	listed  atomic.Bool

	// Guarded by watchdog.mu: whether it is in slots, and what the last tick saw.
	in    bool
	seen  *Session
	state uint64
}

// enter says that this goroutine has the reader's role of s.
func (w *watchdog) enter(s *Session) *slot {
	if w.period <= 0 {
		return nil
	}
	sl, ok := w.idle.Get().(*slot)
	if !ok {
		sl = new(slot)
	}
	sl.session.Store(s)
	if !sl.listed.Load() {
		w.list(sl)
	}
	return sl
}

// leave says that it has not any more.
func (w *watchdog) leave(sl *slot) {
	if sl != nil {
		sl.session.Store(nil)
		w.idle.Put(sl)
	}
}

func (w *watchdog) list(sl *slot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sl.listed.Store(true)
	if !sl.in {
		sl.in = true
		w.slots = append(w.slots, sl)
	}
	if w.armed {
		return
	}
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(w.period, w.tick)
	} else {
		w.timer.Reset(w.period)
	}
}

// tick hands over what it saw in the same state before, and forgets slots that
// are not in use.
func (w *watchdog) tick() {
	type slow struct {
		s  *Session
		st uint64
	}
	var found []slow
	w.mu.Lock()
	kept := w.slots[:0]
	for _, sl := range w.slots {
		s := sl.session.Load()
		if s == nil {
			if sl.seen == nil && w.drop(sl) {
				continue
			}
			sl.seen = nil
			kept = append(kept, sl)
			continue
		}
		st := s.in.Load()
		if st&inHanded != 0 {
			// The transport reads elsewhere: there is nothing left to watch.
			sl.in, sl.seen = false, nil
			sl.listed.Store(false)
			continue
		}
		if sl.seen == s && sl.state == st && st&inBusy != 0 && st&inEnded == 0 {
			found = append(found, slow{s, st})
		}
		sl.seen, sl.state = s, st
		kept = append(kept, sl)
	}
	clear(w.slots[len(kept):])
	w.slots = kept
	w.armed = len(kept) > 0
	if w.armed {
		w.timer.Reset(w.period)
	}
	w.mu.Unlock()
	for _, f := range found {
		f.s.handOver(f.st)
	}
}

// drop takes sl off the list unless it is being used again.
func (w *watchdog) drop(sl *slot) bool {
	sl.listed.Store(false)
	if sl.session.Load() != nil {
		sl.listed.Store(true)
		return false
	}
	sl.in = false
	return true
}
