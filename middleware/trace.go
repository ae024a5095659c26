package middleware

import (
	"context"

	"github.com/weftws/weft/handler"
)

// TraceHooks are told what is handled. Either may be nil. They are called on the
// goroutine that handles the message, on many at once; what they are given is
// valid until they return.
type TraceHooks struct {
	// Start is called before the message is handled; the context that it returns is
	// the handler's and End's.
	Start func(ctx context.Context, r handler.Request) context.Context

	// End is called once for each Start, with the handler's error. That is an error too
	// where the handler panicked.
	End func(ctx context.Context, r handler.Request, err error)
}

// Trace calls hooks around each message, Connect and Disconnect included: for
// traces and for metrics. Without hooks it costs nothing.
//
// It belongs outermost, inside of RequestID only.
func Trace(hooks TraceHooks) func(handler.Handler) handler.Handler {
	return func(next handler.Handler) handler.Handler {
		if hooks.Start == nil && hooks.End == nil {
			return next
		}
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if hooks.Start != nil {
				ctx = hooks.Start(ctx, r)
			}
			if hooks.End == nil {
				return next.Handle(ctx, r)
			}
			err := errAborted
			defer func() { hooks.End(ctx, r, err) }()
			err = next.Handle(ctx, r)
			return err
		})
	}
}

// OutboundHooks are told what is sent. Either may be nil. They are called on the
// goroutine that sends, on many at once, and must not wait.
type OutboundHooks struct {
	// Start is called before the message goes on. What it returns does go on: o
	// itself, or an Outgoing with a changed Clone of its Message, to add a header. A
	// changed one is encoded for this session alone, which makes a publication
	// cost as much as separate messages.
	Start func(ctx context.Context, o handler.Outgoing) (context.Context, handler.Outgoing)

	// End is called once for each Start, with its context and what became of the
	// message.
	End func(ctx context.Context, o handler.Outgoing, status handler.Status, err error)
}

// TraceOutbound calls hooks around each message to a client, for
// handler.WithOutbound. The context is the session's. Without hooks it costs
// nothing. It belongs innermost, where it sees what is really sent.
func TraceOutbound(hooks OutboundHooks) func(handler.Sender) handler.Sender {
	return func(next handler.Sender) handler.Sender {
		if hooks.Start == nil && hooks.End == nil {
			return next
		}
		return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
			ctx := o.Session.Context()
			if hooks.Start != nil {
				ctx, o = hooks.Start(ctx, o)
			}
			if hooks.End == nil {
				return next.Send(o)
			}
			status, err := handler.Dropped, errAborted
			defer func() { hooks.End(ctx, o, status, err) }()
			status, err = next.Send(o)
			return status, err
		})
	}
}
