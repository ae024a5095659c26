package middleware

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/weftws/weft/handler"
)

// RequestID gives each message a name for logs and traces, which RequestIDFrom
// returns. It is the message's Receipt, else its ID, else one that is made. What
// the client has chosen is cut after 200 bytes, and what is not printable in it
// is replaced; nothing keeps two clients from choosing the same.
//
// It belongs outside of Log, Trace and everything else that asks for the name.
func RequestID(next handler.Handler) handler.Handler {
	prefix := rand.Text()[:8] + "-" // tells servers and restarts apart
	var last atomic.Uint64
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		c := &requestContext{Context: ctx, prefix: prefix}
		switch m := r.Message; {
		case m.Receipt != "":
			c.id = clean(strings.Clone(m.Receipt), maxName)
		case m.ID != "":
			c.id = clean(strings.Clone(m.ID), maxName)
		default:
			c.n = last.Add(1)
		}
		return next.Handle(c, r)
	})
}

// RequestIDFrom returns the name that RequestID gave the message whose context this
// is, "" without one.
func RequestIDFrom(ctx context.Context) string {
	c, ok := ctx.Value(requestKey{}).(*requestContext)
	switch {
	case !ok:
		return ""
	case c.id != "":
		return c.id
	}
	return c.prefix + strconv.FormatUint(c.n, 10)
}

type requestKey struct{}

// requestContext is a context whose name is written out only when somebody asks.
type requestContext struct {
	context.Context
	id, prefix string
	n          uint64
}

// Value finds the context itself.
func (c *requestContext) Value(key any) any {
	if key == (requestKey{}) {
		return c
	}
	return c.Context.Value(key)
}
