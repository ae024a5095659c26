package otel

import (
	"context"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// deaf is a client that hears nothing.
type deaf struct{}

func (deaf) Receive(transport.Message) {}
func (deaf) Writable()                 {}
func (deaf) Closed(error)              {}

// TestAllCountersShow: each number of handler.Stats is one point of one instrument.
func TestAllCountersShow(t *testing.T) {
	t.Parallel()
	var fill func(v reflect.Value, path string, visit func(path string, field reflect.Value))
	fill = func(v reflect.Value, path string, visit func(string, reflect.Value)) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+v.Type().Field(i).Name
			if f.Kind() == reflect.Struct {
				fill(f, name+".", visit)
				continue
			}
			visit(name, f)
		}
	}
	var st handler.Stats
	fill(reflect.ValueOf(&st).Elem(), "", func(name string, f reflect.Value) {
		if f.CanInt() {
			f.SetInt(42)
		} else {
			f.SetUint(42)
		}
		shown := 0
		for _, o := range endpointInstruments {
			for _, p := range o.points {
				if p.value(&st) == 42 {
					shown++
				}
			}
		}
		require.Equal(t, 1, shown, "Stats.%s", name)
		f.SetZero()
	})
	points := make(map[any]bool)
	for _, o := range endpointInstruments {
		for _, p := range o.points {
			key := [2]string{o.name, p.attribute.Value.String()}
			require.False(t, points[key], "%v stands twice", key)
			points[key] = true
			require.NotEmpty(t, o.description)
		}
	}
}

// TestSessionKeys: whatever middleware.SessionAttrs says of a session has a name in spans.
func TestSessionKeys(t *testing.T) {
	t.Parallel()
	p := pipe.New(nil)
	var s *handler.Session
	handler.NewEndpoint(p, handler.HandlerFunc(func(_ context.Context, r handler.Request) error { s = r.Session; return nil }),
		handler.WithSubProtocols(raw.New(nil)))
	conn, err := p.Dial(t.Context(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return deaf{} })
	require.NoError(t, err)
	defer conn.Close(1000, "")
	attrs := middleware.SessionAttrs(s)
	require.Len(t, sessionKeys, len(attrs))
	for _, a := range attrs {
		require.Contains(t, sessionKeys, a.Key)
	}
	s.SetUser("ann")
	got := make(map[string]string)
	for _, a := range SessionAttributes(s) {
		got[string(a.Key)] = a.Value.AsString()
	}
	require.Equal(t, map[string]string{"session.id": s.ID(), "user.id": "ann", "weft.transport": "pipe"}, got)
	for _, a := range appendSession(nil, s, true) {
		require.NotEqual(t, "user.id", string(a.Key))
	}
}

// TestObserve: what is measured is what Stats says, until it is unregistered.
func TestObserve(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer func() { require.NoError(t, meters.Shutdown(context.Background())) }()
	tel := New(&Options{MeterProvider: meters})
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
		handler.WithSubProtocols(raw.New(nil)))
	other := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
		handler.WithSubProtocols(raw.New(nil)))
	reg, err := tel.Observe("chat", ep)
	require.NoError(t, err)
	otherReg, err := tel.Observe("other", other)
	require.NoError(t, err)
	conn, err := p.Dial(t.Context(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return deaf{} })
	require.NoError(t, err)

	got, units := collect(t, reader)
	require.EqualValues(t, 1, got["weft.session.active chat "])
	require.EqualValues(t, 1, got["weft.handshake.accepted chat "])
	require.EqualValues(t, 0, got["weft.handshake.refused chat origin"])
	require.Contains(t, got, "weft.message.dropped chat closed")
	require.Contains(t, got, "weft.message.io chat out")
	require.EqualValues(t, 0, got["weft.session.active other "])
	points := 0
	for _, o := range endpointInstruments {
		points += len(o.points)
	}
	require.Len(t, got, 2*points)
	require.Equal(t, "By", units["weft.message.io"])
	require.NoError(t, reg.Unregister())
	got, _ = collect(t, reader)
	require.Len(t, got, points)
	require.NoError(t, otherReg.Unregister())

	_ = conn.Close(1000, "")
	require.NoError(t, ep.Shutdown(t.Context()))
}

// collect returns the points by name, endpoint, and reason or direction.
func collect(t *testing.T, r *sdkmetric.ManualReader) (points map[string]int64, units map[string]string) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, r.Collect(context.Background(), &rm))
	points, units = make(map[string]int64), make(map[string]string)
	for _, s := range rm.ScopeMetrics {
		for _, m := range s.Metrics {
			d, ok := m.Data.(metricdata.Sum[int64])
			require.True(t, ok, m.Name)
			units[m.Name] = m.Unit
			for _, p := range d.DataPoints {
				by, _ := p.Attributes.Value(keyTransport)
				require.Equal(t, "pipe", by.AsString())
				of, _ := p.Attributes.Value(keyEndpoint)
				why, _ := p.Attributes.Value(keyReason)
				way, _ := p.Attributes.Value(keyDirection)
				points[m.Name+" "+of.AsString()+" "+why.AsString()+way.AsString()] = p.Value
			}
		}
	}
	return points, units
}
