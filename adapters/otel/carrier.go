package otel

import (
	"context"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// maxField is how many bytes one header of trace context may have. W3C asks for
// 512 of tracestate.
const maxField = 512

// Carrier has a propagator read and write the header of a message:
// (*Carrier)(&m.Header). Of several fields of one name the first counts; one over 512 bytes is
// read as if it were not there.
type Carrier subprotocol.Header

var _ propagation.TextMapCarrier = (*Carrier)(nil)

// Get returns the first value of key, "" if there is none or it is too long.
func (c *Carrier) Get(key string) string { return bounded(subprotocol.Header(*c).Get(key)) }

// Set replaces all values of key.
func (c *Carrier) Set(key, value string) { (*subprotocol.Header)(c).Set(key, value) }

// Keys returns all names, also those that stand twice.
func (c *Carrier) Keys() []string {
	names := make([]string, len(*c))
	for i, f := range *c {
		names[i] = f.Name
	}
	return names
}

func bounded(v string) string {
	if len(v) > maxField {
		return ""
	}
	return v
}

// handshakeCarrier reads the header of a handshake.
type handshakeCarrier struct{ h transport.Header }

func (c handshakeCarrier) Get(key string) string { return bounded(c.h.Get(key)) }
func (c handshakeCarrier) Set(string, string)    {}
func (c handshakeCarrier) Keys() []string        { return nil }

// Inject writes the trace context of ctx into the header of m, which must be the caller's
// alone, in the place of what it has of that kind. It is for what StartSend is not
// for: a Connect (see client.Options), or a message that is sent to one session.
func (t *Telemetry) Inject(ctx context.Context, m *subprotocol.Message) {
	m.Header = slices.DeleteFunc(m.Header, t.carries)
	t.opts.Propagator.Inject(ctx, (*Carrier)(&m.Header))
}

// Extract returns ctx with the trace context that stands in the header of m, or ctx if there
// is none that makes sense. Whoever trusts the sender of m begins spans with it.
func (t *Telemetry) Extract(ctx context.Context, m *subprotocol.Message) context.Context {
	ctx, _ = t.extract(ctx, m)
	return ctx
}

// extract is Extract, and returns the remote span.
func (t *Telemetry) extract(ctx context.Context, m *subprotocol.Message) (context.Context, trace.SpanContext) {
	if !has(m.Header, t.parents) {
		return ctx, trace.SpanContext{}
	}
	return t.read(ctx, (*Carrier)(&m.Header))
}

// carries reports whether f is of trace context, in whatever case: not every receiver looks
// at that.
func (t *Telemetry) carries(f subprotocol.Field) bool {
	return slices.ContainsFunc(t.fields, func(name string) bool { return strings.EqualFold(f.Name, name) })
}

// has reports whether h has a field of one of these names.
func has(h subprotocol.Header, names []string) bool {
	return slices.ContainsFunc(h, func(f subprotocol.Field) bool { return slices.Contains(names, f.Name) })
}

// read counts trace context that makes no sense.
func (t *Telemetry) read(ctx context.Context, c propagation.TextMapCarrier) (context.Context, trace.SpanContext) {
	with := t.opts.Propagator.Extract(ctx, c)
	sc := trace.SpanContextFromContext(with)
	if !sc.IsValid() || !sc.IsRemote() {
		t.problem(ctx, problemContext)
		return ctx, trace.SpanContext{}
	}
	return with, sc
}
