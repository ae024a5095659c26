package otel_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// watched is a Telemetry whose spans and metrics are kept in memory.
type watched struct {
	*otel.Telemetry
	spans    *tracetest.InMemoryExporter
	provider *sdktrace.TracerProvider
	reader   *sdkmetric.ManualReader
}

func watch(t testing.TB, o *otel.Options, opts ...sdktrace.TracerProviderOption) *watched {
	w := &watched{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	w.provider = sdktrace.NewTracerProvider(append(opts, sdktrace.WithSyncer(w.spans))...)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	t.Cleanup(func() {
		require.NoError(t, w.provider.Shutdown(context.Background()))
		require.NoError(t, meters.Shutdown(context.Background()))
	})
	var own otel.Options
	if o != nil {
		own = *o
	}
	own.MeterProvider = meters
	if own.TracerProvider == nil {
		own.TracerProvider = w.provider
	}
	w.Telemetry = otel.New(&own)
	return w
}

// all returns the spans of that name that have ended, the first first.
func (w *watched) all(name string) []tracetest.SpanStub {
	var found []tracetest.SpanStub
	for _, s := range w.spans.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// one returns the only span of that name.
func (w *watched) one(t testing.TB, name string) tracetest.SpanStub {
	t.Helper()
	found := w.all(name)
	require.Len(t, found, 1, "spans %q among %q", name, w.names())
	return found[0]
}

func (w *watched) names() []string {
	var names []string
	for _, s := range w.spans.GetSpans() {
		names = append(names, s.Name)
	}
	return names
}

// metrics returns what is measured, by name and attributes: "weft.message.io{weft.direction=in}". Of a
// histogram it is the count.
func (w *watched) metrics(t testing.TB) map[string]int64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, w.reader.Collect(context.Background(), &rm))
	got := make(map[string]int64)
	key := func(name string, set attribute.Set) string {
		var parts []string
		for _, a := range set.ToSlice() {
			parts = append(parts, string(a.Key)+"="+a.Value.String())
		}
		return name + "{" + strings.Join(parts, ",") + "}"
	}
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					got[key(m.Name, p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					got[key(m.Name, p.Attributes)] = int64(p.Count)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, m.Data)
			}
		}
	}
	return got
}

// attributes are those of a span, as text.
func attributes(s tracetest.SpanStub) map[string]string {
	got := make(map[string]string)
	for _, a := range s.Attributes {
		got[string(a.Key)] = a.Value.String()
	}
	return got
}

// requireChild: s is below parent, in its trace.
func requireChild(t testing.TB, parent, s tracetest.SpanStub) {
	t.Helper()
	require.Equal(t, parent.SpanContext.SpanID(), s.Parent.SpanID(), "%q is not below %q", s.Name, parent.Name)
	require.Equal(t, parent.SpanContext.TraceID(), s.SpanContext.TraceID(), "%q is in another trace than %q", s.Name, parent.Name)
}

// requireLinked: s begins a trace because of origin.
func requireLinked(t testing.TB, origin trace.SpanContext, s tracetest.SpanStub) {
	t.Helper()
	require.False(t, s.Parent.IsValid(), "%q has a parent", s.Name)
	require.NotEqual(t, origin.TraceID(), s.SpanContext.TraceID())
	require.Len(t, s.Links, 1)
	require.Equal(t, origin.SpanID(), s.Links[0].SpanContext.SpanID())
	require.Equal(t, origin.TraceID(), s.Links[0].SpanContext.TraceID())
}

// server is an endpoint and how to reach it.
type server struct {
	ep     *handler.Endpoint
	url    string
	dialer transport.Dialer
	sp     subprotocol.SubProtocol
	stop   func()
}

func protocols() map[string]subprotocol.SubProtocol {
	return map[string]subprotocol.SubProtocol{
		"stomp": stomp.New(nil), "json": envelope.NewJSON(nil), "msgpack": envelope.NewMsgpack(nil), "raw": raw.New(nil),
	}
}

func serve(t testing.TB, carrier, protocol string, h handler.Handler, opts ...handler.Option) *server {
	t.Helper()
	s := &server{sp: protocols()[protocol], stop: func() {}}
	require.NotNil(t, s.sp)
	opts = append(opts, handler.WithSubProtocols(s.sp), handler.WithCodecs(jsoncodec.New(nil)), handler.WithHeartbeat(0, 0),
		handler.WithShutdownSpread(0))
	switch carrier {
	case "pipe":
		p := pipe.New(nil)
		s.ep = handler.NewEndpoint(p, h, opts...)
		s.url, s.dialer = "pipe://localhost/chat", p
	case "gobwas":
		g := gobwas.New(nil)
		s.ep = handler.NewEndpoint(g, h, opts...)
		srv := httptest.NewServer(s.ep)
		s.url, s.dialer, s.stop = "ws"+strings.TrimPrefix(srv.URL, "http")+"/chat", g, srv.Close
	default:
		t.Fatalf("no carrier %q", carrier)
	}
	return s
}

// dial connects a client; its Connect is what prepare makes of it.
func (s *server) dial(t testing.TB, opts *client.Options) *client.Client {
	t.Helper()
	var own client.Options
	if opts != nil {
		own = *opts
	}
	own.Heartbeat = subprotocol.Heartbeat{Send: -1, Receive: -1}
	own.Reconnect.Disabled = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, s.url, s.dialer, s.sp, &own)
	require.NoError(t, err)
	return c
}

// end ends the clients and then the endpoint: all is handled then.
func (s *server) end(t testing.TB, clients ...*client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range clients {
		require.NoError(t, c.Close(ctx))
	}
	require.NoError(t, s.ep.Shutdown(ctx))
	s.stop()
}
