package middleware

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// MaxInFlight lets n messages be handled at a time, over all sessions; as one session
// has only one in hand, that bounds how many sessions the handlers behind it work for.
// A message over that waits for at most wait, and is then refused with an Error of
// code "busy"; the session lives on, except that a Connect is refused. A wait of 0
// refuses at once.
//
// Connect, Send and Subscribe count, the others pass. A message that waits keeps
// the later ones of its session waiting. Endpoints that are given the same value
// count together. A handler must not pass a message through the same MaxInFlight
// again: it would wait for itself, for as long as wait.
//
// It belongs outside of Timeout. It panics if n is not positive or wait is negative.
func MaxInFlight(n int, wait time.Duration) func(handler.Handler) handler.Handler {
	const all = "all"
	f := newFlights(n, wait)
	f.enter(all) // for good: no message has to make it
	return f.middleware(func(handler.Request) string { return all })
}

// MaxInFlightBy is MaxInFlight over all sessions with the same key, such as ByUser.
// What has the key "" is not limited. Only the keys of messages that are being
// handled, or wait for it, are known.
func MaxInFlightBy(key func(r handler.Request) string, n int, wait time.Duration) func(handler.Handler) handler.Handler {
	if key == nil {
		panic("middleware: MaxInFlightBy without a key")
	}
	return newFlights(n, wait).middleware(key)
}

var errBusy = &subprotocol.Error{Code: "busy", Text: "too many messages are being handled; try again later"}

// flights are the slots of all keys that are in use.
type flights struct {
	max  int
	wait time.Duration

	mu    sync.Mutex
	slots map[string]*slots
}

func newFlights(n int, wait time.Duration) *flights {
	if n <= 0 || wait < 0 {
		panic("middleware: MaxInFlight: the number must be positive, and the time not negative")
	}
	return &flights{max: n, wait: wait, slots: make(map[string]*slots)}
}

func (f *flights) middleware(key func(handler.Request) string) func(handler.Handler) handler.Handler {
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if !counts(r.Message.Kind) {
				return next.Handle(ctx, r)
			}
			k := key(r)
			if k == "" {
				return next.Handle(ctx, r)
			}
			s := f.enter(k)
			defer f.leave(k, s)
			if !s.take(ctx, f.wait) {
				if ctx.Err() != nil {
					return context.Cause(ctx) // which says that the session is over, if it is
				}
				return errBusy
			}
			defer s.give()
			return next.Handle(ctx, r)
		})
	}
}

// slots are those of one key: each message that is handled has put something into
// used.
type slots struct {
	used  chan struct{}
	users int // guarded by flights.mu
}

func (f *flights) enter(key string) *slots {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slots[key]
	if s == nil {
		s = &slots{used: make(chan struct{}, f.max)}
		f.slots[strings.Clone(key)] = s // another message's may outlive this one's
	}
	s.users++
	return s
}

func (f *flights) leave(key string, s *slots) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(f.slots, key)
	}
}

// take reports whether there was a slot in time.
func (s *slots) take(ctx context.Context, wait time.Duration) bool {
	select {
	case s.used <- struct{}{}:
		return true
	default:
	}
	if wait == 0 {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case s.used <- struct{}{}:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (s *slots) give() { <-s.used }
