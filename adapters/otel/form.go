package otel

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// The attributes that no convention has.
const (
	keyKind        = attribute.Key("weft.kind")        // CONNECT, SEND ...
	keyTransport   = attribute.Key("weft.transport")   // as Session.Transport
	keySubProtocol = attribute.Key("weft.subprotocol") // as Session.SubProtocol
	keyRequest     = attribute.Key("weft.request")     // as middleware.RequestIDFrom
	keyStatus      = attribute.Key("weft.status")      // of a delivery: sent, queued ...
	keyDelivery    = attribute.Key("weft.delivery.count")
	keyCloseStatus = attribute.Key("weft.close.status")
	keyClosedBy    = attribute.Key("weft.close.by") // client or server; not there if the connection broke
	keyEndpoint    = attribute.Key("weft.endpoint")
	keyReason      = attribute.Key("weft.reason")
	keyDirection   = attribute.Key("weft.direction")
)

// system is what messaging.system says.
var system = semconv.MessagingSystemKey.String("weft")

// maxText and maxError bound what others wrote, in bytes.
const (
	maxText  = 200
	maxError = 500
)

// operation is something that is done with a message.
type operation struct {
	name string
	typ  attribute.KeyValue // nothing if it is none of the conventions'
	kind trace.SpanKind
}

var (
	opConnect    = &operation{name: "connect", kind: trace.SpanKindServer}
	opDisconnect = &operation{name: "disconnect", kind: trace.SpanKindServer}
	opReceive    = &operation{"receive", semconv.MessagingOperationTypeProcess, trace.SpanKindConsumer}
	opHandle     = &operation{name: "handle", kind: trace.SpanKindInternal}
	opPublish    = &operation{"publish", semconv.MessagingOperationTypeSend, trace.SpanKindProducer}
	opDeliver    = &operation{"deliver", semconv.MessagingOperationTypeSend, trace.SpanKindProducer}
	opSend       = &operation{"send", semconv.MessagingOperationTypeSend, trace.SpanKindProducer}
)

type formKey struct {
	op    *operation
	kind  subprotocol.Kind // 0 where the operation says it all
	class string
}

// form is what spans of one name have in common. There are as many as there are classes
// for each operation and kind, and of the series of each as many as there are codes of errors for
// each transport and sub-protocol.
type form struct {
	op     *operation
	name   string
	start  []trace.SpanStartOption
	common []attribute.KeyValue
	series cache[seriesKey, []metric.RecordOption]
}

type seriesKey struct{ transport, subProtocol, err string }

// form returns what spans of op have in common for messages of kind to destination.
func (t *Telemetry) form(op *operation, kind subprotocol.Kind, destination string) *form {
	key := formKey{op, kind, ""}
	if destination != "" {
		key.class = t.class(destination)
	}
	if f, ok := t.forms.get(key); ok {
		return f
	}
	f, _ := t.forms.add(key, newForm(key))
	return f
}

func newForm(k formKey) *form {
	f := &form{op: k.op, name: k.op.name, common: []attribute.KeyValue{system, semconv.MessagingOperationName(k.op.name)}}
	f.series.max = math.MaxInt
	if k.op.typ.Valid() {
		f.common = append(f.common, k.op.typ)
	}
	if k.kind != 0 {
		f.name += " " + k.kind.String()
		f.common = append(f.common, keyKind.String(k.kind.String()))
	}
	if k.class != "" {
		f.name += " " + k.class
		f.common = append(f.common, semconv.MessagingDestinationTemplate(k.class))
	}
	f.start = []trace.SpanStartOption{trace.WithSpanKind(k.op.kind), trace.WithAttributes(f.common...)}
	return f
}

// class is what a destination is called.
func (t *Telemetry) class(destination string) string {
	return t.admit(&t.classes, t.opts.Class(destination), problemClass)
}

// admit returns s if it is one of those that c has or has room for.
func (t *Telemetry) admit(c *cache[string, string], s string, over metric.AddOption) string {
	if known, ok := c.get(s); ok {
		return known
	}
	if s == "" || s == Other {
		return s
	}
	if !c.full() {
		s = text(s, maxText)
		if known, ok := c.add(s, s); ok {
			return known
		}
	}
	t.problem(context.Background(), over)
	return Other
}

// record returns what a measurement of f says, for a session that may be nil.
func (f *form) record(s *handler.Session, failure string) []metric.RecordOption {
	k := seriesKey{err: failure}
	if s != nil {
		k.transport, k.subProtocol = s.Transport(), s.SubProtocol()
	}
	if found, ok := f.series.get(k); ok {
		return found
	}
	made, _ := f.series.add(k, f.newSeries(k))
	return made
}

func (f *form) newSeries(k seriesKey) []metric.RecordOption {
	attrs := f.common[:len(f.common):len(f.common)]
	if k.transport != "" {
		attrs = append(attrs, keyTransport.String(k.transport), keySubProtocol.String(k.subProtocol))
	}
	if k.err != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(k.err))
	}
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}

// sessionKeys are what the attributes of middleware.SessionAttrs are called here.
var sessionKeys = map[string]attribute.Key{
	"session": semconv.SessionIDKey, "user": semconv.UserIDKey, "transport": keyTransport, "subprotocol": keySubProtocol,
}

// SessionAttributes are the attributes by which spans name a session: what
// middleware.SessionAttrs has, as session.id, user.id, weft.transport and weft.subprotocol. Those
// that are empty are left out.
func SessionAttributes(s *handler.Session) []attribute.KeyValue {
	return appendSession(nil, s, false)
}

func appendSession(dst []attribute.KeyValue, s *handler.Session, withoutUser bool) []attribute.KeyValue {
	for _, a := range middleware.SessionAttrs(s) {
		key, ok := sessionKeys[a.Key]
		if !ok {
			key = attribute.Key("weft." + a.Key)
		}
		if a.Value.Kind() != slog.KindString || a.Value.String() == "" || withoutUser && key == semconv.UserIDKey {
			continue
		}
		dst = append(dst, key.String(a.Value.String()))
	}
	return dst
}

// describe gives span what is known of m.
func (t *Telemetry) describe(ctx context.Context, span trace.Span, s *handler.Session, m *subprotocol.Message) {
	attrs := make([]attribute.KeyValue, 0, 10)
	if s != nil && m.Kind != subprotocol.KindConnect { // which has it in the end: only then the user is known
		attrs = appendSession(attrs, s, t.opts.WithoutUser)
	}
	if m.Destination != "" {
		attrs = append(attrs, semconv.MessagingDestinationName(text(m.Destination, maxText)))
	}
	if m.ID != "" {
		attrs = append(attrs, semconv.MessagingMessageID(text(m.ID, maxText)))
	}
	if len(m.Body) > 0 {
		attrs = append(attrs, semconv.MessagingMessageBodySize(len(m.Body)))
	}
	if id := middleware.RequestIDFrom(ctx); id != "" {
		attrs = append(attrs, keyRequest.String(id))
	}
	span.SetAttributes(attrs...)
}

// errAborted stands for the error of what a panic or a Goexit passed through.
var errAborted = errors.New("otel: panicked")

// failure is the type of an error, for span and metrics: the code of one that the client is
// shown, else what it was about; "" if nothing failed. That a handler found its own
// session ended is no failure.
func (t *Telemetry) failure(err error, s *handler.Session) string {
	if err == nil {
		return ""
	}
	if s != nil && s.Context().Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)) {
		return ""
	}
	if e, ok := errors.AsType[*subprotocol.Error](err); ok && e.Code != "" {
		return t.admit(&t.codes, e.Code, problemCode)
	}
	if _, ok := errors.AsType[*middleware.PanicError](err); ok || errors.Is(err, errAborted) {
		return "panic"
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, handler.ErrQueueFull):
		return "queue-full"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, context.Canceled):
		return "canceled"
	default:
		return "internal"
	}
}

// fail writes err into span.
func (t *Telemetry) fail(span trace.Span, err error, failure string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(failure))
	span.SetStatus(codes.Error, text(t.opts.ErrorText(err), maxError))
}

// shownText is what of err is made for the client to read.
func shownText(err error) string {
	if e, ok := errors.AsType[*subprotocol.Error](err); ok {
		return e.Text
	}
	return ""
}

// text is s as an exporter can carry it: UTF-8, because one text that is not would cost
// a whole batch, cut after limit bytes, and a copy, because s may be a part of a whole frame.
func text(s string, limit int) string {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return strings.Clone(strings.ToValidUTF8(s, "?"))
}
