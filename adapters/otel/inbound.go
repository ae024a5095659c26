package otel

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// handshakeKey is where a session keeps the span of its handshake until it connects.
type handshakeKey struct{ t *Telemetry }

// Accept remembers the span of the HTTP request that opens a session, for its connect
// span: the one in ctx, which HTTP middleware has put there, else the one that the request's
// header names. It refuses nobody.
func (t *Telemetry) Accept(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() && h.Header != nil {
		for _, name := range t.parents {
			if h.Header.Get(name) != "" {
				_, sc = t.read(ctx, handshakeCarrier{h.Header})
				break
			}
		}
	}
	if sc.IsValid() {
		s.SetValue(handshakeKey{t}, sc)
	}
	return nil
}

// Middleware makes a span of every message that comes in, around all that is behind it, and
// measures how long that takes. Connect's is a child of the HTTP request's span, if there is
// one. See TrustClients for what a span has to do with the client's.
//
// What a SEND says of the trace is replaced by that of this span, so that a broker passes on the
// server's and not what a client has chosen.
func (t *Telemetry) Middleware(next handler.Handler) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		begin := time.Now()
		f := t.inbound(r.Message)
		ctx, span := t.startInbound(ctx, f, r)
		err := errAborted
		defer func() { t.end(ctx, t.processing, f, span, r.Session, begin, err) }()
		err = next.Handle(ctx, r)
		return err
	})
}

// inbound is the form of what comes in as m.
func (t *Telemetry) inbound(m *subprotocol.Message) *form {
	switch m.Kind {
	case subprotocol.KindConnect:
		return t.form(opConnect, 0, "")
	case subprotocol.KindDisconnect:
		return t.form(opDisconnect, 0, "")
	default:
		return t.form(opReceive, m.Kind, m.Destination)
	}
}

func (t *Telemetry) startInbound(ctx context.Context, f *form, r handler.Request) (context.Context, trace.Span) {
	s, m := r.Session, r.Message
	from, remote := t.extract(ctx, m)
	opts := f.start
	if m.Kind == subprotocol.KindConnect {
		if sc, ok := s.Value(handshakeKey{t}).(trace.SpanContext); ok {
			s.SetValue(handshakeKey{t}, nil)
			switch {
			case !sc.IsRemote():
				from = trace.ContextWithSpanContext(ctx, sc)
				if remote.IsValid() {
					opts = linked(opts, remote)
				}
				remote = trace.SpanContext{}
			case !remote.IsValid():
				from, remote = trace.ContextWithRemoteSpanContext(ctx, sc), sc
			}
		}
	}
	if remote.IsValid() && !t.opts.TrustClients {
		from, opts = ctx, linked(opts, remote)
	}
	ctx, span := t.tracer.Start(from, f.name, opts...)
	if m.Kind == subprotocol.KindSend && (slices.ContainsFunc(m.Header, t.carries) || span.SpanContext().IsValid()) {
		t.Inject(ctx, m)
	}
	if span.IsRecording() {
		t.describe(ctx, span, s, m)
		switch m.Kind {
		case subprotocol.KindConnect:
			span.SetAttributes(connectAttributes(s)...)
		case subprotocol.KindDisconnect:
			span.SetAttributes(closeAttributes(context.Cause(s.Context()))...)
		}
	}
	return ctx, span
}

// linked is opts for a span that begins because of sc.
func linked(opts []trace.SpanStartOption, sc trace.SpanContext) []trace.SpanStartOption {
	return append(opts[:len(opts):len(opts)], trace.WithLinks(trace.Link{SpanContext: sc}))
}

func connectAttributes(s *handler.Session) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 2)
	if p := s.Path(); p != "" {
		attrs = append(attrs, semconv.URLPath(text(p, maxText)))
	}
	if a := s.RemoteAddr(); a != nil {
		host, _, err := net.SplitHostPort(a.String())
		if err != nil {
			host = a.String()
		}
		attrs = append(attrs, semconv.NetworkPeerAddress(text(host, maxText)))
	}
	return attrs
}

// closeAttributes say how a session ended: with which status, and who said so: nobody,
// if the connection broke.
func closeAttributes(cause error) []attribute.KeyValue {
	if e, ok := errors.AsType[*transport.CloseError](cause); ok {
		return []attribute.KeyValue{keyCloseStatus.Int(int(e.Code)), keyClosedBy.String("client")}
	}
	e, ok := errors.AsType[*transport.EndError](cause)
	if !ok {
		return nil
	}
	attrs := []attribute.KeyValue{keyCloseStatus.Int(int(e.Code))}
	switch {
	case errors.Is(cause, handler.ErrDisconnected):
		attrs = append(attrs, keyClosedBy.String("client"))
	case e.Code != transport.StatusAbnormalClosure:
		attrs = append(attrs, keyClosedBy.String("server"))
	}
	return attrs
}

// end ends span and measures. s is nil where there is no session.
func (t *Telemetry) end(ctx context.Context, d duration, f *form, span trace.Span, s *handler.Session, begin time.Time, err error) {
	failure := t.failure(err, s)
	if d.Enabled(ctx) {
		d.Record(ctx, time.Since(begin).Seconds(), f.record(s, failure)...)
	}
	if span.IsRecording() {
		if f.op == opConnect {
			span.SetAttributes(appendSession(nil, s, t.opts.WithoutUser)...)
		}
		if failure != "" {
			t.fail(span, err, failure)
		}
	}
	span.End()
}

// Handler makes a span "handle" around h, below that of Middleware: where it is the endpoint's
// or a route's handler, it tells what the application itself takes from what middleware does.
// It does nothing where the trace is not recorded.
func (t *Telemetry) Handler(h handler.Handler) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if !trace.SpanFromContext(ctx).IsRecording() {
			return h.Handle(ctx, r)
		}
		f := t.form(opHandle, r.Message.Kind, r.Message.Destination)
		ctx, span := t.tracer.Start(ctx, f.name, f.start...)
		err := errAborted
		defer func() {
			if failure := t.failure(err, r.Session); failure != "" {
				t.fail(span, err, failure)
			}
			span.End()
		}()
		err = h.Handle(ctx, r)
		return err
	})
}
