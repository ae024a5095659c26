package otel

import (
	"context"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// Outbound makes a span of every delivery to a client whose message has the trace context of
// a publication that is sampled: it says what became of it at this session. The message goes on
// as it is, encoded once for all. See MaxDeliveries.
//
// Replies and receipts have none: the client knows what it has asked for.
func (t *Telemetry) Outbound(next handler.Sender) handler.Sender {
	if t.opts.MaxDeliveries < 0 {
		return next
	}
	return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
		m := o.Message
		if m.Kind != subprotocol.KindDeliver {
			return next.Send(o)
		}
		mark := t.mark(m.Header)
		if mark == "" || t.w3c && !sampledText(mark) {
			return next.Send(o)
		}
		ctx := o.Session.Context()
		if !t.allowance.take(mark, t.opts.MaxDeliveries) {
			t.problem(ctx, problemDelivery)
			return next.Send(o)
		}
		ctx, sc := t.read(ctx, (*Carrier)(&m.Header))
		if !sc.IsSampled() {
			return next.Send(o)
		}
		f := t.form(opDeliver, 0, m.Destination)
		ctx, span := t.tracer.Start(ctx, f.name, f.start...)
		status, err := handler.Dropped, errAborted
		defer func() {
			if span.IsRecording() {
				t.describe(ctx, span, o.Session, m)
				span.SetAttributes(keyStatus.String(status.String()))
				if n, err := strconv.Atoi(m.Header.Get(deliveryCount)); err == nil {
					span.SetAttributes(keyDelivery.Int(n))
				}
				if failure := t.failure(err, o.Session); failure != "" {
					t.fail(span, err, failure)
				}
			}
			span.End()
		}()
		status, err = next.Send(o)
		return status, err
	})
}

// deliveryCount is the header by which package broker numbers deliveries from the second on.
const deliveryCount = "delivery-count"

// mark is a header of trace context that deliveries of one publication have in common, ""
// if there is none.
func (t *Telemetry) mark(h subprotocol.Header) string {
	for i := range h {
		if slices.Contains(t.parents, h[i].Name) {
			return h[i].Value
		}
	}
	return ""
}

// sampledText reports whether a traceparent says that it is sampled, without reading all of it.
func sampledText(v string) bool {
	const flags = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0")
	return len(v) > flags && strings.IndexByte("13579bdf", v[flags]) >= 0
}

// allowance counts the deliveries of the latest publications. It forgets one when another
// takes its place, so that now and then a publication has more spans than it may.
type allowance struct{ slots [64]slot }

type slot struct {
	mu   sync.Mutex
	mark string
	n    int
}

var seed = maphash.MakeSeed()

// take reports whether what is marked so may have one more of at most limit.
func (a *allowance) take(mark string, limit int) bool {
	s := &a.slots[maphash.String(seed, mark)%uint64(len(a.slots))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark != mark {
		s.mark, s.n = bounded(mark), 0
	}
	if s.n >= limit {
		return false
	}
	s.n++
	return true
}

// Publisher makes a span of every publication through p, below that of the context it is
// published with, and has the message carry its trace context: whoever receives the message
// can go on from there. It measures how long p takes.
func (t *Telemetry) Publisher(p handler.Publisher) handler.Publisher { return publisher{t, p} }

// UserPublisher is Publisher for one user's sessions.
func (t *Telemetry) UserPublisher(p handler.UserPublisher) handler.UserPublisher {
	return userPublisher{t, p}
}

type publisher struct {
	t *Telemetry
	p handler.Publisher
}

func (p publisher) Publish(ctx context.Context, destination string, m *subprotocol.Message) error {
	return p.t.publish(ctx, destination, m, func(ctx context.Context, m *subprotocol.Message) error {
		return p.p.Publish(ctx, destination, m)
	})
}

type userPublisher struct {
	t *Telemetry
	p handler.UserPublisher
}

func (p userPublisher) PublishToUser(ctx context.Context, user, destination string, m *subprotocol.Message) error {
	return p.t.publish(ctx, destination, m, func(ctx context.Context, m *subprotocol.Message) error {
		return p.p.PublishToUser(ctx, user, destination, m)
	})
}

// publish calls send with a copy of m that carries the trace.
func (t *Telemetry) publish(
	ctx context.Context, destination string, m *subprotocol.Message, send func(context.Context, *subprotocol.Message) error,
) error {
	begin := time.Now()
	f := t.form(opPublish, 0, destination)
	ctx, span := t.tracer.Start(ctx, f.name, f.start...)
	c := *m
	if span.SpanContext().IsValid() || slices.ContainsFunc(m.Header, t.carries) {
		c.Header = make(subprotocol.Header, len(m.Header), len(m.Header)+len(t.fields))
		copy(c.Header, m.Header)
		t.Inject(ctx, &c)
	}
	if span.IsRecording() {
		c.Destination = destination
		t.describe(ctx, span, nil, &c)
		c.Destination = m.Destination
	}
	err := errAborted
	defer func() { t.end(ctx, t.sending, f, span, nil, begin, err) }()
	err = send(ctx, &c)
	return err
}
