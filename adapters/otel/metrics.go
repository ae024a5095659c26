package otel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/weftws/weft/handler"
)

// duration is an instrument that measures seconds.
type duration = metric.Float64Histogram

// instruments are those that are written to.
type instruments struct {
	processing, sending duration
	problems            metric.Int64Counter
}

// buckets are those that the conventions advise, from half a millisecond on: most handlers
// take less than the 5 ms that they begin with.
var buckets = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

func newInstruments(m metric.Meter) (i instruments) {
	var err error
	i.processing, err = m.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of handling a message, middleware included."),
		metric.WithExplicitBucketBoundaries(buckets...))
	report(err)
	i.sending, err = m.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of publishing or sending a message."),
		metric.WithExplicitBucketBoundaries(buckets...))
	report(err)
	i.problems, err = m.Int64Counter("weft.telemetry.problems", metric.WithUnit("{problem}"),
		metric.WithDescription("What traces and metrics lack: see weft.reason."))
	report(err)
	return i
}

// The reasons of weft.telemetry.problems.
var (
	problemContext  = reason("bad-context")    // trace context in a header that makes no sense
	problemClass    = reason("class-limit")    // a class over MaxClasses
	problemCode     = reason("code-limit")     // an error's code over MaxClasses
	problemDelivery = reason("delivery-limit") // a delivery over MaxDeliveries
)

func reason(s string) metric.AddOption {
	return metric.WithAttributeSet(attribute.NewSet(keyReason.String(s)))
}

// observed is an instrument that shows numbers of handler.Stats.
type observed struct {
	name, unit, description string
	gauge                   bool // may fall
	points                  []point
}

// point is one of them. Points of one instrument differ in an attribute.
type point struct {
	attribute attribute.KeyValue
	value     func(s *handler.Stats) uint64
}

func one(value func(s *handler.Stats) uint64) []point { return []point{{value: value}} }

func because(reason string, value func(s *handler.Stats) uint64) point {
	return point{keyReason.String(reason), value}
}

var (
	in  = keyDirection.String("in")
	out = keyDirection.String("out")
)

// endpointInstruments show all of handler.Stats.
var endpointInstruments = []observed{
	{"weft.session.active", "{session}", "Sessions that are connected.", true, one(func(s *handler.Stats) uint64 { return uint64(s.Sessions) })},
	{"weft.session.live", "{session}", "Sessions that were admitted and not let go of.", true, one(func(s *handler.Stats) uint64 { return uint64(s.Live) })},
	{"weft.session.ended", "{session}", "Sessions that were open and have ended.", false, one(func(s *handler.Stats) uint64 { return s.Ended })},
	{"weft.queue.size", "By", "What all queues hold.", true, one(func(s *handler.Stats) uint64 { return uint64(s.QueuedBytes) })},

	{"weft.handshake.accepted", "{handshake}", "Handshakes that were accepted.", false, one(func(s *handler.Stats) uint64 { return s.Accepted })},
	{"weft.handshake.aborted", "{handshake}", "Accepted handshakes that ended before they were open.", false, one(func(s *handler.Stats) uint64 { return s.Aborted })},
	{"weft.handshake.refused", "{handshake}", "Handshakes that were refused.", false, []point{
		because("shutdown", func(s *handler.Stats) uint64 { return s.Refused.Shutdown }),
		because("origin", func(s *handler.Stats) uint64 { return s.Refused.Origin }),
		because("subprotocol", func(s *handler.Stats) uint64 { return s.Refused.SubProtocol }),
		because("limit", func(s *handler.Stats) uint64 { return s.Refused.Limit }),
		because("hook", func(s *handler.Stats) uint64 { return s.Refused.Hook }),
	}},
	{"weft.connect.refused", "{session}", "Sessions whose connect the handler refused.", false, one(func(s *handler.Stats) uint64 { return s.ConnectRefused })},
	{"weft.connect.missed", "{session}", "Clients that sent no connect in time.", false, one(func(s *handler.Stats) uint64 { return s.ConnectTimeouts })},
	{"weft.heartbeat.missed", "{session}", "Clients that fell silent.", false, one(func(s *handler.Stats) uint64 { return s.HeartbeatsMissed })},

	{"weft.message.count", "{message}", "Messages of the transport.", false, []point{
		{in, func(s *handler.Stats) uint64 { return s.MessagesIn }},
		{out, func(s *handler.Stats) uint64 { return s.MessagesOut }},
	}},
	{"weft.message.io", "By", "Bytes in messages of the transport.", false, []point{
		{in, func(s *handler.Stats) uint64 { return s.BytesIn }},
		{out, func(s *handler.Stats) uint64 { return s.BytesOut }},
	}},
	{"weft.message.discarded", "{message}", "Messages that came in after the end of their session began.", false, one(func(s *handler.Stats) uint64 { return s.Discarded })},
	{"weft.message.dropped", "{message}", "Messages for clients that were not sent.", false, []point{
		because("newest", func(s *handler.Stats) uint64 { return s.Dropped.Newest }),
		because("oldest", func(s *handler.Stats) uint64 { return s.Dropped.Oldest }),
		because("conflated", func(s *handler.Stats) uint64 { return s.Dropped.Conflated }),
		because("unsendable", func(s *handler.Stats) uint64 { return s.Dropped.Unsendable }),
		because("closed", func(s *handler.Stats) uint64 { return s.Dropped.Closed }),
	}},

	{"weft.error.count", "{error}", "What went wrong.", false, []point{
		because("decode", func(s *handler.Stats) uint64 { return s.DecodeErrors }),
		because("handler", func(s *handler.Stats) uint64 { return s.HandlerErrors }),
		because("panic", func(s *handler.Stats) uint64 { return s.Panics }),
	}},
	{"weft.reader.yielded", "{reader}", "Readers that were handed over because of a slow handler.", false, one(func(s *handler.Stats) uint64 { return s.Yields })},
	{"weft.reader.paused", "{reader}", "Readers that stopped because their window was full.", false, one(func(s *handler.Stats) uint64 { return s.Pauses })},
}

// reading is a point and the instrument that shows it.
type reading struct {
	instrument metric.Int64Observable
	attributes []metric.ObserveOption
	value      func(s *handler.Stats) uint64
}

// Observe shows the counters of e as metrics, with the attributes weft.transport and
// weft.endpoint; by the latter one endpoint of a process is told from another: two of one name would
// hide each other. It ends with Unregister, and keeps e until then.
func (t *Telemetry) Observe(name string, e *handler.Endpoint) (metric.Registration, error) {
	common := []attribute.KeyValue{keyEndpoint.String(text(name, maxText)), keyTransport.String(e.Transport().Name())}
	var readings []reading
	var all []metric.Observable
	for _, o := range endpointInstruments {
		i, err := o.make(t.meter)
		if err != nil {
			return nil, fmt.Errorf("otel: making %s: %w", o.name, err)
		}
		all = append(all, i)
		for _, p := range o.points {
			attrs := common[:len(common):len(common)]
			if p.attribute.Valid() {
				attrs = append(attrs, p.attribute)
			}
			set := metric.WithAttributeSet(attribute.NewSet(attrs...))
			readings = append(readings, reading{i, []metric.ObserveOption{set}, p.value})
		}
	}
	r, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stats := e.Stats()
		for _, r := range readings {
			o.ObserveInt64(r.instrument, int64(r.value(&stats)), r.attributes...)
		}
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("otel: observing an endpoint: %w", err)
	}
	return r, nil
}

func (o *observed) make(m metric.Meter) (metric.Int64Observable, error) {
	if o.gauge {
		return m.Int64ObservableUpDownCounter(o.name, metric.WithUnit(o.unit), metric.WithDescription(o.description))
	}
	return m.Int64ObservableCounter(o.name, metric.WithUnit(o.unit), metric.WithDescription(o.description))
}
