package middleware

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// Log writes one line for each message when it was handled: its kind, destination,
// request (where RequestID is outside), how long it took, what SessionAttrs has, and
// the code and text of its error. Connect adds the path and the remote address,
// Disconnect why the session ended.
//
// Connect and Disconnect are logged at level Info, other messages at Debug. A
// *subprotocol.Error, which the client was shown, makes that Warn, any other error
// Error: its text is the application's, and goes into the log but not to the client.
// The error of a handler that found its own session ended is none.
//
// Bodies and headers are never logged, so no credentials are. Texts that come from
// clients are cut, and what is not printable in them is replaced, so that no client
// can forge a line, whatever the logger's handler does.
//
// It belongs outermost, inside of RequestID and Trace. It works outside and inside of
// Recover; inside it can only say that there was a panic. It panics without a logger.
func Log(l *slog.Logger) func(handler.Handler) handler.Handler {
	if l == nil {
		panic("middleware: Log without a logger")
	}
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			// A handler may change the message to send it back.
			kind, destination := r.Message.Kind, r.Message.Destination
			begin := time.Now()
			err := errAborted
			defer func() { logMessage(ctx, l, r.Session, kind, destination, time.Since(begin), err) }()
			err = next.Handle(ctx, r)
			return err
		})
	}
}

func logMessage(ctx context.Context, l *slog.Logger, s *handler.Session, kind subprotocol.Kind, destination string, took time.Duration, err error) {
	level, text, code := slog.LevelDebug, "message handled", ""
	switch kind {
	case subprotocol.KindConnect:
		level, text = slog.LevelInfo, "session connected"
	case subprotocol.KindDisconnect:
		level, text = slog.LevelInfo, "session ended"
	}
	over := (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)) && s.Context().Err() != nil
	if err != nil && !over {
		level, text, code = slog.LevelError, "message failed", "internal"
		if e, ok := errors.AsType[*subprotocol.Error](err); ok {
			level, text, code = slog.LevelWarn, "message refused", clean(e.Code, maxName)
		}
	}
	if !l.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("kind", kind.String()))
	if destination != "" {
		attrs = append(attrs, slog.String("destination", clean(destination, maxName)))
	}
	if id := RequestIDFrom(ctx); id != "" {
		attrs = append(attrs, slog.String("request", id))
	}
	attrs = append(attrs, slog.Duration("duration", took))
	attrs = append(attrs, SessionAttrs(s)...)
	if kind == subprotocol.KindConnect {
		attrs = append(attrs, slog.String("path", clean(s.Path(), maxName)))
		if a := s.RemoteAddr(); a != nil {
			attrs = append(attrs, slog.String("remote", clean(a.String(), maxName)))
		}
	}
	if kind == subprotocol.KindDisconnect {
		if cause := context.Cause(s.Context()); cause != nil {
			attrs = append(attrs, slog.String("cause", clean(cause.Error(), maxText)))
		}
	}
	if code != "" {
		attrs = append(attrs, slog.String("code", code))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", clean(err.Error(), maxText)))
	}
	l.LogAttrs(ctx, level, text, attrs...)
}

// SessionAttrs are the attributes by which logs and traces name a session: session
// (its ID), user, transport and subprotocol. They are safe to print.
func SessionAttrs(s *handler.Session) []slog.Attr {
	return []slog.Attr{
		slog.String("session", s.ID()),
		slog.String("user", clean(s.User(), maxName)),
		slog.String("transport", s.Transport()),
		slog.String("subprotocol", s.SubProtocol()),
	}
}

// LogOutbound writes one line for each message to a client, for
// handler.WithOutbound: its kind, destination, what became of it, what SessionAttrs
// has, and its error. The level is Debug, and Warn for a message that was dropped.
// Texts are treated as Log does. It panics without a logger.
func LogOutbound(l *slog.Logger) func(handler.Sender) handler.Sender {
	if l == nil {
		panic("middleware: LogOutbound without a logger")
	}
	return func(next handler.Sender) handler.Sender {
		return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
			status, err := next.Send(o)
			level, text := slog.LevelDebug, "message sent"
			if status == handler.Dropped {
				level, text = slog.LevelWarn, "message dropped"
			}
			s := o.Session
			ctx := s.Context()
			if !l.Enabled(ctx, level) {
				return status, err
			}
			attrs := make([]slog.Attr, 0, 10)
			attrs = append(attrs, slog.String("kind", o.Message.Kind.String()))
			if d := o.Message.Destination; d != "" {
				attrs = append(attrs, slog.String("destination", clean(d, maxName)))
			}
			attrs = append(attrs, slog.String("status", status.String()))
			attrs = append(attrs, SessionAttrs(s)...)
			if e := o.Message.Error; e != nil {
				attrs = append(attrs, slog.String("code", clean(e.Code, maxName)))
			}
			if err != nil {
				attrs = append(attrs, slog.String("error", clean(err.Error(), maxText)))
			}
			l.LogAttrs(ctx, level, text, attrs...)
			return status, err
		})
	}
}
