package prometheus

import (
	"sync"
	"time"

	"github.com/weftws/weft/transport"
)

// The upper bounds of what sampling observes.
var (
	queueBounds     = []int64{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
	roundTripBounds = []time.Duration{
		100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
		10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
		200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
	}
)

// sampleEvery is how old a sample may be that a scrape gets, so that many scrapes at once look
// at the sessions once.
const sampleEvery = time.Second

// sampling looks at the sessions of an endpoint.
type sampling struct {
	mu   sync.Mutex
	at   time.Time
	last sample
}

// sample is what was found. It is never changed.
type sample struct {
	sessions  int
	protocols map[*protocol]*sampled
}

type sampled struct {
	messages      float64
	subscriptions map[string]float64 // by class
}

// sample returns what there is now, or was a moment ago.
func (e *endpoint) sample() sample {
	s := &e.sampling
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= sampleEvery {
		s.at, s.last = now, e.look()
	}
	return s.last
}

// look observes queues and round trips of at most as many sessions as it may, and estimates
// sums if that are not all.
func (e *endpoint) look() sample {
	found := sample{protocols: make(map[*protocol]*sampled)}
	sessions := e.endpoint.Sessions()
	total := sessions.Len()
	for s := range sessions.All() {
		if found.sessions == e.metrics.maxSampled {
			break
		}
		found.sessions++
		p := e.protocol(s.SubProtocol())
		of := found.protocols[p]
		if of == nil {
			of = &sampled{subscriptions: make(map[string]float64)}
			found.protocols[p] = of
		}
		n := s.Queued().Messages
		of.messages += float64(n)
		observe(&p.queued, queueBounds, int64(n))
		for _, sub := range s.Subscriptions() {
			class, ok := e.metrics.classes.lookup(e.metrics.classes.class(sub.Destination))
			if !ok {
				class = classOther
			}
			of.subscriptions[class]++
		}
		if t, ok := transport.As[transport.RoundTripTimer](s.Conn()); ok {
			if d := t.RoundTrip(); d > 0 {
				observe(&p.roundTrip, roundTripBounds, d)
			}
		}
	}
	if found.sessions == 0 || total <= found.sessions {
		return found
	}
	factor := float64(total) / float64(found.sessions)
	for _, of := range found.protocols {
		of.messages *= factor
		for class := range of.subscriptions {
			of.subscriptions[class] *= factor
		}
	}
	return found
}
