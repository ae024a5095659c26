package otel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

func TestCarrier(t *testing.T) {
	t.Parallel()
	m := &subprotocol.Message{Header: subprotocol.Header{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "a", Value: "3"}}}
	c := (*otel.Carrier)(&m.Header)
	require.Equal(t, "1", c.Get("a"))
	require.Empty(t, c.Get("A"))
	require.Equal(t, []string{"a", "b", "a"}, c.Keys())
	c.Set("a", "4")
	c.Set("c", strings.Repeat("x", 512))
	require.Equal(t, []string{"a", "b", "c"}, c.Keys())
	require.Equal(t, "4", m.Header.Get("a"))
	require.Len(t, c.Get("c"), 512)
	c.Set("c", strings.Repeat("x", 513))
	require.Empty(t, c.Get("c"))
}

// TestInject: what stands in a header of another trace is replaced, also by nothing.
func TestInject(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	m := &subprotocol.Message{Header: subprotocol.Header{
		{Name: "traceparent", Value: traceparent}, {Name: "x", Value: "1"}, {Name: "tracestate", Value: "a=b"}, {Name: "traceparent"},
	}}
	ctx := w.Extract(context.Background(), m)
	require.Equal(t, traceparent[36:52], trace.SpanContextFromContext(ctx).SpanID().String())
	w.Inject(ctx, m)
	require.ElementsMatch(t, subprotocol.Header{
		{Name: "traceparent", Value: traceparent}, {Name: "x", Value: "1"}, {Name: "tracestate", Value: "a=b"},
	}, m.Header)
	w.Inject(context.Background(), m)
	require.Equal(t, subprotocol.Header{{Name: "x", Value: "1"}}, m.Header)
	require.Equal(t, context.Background(), w.Extract(context.Background(), m))
}

// FuzzContext: whatever a client writes into the headers, a SEND is handled; it is linked if and
// only if W3C's propagator understands what stands there first, and what goes on is the
// server's alone.
func FuzzContext(f *testing.F) {
	for _, v := range append(malformed, traceparent, "01"+traceparent[2:]+"-more", traceparent[:53]+"02") {
		f.Add(v, "a=b", traceparent)
		f.Add(traceparent, v, v)
	}
	w := watch(f, nil)
	_, r := alone(f, nil)
	var seen subprotocol.Header
	h := w.Middleware(handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		seen = r.Message.Header
		return nil
	}))
	f.Fuzz(func(t *testing.T, parent, state, second string) {
		w.spans.Reset()
		r.Message.Header = subprotocol.Header{
			{Name: "x", Value: "1"}, {Name: "traceparent", Value: parent}, {Name: "tracestate", Value: state},
			{Name: "traceparent", Value: second}, {Name: "tracestate", Value: parent},
		}
		require.NoError(t, h.Handle(r.Session.Context(), r))
		first := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
		for k, v := range first {
			if len(v) > 512 {
				delete(first, k)
			}
		}
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), first))
		got := w.one(t, "receive SEND /app")
		if want.IsValid() {
			require.Len(t, got.Links, 1)
			require.True(t, want.Equal(got.Links[0].SpanContext))
		} else {
			require.Empty(t, got.Links)
		}
		require.False(t, got.Parent.IsValid())
		require.Equal(t, subprotocol.Header{
			{Name: "x", Value: "1"},
			{Name: "traceparent", Value: "00-" + got.SpanContext.TraceID().String() + "-" + got.SpanContext.SpanID().String() +
				"-" + got.SpanContext.TraceFlags().String()},
		}, seen)
	})
}
