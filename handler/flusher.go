package handler

import "sync"

// flusher writes the queues of the sessions that were handed to it, each in its
// turn. Its workers are started on demand and end when there is nothing to do.
type flusher struct {
	mu         sync.Mutex
	head, tail *Session
	workers    int
	max        int
}

// add appends s, which is not in the run queue.
func (f *flusher) add(s *Session) {
	f.mu.Lock()
	if f.tail == nil {
		f.head = s
	} else {
		f.tail.next = s
	}
	f.tail = s
	start := f.workers < f.max
	if start {
		f.workers++
	}
	f.mu.Unlock()
	if start {
		go f.work()
	}
}

func (f *flusher) work() {
	for s := f.take(); s != nil; s = f.take() {
		s.flush()
	}
}

// take returns the next session, nil if the worker shall end.
func (f *flusher) take() *Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.head
	if s == nil {
		f.workers--
		return nil
	}
	f.head = s.next
	s.next = nil
	if f.head == nil {
		f.tail = nil
	}
	return s
}
