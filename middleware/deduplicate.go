package middleware

import (
	"context"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// DeduplicateOptions say how Deduplicate behaves. The zero value is the default.
type DeduplicateOptions struct {
	// Key says within what an ID is unique. The default is ByUser: a client that
	// comes back with a new session is known by its user. What has the key "" is
	// not looked at.
	Key func(r handler.Request) string

	// Window is how long an ID is remembered. The default is 2 minutes: longer than
	// clients take to come back and send again.
	Window time.Duration

	// Max bounds how many IDs are remembered, of all keys together; then the oldest
	// are forgotten early. The default is 65536, at about 300 bytes each, or 500
	// where the clients choose long IDs. One client that sends many can make it
	// forget the others': limit its rate.
	Max int
}

// Deduplicate handles a Send with an ID once: one that comes again is not handled,
// and is answered like the first, except that a Reply of the handler's is not
// repeated. A message without an ID passes, and so do all other kinds.
//
// An ID is remembered when its message was handled without an error, in a
// transaction when that commits. One that comes again while the first is still
// being handled (a user may have two sessions) is refused with an Error of code
// "busy", because nobody knows yet how the first ends. Two of the same ID within one
// transaction are both handled.
//
// Nothing is kept beyond the process: this makes sending again after a lost
// connection harmless, and promises no more. It belongs inside of Authenticate and
// Authorize. A nil opts is the zero DeduplicateOptions; it panics if a number is
// negative.
func Deduplicate(opts *DeduplicateOptions) func(handler.Handler) handler.Handler {
	var o DeduplicateOptions
	if opts != nil {
		o = *opts
	}
	if o.Window < 0 || o.Max < 0 {
		panic("middleware: DeduplicateOptions has a negative number")
	}
	if o.Key == nil {
		o.Key = ByUser
	}
	if o.Window == 0 {
		o.Window = 2 * time.Minute
	}
	if o.Max == 0 {
		o.Max = 65536
	}
	t := newTable[sent, *sending](o.Max, o.Window)
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			m := r.Message
			if m.Kind != subprotocol.KindSend || m.ID == "" {
				return next.Handle(ctx, r)
			}
			owner := o.Key(r)
			if owner == "" {
				return next.Handle(ctx, r)
			}
			return once(ctx, t, sent{tableKey(owner), tableKey(m.ID)}, next, r)
		})
	}
}

// sent names a message.
type sent struct{ owner, id string }

// sending is how far it is.
type sending struct{ done bool }

var errHandling = &subprotocol.Error{Code: "busy", Text: "this message is being handled already"}

func once(ctx context.Context, t *table[sent, *sending], key sent, next handler.Handler, r handler.Request) error {
	var own *sending
	t.Lock()
	now := time.Now()
	first, ok := t.get(key, now)
	done := ok && first.done
	if !ok {
		own = new(sending)
		key = sent{strings.Clone(key.owner), strings.Clone(key.id)}
		t.put(key, own, now)
	}
	t.Unlock()
	switch {
	case done:
		return nil
	case ok:
		return errHandling
	}
	defer func() {
		t.Lock()
		defer t.Unlock()
		// It may have been forgotten meanwhile, and somebody else's be there.
		if e, ok := t.get(key, now); ok && e == own && !own.done {
			t.remove(key)
		}
	}()
	if err := next.Handle(ctx, r); err != nil {
		return err
	}
	return r.OnCommit(func() error {
		t.Lock()
		defer t.Unlock()
		own.done = true
		t.put(key, own, time.Now())
		return nil
	})
}
