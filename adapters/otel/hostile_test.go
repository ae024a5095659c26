package otel_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
)

// malformed are values of traceparent that make no sense.
var malformed = []string{
	" ", "00", "00-", strings.Repeat("-", 55), strings.ToUpper(traceparent), traceparent + "-x", traceparent[:54],
	"ff" + traceparent[2:], "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01",
	"00-4bf92f3577b34da6a3ce929d0e0e4736-" + strings.Repeat("0", 16) + "-01", strings.Repeat("0", 600),
	traceparent + strings.Repeat(" ", 500), "00-4bf92f3577b34da6a3ce929d0e0e473\u00e9-00f067aa0ba902b7-01",
}

// TestMalformedContext: it is ignored and counted, and the message is handled.
func TestMalformedContext(t *testing.T) {
	t.Parallel()
	for _, trust := range []bool{false, true} {
		w := watch(t, &otel.Options{TrustClients: trust})
		s := serve(t, "pipe", "json", handler.HandlerFunc(nothing), w.Options()...)
		c := s.dial(t, nil)
		for _, v := range malformed {
			m := &subprotocol.Message{Destination: "/app/x", Header: subprotocol.Header{{Name: "traceparent", Value: v}}}
			require.NoError(t, c.SendReceipt(t.Context(), m))
		}
		s.end(t, c)
		got := w.all("receive SEND /app")
		require.Len(t, got, len(malformed))
		for _, s := range got {
			require.Empty(t, s.Links)
			require.False(t, s.Parent.IsValid())
		}
		require.EqualValues(t, len(malformed), w.metrics(t)["weft.telemetry.problems{weft.reason=bad-context}"])
	}
}

// TestFirstWins: of two fields the first counts, as everywhere else.
func TestFirstWins(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	s := serve(t, "pipe", "json", handler.HandlerFunc(nothing), w.Options()...)
	c := s.dial(t, nil)
	other := strings.Replace(traceparent, "4bf", "abc", 1)
	require.NoError(t, c.SendReceipt(t.Context(), &subprotocol.Message{Destination: "/app/x", Header: subprotocol.Header{
		{Name: "tracestate", Value: strings.Repeat("x", 600)}, {Name: "traceparent", Value: traceparent}, {Name: "traceparent", Value: other},
	}}))
	s.end(t, c)
	got := w.one(t, "receive SEND /app")
	require.Len(t, got.Links, 1)
	require.Equal(t, traceparent[3:35], got.Links[0].SpanContext.TraceID().String())
	require.Zero(t, got.Links[0].SpanContext.TraceState().Len())
}

// TestClientsChooseNothing: what a broker passes on names the server's span and has nobody's
// baggage, unless clients are trusted.
func TestClientsChooseNothing(t *testing.T) {
	t.Parallel()
	for _, trust := range []bool{false, true} {
		b := broker.New(nil)
		p := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
		w := watch(t, &otel.Options{TrustClients: trust, Propagator: p})
		var seen string
		s := serve(t, "pipe", "json", handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindSend {
				seen = baggage.FromContext(ctx).String()
			}
			return b.Handle(ctx, r)
		}), w.Options()...)
		c := s.dial(t, nil)
		sub, err := c.Subscribe(t.Context(), "/topic/x", nil, nil)
		require.NoError(t, err)
		require.NoError(t, c.SendReceipt(t.Context(), &subprotocol.Message{Destination: "/topic/x", Header: subprotocol.Header{
			{Name: "traceparent", Value: traceparent}, {Name: "tracestate", Value: "a=b"}, {Name: "baggage", Value: "role=admin"},
			{Name: "Traceparent", Value: traceparent}, {Name: "BAGGAGE", Value: "role=admin"}, {Name: "mine", Value: "1"},
		}}))
		var got subprotocol.Header
		for d, err := range sub.Messages(t.Context()) {
			require.NoError(t, err)
			got = d.Header
			break
		}
		s.end(t, c)
		receive := w.one(t, "receive SEND /topic")
		requireChild(t, receive, w.one(t, "deliver /topic"))
		require.Contains(t, got.Get("traceparent"), receive.SpanContext.TraceID().String()+"-"+receive.SpanContext.SpanID().String())
		require.Len(t, got.Values("traceparent"), 1)
		require.Equal(t, "1", got.Get("mine"))
		require.Empty(t, got.Get("Traceparent")+got.Get("BAGGAGE"), "not every receiver looks at the case of names")
		if trust {
			require.Equal(t, "role=admin", seen)
			require.Equal(t, "role=admin", got.Get("baggage"))
			require.Equal(t, "a=b", got.Get("tracestate"))
			require.Equal(t, traceparent[3:35], receive.SpanContext.TraceID().String())
		} else {
			require.Empty(t, seen)
			require.Empty(t, got.Get("baggage"))
			require.Empty(t, got.Get("tracestate"))
		}
	}
}

// TestNoProvider: without anybody who records, clients still don't write into each other's traces.
func TestNoProvider(t *testing.T) {
	t.Parallel()
	w := watch(t, &otel.Options{
		TracerProvider: tracenoop.NewTracerProvider(),
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	})
	_, r := alone(t, nil)
	r.Message.Header = subprotocol.Header{{Name: "traceparent", Value: traceparent}, {Name: "mine", Value: "1"}, {Name: "baggage", Value: "a=b"}}
	require.NoError(t, w.Middleware(handler.HandlerFunc(nothing)).Handle(r.Session.Context(), r))
	require.Equal(t, subprotocol.Header{{Name: "mine", Value: "1"}}, r.Message.Header)
	r.Message.Header = subprotocol.Header{{Name: "Baggage", Value: "a=b"}}
	require.NoError(t, w.Middleware(handler.HandlerFunc(nothing)).Handle(r.Session.Context(), r))
	require.Empty(t, r.Message.Header)
}

// TestManyAtOnce: what is made the first time is made once.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := watch(t, &otel.Options{MaxClasses: 10, Class: func(d string) string { return d }})
	s := serve(t, "pipe", "json", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if len(r.Message.Body) > 0 {
			return &subprotocol.Error{Code: string(r.Message.Body)}
		}
		return nil
	}), w.Options()...)
	var group sync.WaitGroup
	const clients, messages = 8, 60
	for i := range clients {
		c := s.dial(t, nil)
		group.Go(func() {
			for k := range messages {
				m := &subprotocol.Message{Destination: fmt.Sprint("/app/", (i+k)%20)}
				if k%3 == 0 {
					m.Body = fmt.Append(nil, k%15)
				}
				_ = c.SendReceipt(context.Background(), m) // a third of them are refused
			}
			_ = c.Close(context.Background())
		})
	}
	group.Wait()
	s.end(t)
	total, classes := int64(0), make(map[string]bool)
	for name, n := range w.metrics(t) {
		if strings.HasPrefix(name, "messaging.process.duration{") && strings.Contains(name, "weft.kind=SEND") {
			total += n
			classes[regexp.MustCompile(`template=[^,]*`).FindString(name)] = true
		}
	}
	require.EqualValues(t, clients*messages, total)
	require.Len(t, classes, 11, "ten, and the rest")
}

// TestLabels: a million destinations, and as many codes of errors, are a few classes; memory
// stays as it is.
func TestLabels(t *testing.T) {
	n := 1_000_000
	if raceEnabled {
		n = 20_000
	}
	w := watch(t, &otel.Options{
		TracerProvider: tracenoop.NewTracerProvider(), MaxClasses: 20,
		Class: func(d string) string { return d },
	})
	_, r := alone(t, nil)
	h := w.Middleware(handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		return &subprotocol.Error{Code: "code" + r.Message.Destination}
	}))
	ctx := r.Session.Context()
	run := func(from, to int) {
		for i := from; i < to; i++ {
			r.Message.Destination = fmt.Sprintf("/app/%d", i)
			require.Error(t, h.Handle(ctx, r))
		}
	}
	run(0, n/10)
	before := heap()
	run(n/10, n)
	require.Less(t, heap()-before, int64(256<<10))
	got := w.metrics(t)
	require.LessOrEqual(t, len(got), 2+21*21)
	total := int64(0)
	for name, v := range got {
		if strings.HasPrefix(name, "messaging.process.duration{") {
			total += v
		}
	}
	require.EqualValues(t, n, total, "every message is measured")
	require.EqualValues(t, n-20, got["weft.telemetry.problems{weft.reason=class-limit}"])
	require.EqualValues(t, n-20, got["weft.telemetry.problems{weft.reason=code-limit}"])
}

// heap is how many bytes live.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// away is an exporter whose collector does not answer until the test gives up.
type away struct {
	spans  atomic.Int64
	giveUp chan struct{}
}

func (a *away) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	a.spans.Add(int64(len(spans)))
	<-a.giveUp
	return errors.New("collector is away")
}
func (a *away) Shutdown(context.Context) error { return nil }

// TestCollectorAway: messages are handled as ever, what can't be exported is dropped within the
// processor's bound, and whoever handles OpenTelemetry's errors is told.
func TestCollectorAway(t *testing.T) {
	// Not parallel: the handler of errors is the process's.
	told := make(chan error, 64)
	api.SetErrorHandler(api.ErrorHandlerFunc(func(err error) {
		select {
		case told <- err:
		default:
		}
	}))
	a := &away{giveUp: make(chan struct{})}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(a, sdktrace.WithMaxQueueSize(100), sdktrace.WithMaxExportBatchSize(50),
		sdktrace.WithBatchTimeout(time.Millisecond), sdktrace.WithExportTimeout(time.Hour)))
	tel := otel.New(&otel.Options{TracerProvider: provider})
	var handled atomic.Int64
	s := serve(t, "pipe", "json", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			handled.Add(1)
		}
		return nil
	}), tel.Options()...)
	c := s.dial(t, nil)
	const n = 3000
	for range n {
		require.NoError(t, c.SendReceipt(t.Context(), &subprotocol.Message{Destination: "/app/x"}))
	}
	require.EqualValues(t, n, handled.Load())
	s.end(t, c)
	close(a.giveUp)
	require.ErrorContains(t, <-told, "collector is away")
	_ = provider.Shutdown(t.Context()) // an error says again that nobody is there
	require.NotZero(t, a.spans.Load())
	require.LessOrEqual(t, a.spans.Load(), int64(50+100), "what was exported at first, and what the queue holds")
}

// TestInvalidText: one text that is not UTF-8 would cost an exporter its whole batch.
func TestInvalidText(t *testing.T) {
	t.Parallel()
	w := watch(t, &otel.Options{ErrorText: error.Error})
	_, r := alone(t, nil)
	r.Session.SetUser("an\xffn")
	r.Message.Destination, r.Message.ID = "/app/\xc3"+strings.Repeat("\u00e9", 200), "\x80"
	h := w.Middleware(handler.HandlerFunc(func(context.Context, handler.Request) error { return errors.New("disk \xfe") }))
	require.Error(t, h.Handle(r.Session.Context(), r))
	got := w.one(t, "receive SEND /app")
	require.Equal(t, "disk ?", got.Status.Description)
	for k, v := range attributes(got) {
		require.Equal(t, strings.ToValidUTF8(v, ""), v, k)
		require.LessOrEqual(t, len(v), 203, k)
	}
	require.Equal(t, "an?n", attributes(got)["user.id"])
}
