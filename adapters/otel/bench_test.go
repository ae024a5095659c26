package otel_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// What these numbers mean: one process has both ends, over a pipe, so that nothing but weft and
// the adapter is in them; over a network the share of the adapter is smaller. Spans end in a
// processor that throws them away: exporting comes on top, on another goroutine.

// row is one way to have the adapter or not.
type row struct {
	name string
	make func(tb testing.TB) *otel.Telemetry // nil for none
}

// discard is a processor of spans that keeps nothing.
type discard struct{}

func (discard) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (discard) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (discard) Shutdown(context.Context) error                  { return nil }
func (discard) ForceFlush(context.Context) error                { return nil }

func sampled(s sdktrace.Sampler) trace.TracerProvider {
	return sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(s)), sdktrace.WithSpanProcessor(discard{}))
}

func measured() *sdkmetric.MeterProvider {
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
}

var rows = []row{
	{"none", nil},
	{"noop", func(testing.TB) *otel.Telemetry {
		return otel.New(&otel.Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()})
	}},
	{"metrics", func(testing.TB) *otel.Telemetry {
		return otel.New(&otel.Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: measured()})
	}},
	{"unsampled", func(testing.TB) *otel.Telemetry {
		return otel.New(&otel.Options{TracerProvider: sampled(sdktrace.NeverSample()), MeterProvider: measured()})
	}},
	{"sampled", func(testing.TB) *otel.Telemetry {
		return otel.New(&otel.Options{TracerProvider: sampled(sdktrace.AlwaysSample()), MeterProvider: measured()})
	}},
}

func (r row) telemetry(tb testing.TB) *otel.Telemetry {
	if r.make == nil {
		return nil
	}
	return r.make(tb)
}

// publisherOf is p, watched by t if there is one.
func publisherOf(t *otel.Telemetry, p handler.Publisher) handler.Publisher {
	if t == nil {
		return p
	}
	return t.Publisher(p)
}

// wire is a client that speaks bytes: it counts what comes, and answers nothing.
type wire struct {
	conn transport.Conn
	came chan struct{}
	gone chan struct{}
}

func (w *wire) Receive(transport.Message) { w.came <- struct{}{} }
func (w *wire) Writable()                 {}
func (w *wire) Closed(error)              { close(w.gone) }

func (w *wire) send(tb testing.TB, batch []transport.Message) {
	if n, err := w.conn.Write(batch); err != nil || n != len(batch) {
		tb.Fatalf("%d messages were taken: %v", n, err)
	}
}

// wires opens n connections with JSON envelopes to an endpoint for h.
func wires(tb testing.TB, n int, t *otel.Telemetry, h handler.Handler, first ...string) []*wire {
	p := pipe.New(nil)
	var opts []handler.Option
	if t != nil {
		opts = t.Options()
	}
	ep := handler.NewEndpoint(p, h, append(opts, handler.WithSubProtocols(protocols()["json"]), handler.WithHeartbeat(0, 0),
		handler.WithShutdownSpread(0))...)
	all := make([]*wire, n)
	for i := range all {
		w := &wire{came: make(chan struct{}, 16), gone: make(chan struct{})}
		conn, err := p.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return w })
		require.NoError(tb, err)
		w.conn = conn
		for _, text := range append([]string{`{"type":"connect","version":"1"}`}, first...) {
			w.send(tb, []transport.Message{textMessage(text)})
			<-w.came
		}
		all[i] = w
	}
	tb.Cleanup(func() {
		require.NoError(tb, ep.Shutdown(context.Background()))
		for _, w := range all {
			<-w.gone
		}
	})
	return all
}

func textMessage(text string) transport.Message {
	return transport.Message{Type: transport.MessageText, Data: []byte(text)}
}

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// sends are what a client sends, without and with trace context.
var sends = map[string]string{
	"plain":  `{"type":"send","destination":"/app/x","receipt":"1","body":1}`,
	"traced": `{"type":"send","destination":"/app/x","receipt":"1","header":[["traceparent","` + traceparent + `"]],"body":1}`,
}

func nothing(context.Context, handler.Request) error { return nil }

// BenchmarkMiddleware is a SEND on its way through Middleware alone, without a transport.
func BenchmarkMiddleware(b *testing.B) {
	for _, kind := range []string{"plain", "traced"} {
		for _, r := range rows {
			b.Run(kind+"/"+r.name, func(b *testing.B) {
				h, req := alone(b, r.telemetry(b))
				b.ReportAllocs()
				for b.Loop() {
					send(b, h, req, kind == "traced")
				}
			})
		}
	}
}

// alone is a handler that does nothing behind Middleware, and a SEND of a session that is there.
func alone(tb testing.TB, t *otel.Telemetry) (handler.Handler, handler.Request) {
	sessions := make(chan *handler.Session, 1)
	wires(tb, 1, nil, handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindConnect {
			sessions <- r.Session
		}
		return nil
	}))
	var h handler.Handler = handler.HandlerFunc(nothing)
	if t != nil {
		h = t.Middleware(h)
	}
	m := &subprotocol.Message{
		Kind: subprotocol.KindSend, Destination: "/app/x", Body: []byte("1"), Header: make(subprotocol.Header, 0, 8),
	}
	return h, handler.Request{Session: <-sessions, Message: m}
}

// send has h handle r as it comes from a framer, which lends its room for headers again.
func send(tb testing.TB, h handler.Handler, r handler.Request, traced bool) {
	r.Message.Header = r.Message.Header[:0]
	if traced {
		r.Message.Header.Add("traceparent", traceparent)
	}
	if err := h.Handle(r.Session.Context(), r); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkMessage is a SEND and its receipt.
func BenchmarkMessage(b *testing.B) {
	for _, kind := range []string{"plain", "traced"} {
		for _, r := range rows {
			b.Run(kind+"/"+r.name, func(b *testing.B) {
				w := wires(b, 1, r.telemetry(b), handler.HandlerFunc(nothing))[0]
				batch := []transport.Message{textMessage(sends[kind])}
				b.ReportAllocs()
				for b.Loop() {
					w.send(b, batch)
					<-w.came
				}
			})
		}
	}
}

// BenchmarkPublish is a publication to the subscribers of a topic, until all have it. A
// publication of "sampled" has 16 spans of deliveries at most.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100} {
		for _, r := range rows {
			b.Run(fmt.Sprintf("%d/%s", n, r.name), func(b *testing.B) {
				topics := broker.New(nil)
				tel := r.telemetry(b)
				all := wires(b, n, tel, topics, `{"type":"subscribe","subscription":"s","destination":"/topic/x","receipt":"1"}`)
				p := publisherOf(tel, topics)
				m := &subprotocol.Message{Body: bytes.Repeat([]byte("weft"), 16)}
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Publish(ctx, "/topic/x", m); err != nil {
						b.Fatal(err)
					}
					for _, w := range all {
						<-w.came
					}
				}
			})
		}
	}
}
