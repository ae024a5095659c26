package handler

import (
	"iter"
	"sync"

	"github.com/weftws/weft/transport"
)

// Sessions are the sessions of an endpoint whose Connect was accepted and that
// have not ended. It is safe for concurrent use.
type Sessions struct {
	max int

	mu      sync.RWMutex
	byID    map[string]*Session // all that are open, connected or not
	users   map[string]*Session // heads of lists
	keys    map[string]int
	shown   int
	live    int // all that were admitted and not let go of
	closing bool
	idle    chan struct{} // closed when live is 0 while closing
}

// Get returns the session with that ID, nil if there is none.
func (r *Sessions) Get(id string) *Session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.byID[id]; s != nil && s.connected.Load() {
		return s
	}
	return nil
}

// Len is how many there are.
func (r *Sessions) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.shown
}

// All ranges over the sessions that there are when the loop begins, in no
// order. The loop may take its time.
func (r *Sessions) All() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, s := range r.snapshot() {
			if s.connected.Load() && !yield(s) {
				return
			}
		}
	}
}

// User ranges over the sessions of a user that there are when the loop begins, the
// latest first. There are none of "".
func (r *Sessions) User(name string) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		var all []*Session
		r.mu.RLock()
		for s := r.users[name]; s != nil; s = s.userNext {
			all = append(all, s)
		}
		r.mu.RUnlock()
		for _, s := range all {
			if !yield(s) {
				return
			}
		}
	}
}

// CloseUser closes all sessions of a user and returns how many there were that
// were not closing already. The code and the reason are those of Session.Close.
func (r *Sessions) CloseUser(name string, code transport.StatusCode, reason string) (int, error) {
	if err := transport.CheckClose(code, reason); err != nil {
		return 0, err
	}
	n := 0
	for s := range r.User(name) {
		if s.Close(code, reason) == nil {
			n++
		}
	}
	return n, nil
}

// snapshot returns all that are open.
func (r *Sessions) snapshot() []*Session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Session, 0, len(r.byID))
	for _, s := range r.byID {
		all = append(all, s)
	}
	return all
}

// admit counts s, unless there are too many.
func (r *Sessions) admit(s *Session) (refusal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return refusedShutdown, unavailable("this server is shutting down")
	}
	if r.live >= r.max {
		return refusedLimit, unavailable("this server has too many connections")
	}
	r.live++
	return 0, nil
}

// admitKey counts s under key too, unless there are n of it.
func (r *Sessions) admitKey(s *Session, key string, n int) bool {
	if key == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[key] >= n {
		return false
	}
	r.keys[key]++
	s.mu.Lock()
	s.more().key = key
	s.mu.Unlock()
	return true
}

// release forgets what admit and admitKey counted.
func (r *Sessions) release(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	key := ""
	if s.extra != nil {
		key = s.extra.key
	}
	s.mu.Unlock()
	if key != "" {
		if r.keys[key]--; r.keys[key] == 0 {
			delete(r.keys, key)
		}
	}
	r.live--
	if r.live == 0 && r.closing {
		close(r.idle)
	}
}

// open enters s, so that Shutdown finds it.
func (r *Sessions) open(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[s.id] = s
}

// show makes s, whose Connect was accepted, visible to all.
func (r *Sessions) show(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.connected.Store(true)
	if r.byID[s.id] == s {
		r.shown++
		r.link(s)
	}
}

// hide takes s out; it has ended.
func (r *Sessions) hide(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[s.id] != s {
		return
	}
	delete(r.byID, s.id)
	if s.connected.Load() {
		r.shown--
		r.unlink(s)
	}
}

func (r *Sessions) setUser(s *Session, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shown := r.byID[s.id] == s && s.connected.Load()
	if shown {
		r.unlink(s)
	}
	s.user.Store(&name)
	if shown {
		r.link(s)
	}
}

func (r *Sessions) link(s *Session) {
	name := s.User()
	if name == "" {
		return
	}
	head := r.users[name]
	s.userNext = head
	if head != nil {
		head.userPrev = s
	}
	r.users[name] = s
}

func (r *Sessions) unlink(s *Session) {
	name := s.User()
	if name == "" {
		return
	}
	switch {
	case s.userPrev != nil:
		s.userPrev.userNext = s.userNext
	case s.userNext != nil:
		r.users[name] = s.userNext
	default:
		delete(r.users, name)
	}
	if s.userNext != nil {
		s.userNext.userPrev = s.userPrev
	}
	s.userNext, s.userPrev = nil, nil
}

func (r *Sessions) isClosing() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closing
}

// shut admits nothing more and returns a channel that is closed once nothing is
// left.
func (r *Sessions) shut() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing {
		r.closing = true
		if r.live == 0 {
			close(r.idle)
		}
	}
	return r.idle
}

func (r *Sessions) remaining() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.live
}
