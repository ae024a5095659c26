package prometheus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// endpoint counts what one endpoint does.
type endpoint struct {
	metrics         *Metrics
	name, transport string
	endpoint        *handler.Endpoint

	protocols atomic.Pointer[[]*protocol] // replaced, never changed
	mu        sync.Mutex                  // held to replace it

	sampling sampling
}

func newEndpoint(m *Metrics, name, transport string) *endpoint {
	e := &endpoint{metrics: m, name: name, transport: transport}
	e.protocols.Store(new([]*protocol))
	return e
}

// protocol returns what counts for the sessions of one sub-protocol. There are as many as
// the endpoint has names of sub-protocols.
func (e *endpoint) protocol(name string) *protocol {
	for _, p := range *e.protocols.Load() {
		if p.name == name {
			return p
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all := *e.protocols.Load()
	for _, p := range all {
		if p.name == name {
			return p
		}
	}
	p := newProtocol(name, len(e.metrics.bounds))
	for n := 2; slices.ContainsFunc(all, func(o *protocol) bool { return o.label == p.label }); n++ {
		p.label = label(name[:min(len(name), maxLabel-4)]) + suffix(n)
	}
	all = append(slices.Clip(all), p)
	e.protocols.Store(&all)
	return p
}

// errAborted is what a handler leaves behind that panicked.
var errAborted = errors.New("prometheus: the handler did not return")

// receive counts what comes in.
func (e *endpoint) receive(next handler.Handler) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		var in incoming
		in.begin(e, r)
		err := errAborted
		defer func() { in.end(err) }()
		err = next.Handle(ctx, r)
		return err
	})
}

// incoming is one message that is being handled.
type incoming struct {
	endpoint *endpoint
	protocol *protocol
	cell     *cell // nil for a class that is new here
	class    string
	bytes    int
	shard    int
	kind     subprotocol.Kind
	at       time.Duration
}

// begin looks at r before a handler changes it.
func (in *incoming) begin(e *endpoint, r handler.Request) {
	m := r.Message
	in.endpoint, in.protocol = e, e.protocol(r.Session.SubProtocol())
	in.shard, in.kind, in.bytes = shardOf(r.Session), m.Kind, len(m.Body)
	in.class = e.metrics.classes.class(m.Destination)
	in.cell = in.protocol.find(in.shard, in.class)
	in.at = e.metrics.now()
}

func (in *incoming) end(err error) {
	m := in.endpoint.metrics
	took := m.now() - in.at
	result := resultOf(err)
	c := in.cell
	if c == nil {
		// A client that is refused can't make classes.
		c = in.protocol.add(in.shard, m.classes, in.class, result != resultRefused)
	}
	c.received[place(received[:], in.kind)][result].Add(1)
	if in.bytes > 0 {
		c.receivedBytes.Add(uint64(in.bytes))
	}
	observe(&c.took, m.bounds, took)
}

func resultOf(err error) int {
	if err == nil {
		return resultOK
	}
	if _, ok := errors.AsType[*subprotocol.Error](err); ok {
		return resultRefused
	}
	return resultFailed
}

// send counts what goes out.
func (e *endpoint) send(next handler.Sender) handler.Sender {
	return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
		status, err := next.Send(o)
		e.sent(o, status)
		return status, err
	})
}

func (e *endpoint) sent(o handler.Outgoing, status handler.Status) {
	p, shard := e.protocol(o.Session.SubProtocol()), shardOf(o.Session)
	class := e.metrics.classes.class(o.Message.Destination)
	c := p.find(shard, class)
	taken := status == handler.Sent || status == handler.Queued
	if c == nil {
		c = p.add(shard, e.metrics.classes, class, taken)
	}
	c.sent[place(sent[:], o.Message.Kind)][place(statuses[:], status)].Add(1)
	if taken && len(o.Message.Body) > 0 {
		c.sentBytes.Add(uint64(len(o.Message.Body)))
	}
}

func (e *endpoint) hooks() handler.Hooks {
	return handler.Hooks{
		Open: func(s *handler.Session) { e.protocol(s.SubProtocol()).opened.Add(1) },
		Close: func(s *handler.Session, cause error) {
			e.protocol(s.SubProtocol()).close(ending{codeName(cause), causeName(cause)})
		},
		Drop: func(s *handler.Session, d handler.Drop) {
			p := e.protocol(s.SubProtocol())
			i := min(int(d.Reason), len(p.dropped)-1)
			p.dropped[i].messages.Add(uint64(d.Messages))
			p.dropped[i].bytes.Add(uint64(d.Bytes))
		},
	}
}
