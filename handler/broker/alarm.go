package broker

import (
	"container/heap"
	"sync"
	"time"
)

// alarms has one timer for all that waits for a time, and none while nothing does. Its
// lock is the last to be taken.
type alarms struct {
	mu      sync.Mutex
	waiting alarmHeap
	timer   *time.Timer
	at      time.Time // when timer is due, zero if it is not running
	closed  bool
}

// alarm is when something is to be woken. The zero at means never.
type alarm struct {
	at    time.Time // guarded by alarms.mu
	place int
	wake  func(now time.Time)
}

// set has a woken at the time at, or before if that was said already and did not come yet.
func (as *alarms) set(a *alarm, at time.Time) {
	as.mu.Lock()
	defer as.mu.Unlock()
	switch {
	case as.closed:
		return
	case a.at.IsZero():
		a.at = at
		heap.Push(&as.waiting, a)
	case at.Before(a.at):
		a.at = at
		heap.Fix(&as.waiting, a.place)
	default:
		return
	}
	as.arm()
}

// clear has a not woken any more.
func (as *alarms) clear(a *alarm) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a.at.IsZero() {
		return
	}
	heap.Remove(&as.waiting, a.place)
	a.at = time.Time{}
	as.arm()
}

// arm sets the timer for the first of those who wait. mu is held.
func (as *alarms) arm() {
	if len(as.waiting) == 0 {
		if as.timer != nil {
			as.timer.Stop()
		}
		as.at = time.Time{}
		as.waiting = nil
		return
	}
	first := as.waiting[0].at
	if first.Equal(as.at) {
		return
	}
	as.at = first
	if as.timer == nil {
		as.timer = time.AfterFunc(time.Until(first), as.ring)
		return
	}
	as.timer.Reset(time.Until(first))
}

// ring wakes those whose time has come.
func (as *alarms) ring() {
	now := time.Now()
	var due []*alarm
	as.mu.Lock()
	as.at = time.Time{}
	for len(as.waiting) > 0 && !as.waiting[0].at.After(now) {
		a, _ := heap.Pop(&as.waiting).(*alarm)
		a.at = time.Time{}
		due = append(due, a)
	}
	as.arm()
	as.mu.Unlock()
	for _, a := range due {
		a.wake(now)
	}
}

func (as *alarms) close() {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.closed = true
	for _, a := range as.waiting {
		a.at = time.Time{}
	}
	as.waiting = nil
	as.arm()
}

type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *alarmHeap) Push(x any) {
	a, _ := x.(*alarm)
	a.place = len(*h)
	*h = append(*h, a)
}
func (h *alarmHeap) Pop() any {
	old := *h
	last := len(old) - 1
	a := old[last]
	old[last] = nil
	*h = old[:last]
	return a
}
