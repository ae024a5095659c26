package prometheus

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/transport"
)

// Options say how Metrics sees destinations and what it may cost. The zero value is the
// default.
type Options struct {
	// Class says to which class a destination belongs, for the label of that name.
	// The default is FirstSegment; see also ByPrefix. It is called for every message that
	// has a destination, from any goroutine, and should not allocate. What it returns
	// may be a part of the destination. A class that is "", longer than 64 bytes or not
	// UTF-8 is "other", and so is that of a call that panics.
	Class func(destination string) string

	// MaxClasses bounds how many classes there are; the messages of more are "other", and
	// counted in weft_unclassified_messages_total. The default is 32. For each
	// sub-protocol of each endpoint one has up to 72 series, a third of that usually, and
	// takes up to 5 KB.
	MaxClasses int

	// Buckets are the upper bounds of the histogram of handler time in seconds, ascending.
	// The default is 14 from 10 µs to 30 s. Each is a series for each class.
	Buckets []float64

	// MaxSampled bounds how many sessions of an endpoint a scrape looks at: for queues,
	// subscriptions and round trips. Of an endpoint that has more it looks at some
	// of them, others each time, and sums are estimates. The default is 16384, which takes
	// some 10 ms.
	MaxSampled int
}

const (
	defaultMaxClasses = 32
	defaultMaxSampled = 16384
	maxBuckets        = 64
)

var defaultBuckets = []float64{
	.00001, .00003, .0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 30,
}

// Metrics counts what its endpoints and brokers do, and is a prometheus.Collector of
// that. It is safe for concurrent use.
type Metrics struct {
	maxSampled int
	bounds     []time.Duration // of handler time
	classes    *classes
	began      time.Time

	mu        sync.Mutex
	endpoints []*endpoint
	brokers   []namedBroker
}

type namedBroker struct {
	name   string
	broker *broker.Broker
}

var _ prom.Collector = (*Metrics)(nil)

// New makes a Metrics without endpoints. nil means the zero Options; later changes to o
// have no effect. Whoever makes it registers it. It panics if a limit is negative, or
// if the buckets are not ascending or more than 64.
func New(o *Options) *Metrics {
	if o == nil {
		o = new(Options)
	}
	m := &Metrics{
		maxSampled: orDefault("MaxSampled", o.MaxSampled, defaultMaxSampled),
		classes:    newClasses(o.Class, orDefault("MaxClasses", o.MaxClasses, defaultMaxClasses)),
		began:      time.Now(),
	}
	buckets := o.Buckets
	if buckets == nil {
		buckets = defaultBuckets
	}
	if len(buckets) > maxBuckets {
		panic(fmt.Sprintf("prometheus: Options.Buckets: %d are more than %d", len(buckets), maxBuckets))
	}
	for _, b := range buckets {
		d := time.Duration(b * float64(time.Second))
		if d <= 0 || len(m.bounds) > 0 && d <= m.bounds[len(m.bounds)-1] {
			panic("prometheus: Options.Buckets must be positive and ascending, and a nanosecond apart")
		}
		m.bounds = append(m.bounds, d)
	}
	return m
}

// now is a time to measure with. It asks one clock instead of time.Now's two.
func (m *Metrics) now() time.Duration { return time.Since(m.began) }

func orDefault(name string, n, otherwise int) int {
	if n < 0 {
		panic("prometheus: Options." + name + " is negative")
	}
	if n == 0 {
		return otherwise
	}
	return n
}

// Endpoint makes an endpoint as handler.NewEndpoint does, and counts what it does with the
// label endpoint="name". Its middleware is outermost and its Sender innermost,
// so that it sees all that comes in and what is really sent.
//
// It panics if name is empty, over 64 bytes or not UTF-8, and if m has an
// endpoint of that name on a transport of the same name. m holds on to the endpoint: a
// program that replaces its endpoints while it runs replaces m with them.
func (m *Metrics) Endpoint(name string, t transport.Transport, h handler.Handler, opts ...handler.Option) *handler.Endpoint {
	checkName("Endpoint", name)
	if t == nil {
		panic("prometheus: Endpoint without a transport")
	}
	e := newEndpoint(m, name, label(t.Name()))
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.endpoints {
		if o.name == e.name && o.transport == e.transport {
			panic(fmt.Sprintf("prometheus: there are two endpoints %q on transport %q", name, e.transport))
		}
	}
	all := slices.Concat(
		[]handler.Option{handler.WithHooks(e.hooks()), handler.WithMiddleware(e.receive)},
		opts, []handler.Option{handler.WithOutbound(e.send)},
	)
	e.endpoint = handler.NewEndpoint(t, h, all...)
	m.endpoints = append(m.endpoints, e)
	return e.endpoint
}

// Broker has the counters of b collected with the label broker="name". A scrape takes
// time as Broker.Stats does. It panics if b is nil, and as Endpoint does about name.
func (m *Metrics) Broker(name string, b *broker.Broker) {
	checkName("Broker", name)
	if b == nil {
		panic("prometheus: Broker without a broker")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.brokers, func(o namedBroker) bool { return o.name == name }) {
		panic(fmt.Sprintf("prometheus: there are two brokers %q", name))
	}
	m.brokers = append(m.brokers, namedBroker{name, b})
}

// maxLabel bounds the value of a label in bytes.
const maxLabel = 64

func checkName(function, name string) {
	if name == "" || !isLabel(name) {
		panic(fmt.Sprintf("prometheus: %s: the name %.80q is empty, over %d bytes or not UTF-8", function, name, maxLabel))
	}
}

func isLabel(s string) bool { return len(s) <= maxLabel && utf8.ValidString(s) }

// label is s, or what a label can say of it.
func label(s string) string {
	if isLabel(s) {
		return s
	}
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	// A mark for each run of bad bytes, and of a rune that was cut, is no longer than those.
	return strings.ToValidUTF8(s, "?")
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prom.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It waits for no client, and keeps no lock that
// a message needs.
func (m *Metrics) Collect(ch chan<- prom.Metric) {
	m.mu.Lock()
	endpoints, brokers := slices.Clone(m.endpoints), slices.Clone(m.brokers)
	m.mu.Unlock()
	m.classes.collect(ch)
	for _, e := range endpoints {
		e.collect(ch)
	}
	for _, b := range brokers {
		collectBroker(ch, b.name, b.broker.Stats())
	}
}
