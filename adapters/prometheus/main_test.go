package prometheus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

// server is an endpoint over a pipe, with a broker, that is watched.
type server struct {
	t        *testing.T
	metrics  *Metrics
	registry *prom.Registry
	pipe     *pipe.Transport
	endpoint *handler.Endpoint
}

func serve(t *testing.T, o *Options, opts ...handler.Option) *server {
	s := &server{t: t, metrics: New(o), registry: prom.NewPedanticRegistry(), pipe: pipe.New(nil)}
	s.registry.MustRegister(s.metrics)
	b := broker.New(nil)
	s.metrics.Broker("main", b)
	mux := handler.NewMux()
	mux.Route("SEND /topic/", b)
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /queue/", b)
	mux.Route("SUBSCRIBE /queue/", b)
	mux.Route("SEND /app/slow", handler.HandlerFunc(func(context.Context, handler.Request) error {
		time.Sleep(2 * time.Second)
		return nil
	}))
	mux.Route("SEND /app/fail", handler.HandlerFunc(func(context.Context, handler.Request) error { return errors.New("no") }))
	mux.Route("SEND /app/panic", handler.HandlerFunc(func(context.Context, handler.Request) error { panic("no") }))
	all := []handler.Option{
		handler.WithSubProtocols(envelope.NewJSON(nil), stomp.New(nil)), handler.WithShutdownSpread(0),
	}
	s.endpoint = s.metrics.Endpoint("chat", s.pipe, mux, append(all, opts...)...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, s.endpoint.Shutdown(ctx))
		b.Close()
	})
	return s
}

func (s *server) dial(sp subprotocol.SubProtocol) *client.Client {
	c, err := client.Dial(s.t.Context(), "pipe://localhost/", s.pipe, sp, &client.Options{
		Reconnect: client.Reconnect{Disabled: true}, Heartbeat: subprotocol.Heartbeat{Send: -1, Receive: -1},
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// open connects without a client, and returns the connection.
func (s *server) open(name string) *pipe.Conn {
	conn, err := s.pipe.Dial(s.t.Context(), "pipe://localhost/", &transport.DialConfig{SubProtocols: []string{name}},
		func(transport.Conn) transport.Receiver { return deaf{} })
	require.NoError(s.t, err)
	c, ok := transport.As[*pipe.Conn](conn)
	require.True(s.t, ok)
	return c
}

func say(t *testing.T, c transport.Conn, frames ...string) {
	for _, f := range frames {
		n, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(strings.ReplaceAll(f, "'", `"`))}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}

type deaf struct{}

func (deaf) Receive(transport.Message) {}
func (deaf) Writable()                 {}
func (deaf) Closed(error)              {}

func send(t *testing.T, c *client.Client, destination, body string) {
	require.NoError(t, c.Send(t.Context(), &subprotocol.Message{Destination: destination, Body: []byte(body)}))
}

// scraped is what a scrape finds: a value for each name{labels}, with _count and _sum of
// histograms.
func (s *server) scrape() map[string]float64 { return scrape(s.t, s.registry) }

func scrape(t testing.TB, g prom.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := labelsOf(m)
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[f.GetName()+labels] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[f.GetName()+labels] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				all[f.GetName()+"_count"+labels] = float64(m.GetHistogram().GetSampleCount())
				all[f.GetName()+"_sum"+labels] = m.GetHistogram().GetSampleSum()
			default:
				t.Fatalf("%s has type %v", f.GetName(), f.GetType())
			}
		}
	}
	return all
}

// labelsOf leaves out endpoint and transport, which are always the same here.
func labelsOf(m *dto.Metric) string {
	var parts []string
	for _, l := range m.GetLabel() {
		if l.GetName() != "endpoint" && l.GetName() != "transport" {
			parts = append(parts, fmt.Sprintf("%s=%s", l.GetName(), l.GetValue()))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

// requireValues compares those that want names.
func requireValues(t *testing.T, want, got map[string]float64) {
	t.Helper()
	for name, v := range want {
		n, ok := got[name]
		if !ok {
			var near []string
			family, _, _ := strings.Cut(name, "{")
			for k := range got {
				if strings.HasPrefix(k, family) {
					near = append(near, k)
				}
			}
			t.Errorf("there is no %s; there are %v", name, near)
			continue
		}
		require.InDelta(t, v, n, 1e-9, name)
	}
}
