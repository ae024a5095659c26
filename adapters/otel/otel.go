package otel

import (
	"context"
	"math"
	"slices"
	"strings"

	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/handler"
)

// scope is what spans and metrics say made them.
const scope = "github.com/weftws/weft/adapters/otel"

// Other is the class and the error type of what there is no room for any more.
const Other = "_OTHER"

// The defaults of Options.
const (
	DefaultMaxClasses    = 64
	DefaultMaxDeliveries = 16
)

// Options say how a Telemetry behaves. The zero value of a field stands for its default.
type Options struct {
	// TracerProvider makes the spans. nil is the global one, which may be set later. It
	// should export in batches: a processor that exports when a span ends has every
	// message wait for it.
	TracerProvider trace.TracerProvider

	// MeterProvider has the metrics. nil is the global one.
	MeterProvider metric.MeterProvider

	// Propagator is how trace context stands in headers. nil is W3C's traceparent and
	// tracestate, and not the global one: with baggage in it, what the server's own
	// code has put there would be sent to every client that a message is published to.
	Propagator propagation.TextMapPropagator

	// TrustClients has the trace of a client go on in the server. By default a message
	// begins a trace of its own with a link to the client's, and what it has of
	// baggage is not looked at: a client that is not trusted could have everything sampled,
	// or write into whatever trace it knows the ID of. It is for clients
	// that are services of one's own.
	TrustClients bool

	// Class is what a destination is called in names of spans and in metrics:
	// something that stands for many. It must be quick and is called on many goroutines
	// at once. nil is Prefixes of /app/, /queue/, /topic/ and /user/. The destination itself
	// stands in spans only.
	Class func(destination string) string

	// MaxClasses bounds the classes, and the codes of errors likewise; what is over it
	// is Other, and counted. 0 means 64.
	MaxClasses int

	// MaxDeliveries is how many deliveries of one publication have a span; the others
	// are counted. 0 means 16, a negative number none. More is dear where a publication goes
	// to many: each span costs more than the delivery.
	MaxDeliveries int

	// ErrorText is the text of an error in a span's status. nil shows the text of a
	// *subprotocol.Error, which is made for the client to read, and nothing of any other, because
	// that may have what nobody should read: its type says "internal".
	ErrorText func(err error) string

	// WithoutUser leaves user.id out of spans, where a user's name is not for whoever
	// reads traces. Metrics never have it.
	WithoutUser bool
}

// Telemetry makes spans and metrics of what goes through an endpoint, and of what a client
// sends and gets. It is safe for concurrent use and may serve several endpoints.
type Telemetry struct {
	opts      Options
	tracer    trace.Tracer
	meter     metric.Meter
	w3c       bool     // the propagator is W3C's alone
	fields    []string // the headers that the propagator writes
	parents   []string // those of them that name a span
	classes   cache[string, string]
	codes     cache[string, string]
	forms     cache[formKey, *form]
	allowance allowance
	instruments
}

// New makes a Telemetry. nil means the zero Options; later changes to o have no effect. It
// panics if MaxClasses is negative.
func New(o *Options) *Telemetry {
	t := new(Telemetry)
	if o != nil {
		t.opts = *o
	}
	if t.opts.MaxClasses < 0 {
		panic("otel: Options.MaxClasses is negative")
	}
	if t.opts.TracerProvider == nil {
		t.opts.TracerProvider = api.GetTracerProvider()
	}
	if t.opts.MeterProvider == nil {
		t.opts.MeterProvider = api.GetMeterProvider()
	}
	if t.opts.Propagator == nil {
		t.opts.Propagator = propagation.TraceContext{}
	}
	if t.opts.Class == nil {
		t.opts.Class = Prefixes("/app/", "/queue/", "/topic/", "/user/")
	}
	if t.opts.MaxClasses == 0 {
		t.opts.MaxClasses = DefaultMaxClasses
	}
	if t.opts.MaxDeliveries == 0 {
		t.opts.MaxDeliveries = DefaultMaxDeliveries
	}
	if t.opts.ErrorText == nil {
		t.opts.ErrorText = shownText
	}
	_, t.w3c = t.opts.Propagator.(propagation.TraceContext)
	t.fields = t.opts.Propagator.Fields()
	t.parents = slices.DeleteFunc(slices.Clone(t.fields), func(name string) bool { return name == "baggage" })
	t.classes.max, t.codes.max, t.forms.max = t.opts.MaxClasses, t.opts.MaxClasses, math.MaxInt
	t.tracer = t.opts.TracerProvider.Tracer(scope)
	t.meter = t.opts.MeterProvider.Meter(scope)
	t.instruments = newInstruments(t.meter)
	return t
}

// Options are what an endpoint needs: Accept, Middleware and Outbound. They belong before
// all other options, so that Middleware is outermost; RequestID alone may come before it,
// and then spans have its name.
func (t *Telemetry) Options() []handler.Option {
	return []handler.Option{
		handler.WithAccept(t.Accept), handler.WithMiddleware(t.Middleware), handler.WithOutbound(t.Outbound),
	}
}

// Prefixes calls a destination by the longest of these that it begins with, without a
// slash at the end, and Other if there is none.
func Prefixes(prefixes ...string) func(destination string) string {
	return func(destination string) string {
		longest := ""
		for _, p := range prefixes {
			if len(p) > len(longest) && strings.HasPrefix(destination, p) {
				longest = p
			}
		}
		if longest == "" {
			return Other
		}
		return strings.TrimSuffix(longest, "/")
	}
}

// report tells OpenTelemetry's handler of errors, which by default writes to the log.
func report(err error) {
	if err != nil {
		api.Handle(err)
	}
}

// problem counts what was left out, and why.
func (t *Telemetry) problem(ctx context.Context, what metric.AddOption) {
	t.problems.Add(ctx, 1, what)
}
