package brokertest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/weftws/weft/subprotocol"
)

// Benchmark measures deliveries: fan-out publishes a message to a topic and waits until all
// its subscribers have it, queue publishes to a queue whose one consumer settles each
// delivery, with at most 64 messages that are not delivered yet. Time and allocations are those
// of the broker, of the endpoint and of the clients together, over a pipe with JSON
// envelopes: the figures compare brokers and say nothing about a network. Features are
// those of Run.
func Benchmark(b *testing.B, factory Factory, features Features) {
	features.Patience = defaultPatience
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("fan-out/%d", n), func(b *testing.B) {
			withKit(b, factory, features, func(k *kit) { benchmarkFanOut(b, k, n) })
		})
	}
	if features.Queues && features.Acks {
		b.Run("queue", func(b *testing.B) {
			withKit(b, factory, features, func(k *kit) { benchmarkQueue(b, k) })
		})
	}
}

// withKit calls f between the start and the end of a broker.
func withKit(b *testing.B, factory Factory, features Features, f func(k *kit)) {
	k := newKit(find(ruleFanOut), features)
	defer func() {
		for _, err := range k.broken() {
			b.Error(err)
		}
	}()
	if !k.start(factory) {
		return
	}
	defer k.finish()
	f(k)
}

var sample = &subprotocol.Message{ContentType: "application/json", Body: []byte(`{"symbol":"WEFT","price":12.5}`)}

func benchmarkFanOut(b *testing.B, k *kit, n int) {
	topic := k.topic("news")
	var left atomic.Int64
	all := make(chan struct{}, 1)
	for range n {
		c := k.dial("")
		c.hand = func(*subprotocol.Message) {
			if left.Add(-1) == 0 {
				all <- struct{}{}
			}
		}
		c.subscribe(topic)
	}
	b.ReportAllocs()
	for b.Loop() {
		left.Store(int64(n))
		if err := k.system.Broker.Publish(b.Context(), topic, sample); err != nil {
			b.Fatal(err)
		}
		<-all
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
}

func benchmarkQueue(b *testing.B, k *kit) {
	const flying = 64
	queue := k.queue("jobs")
	room := make(chan struct{}, flying)
	c := k.dial("")
	c.hand = func(m *subprotocol.Message) {
		c.write(&subprotocol.Message{Kind: subprotocol.KindAck, Subscription: m.Subscription, ID: m.ID})
		<-room
	}
	s := c.subscribe(queue, window(individualMode, 2*flying))
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		if err := k.system.Broker.Publish(b.Context(), queue, sample); err != nil {
			b.Fatal(err)
		}
	}
	for range flying {
		room <- struct{}{}
	}
	s.unsubscribe()
}
