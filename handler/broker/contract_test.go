package broker_test

import (
	"testing"
	"time"

	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/broker/brokertest"
)

// features claims all that there is.
var features = brokertest.Features{
	Queues: true, Acks: true, TopicAcks: true, Nacks: true, Prefetch: true, Redelivered: true, DeliveryCount: true,
	Transactions: true, UserDestinations: true, Wildcards: true, DeadLetter: true, Retained: true, TTL: true,
	Selectors: true,
}

func factory(separator byte) brokertest.Factory {
	return func(s brokertest.Setup) (*brokertest.System, error) {
		b := broker.New(&broker.Options{
			Separator: separator, MaxDeliveries: s.MaxDeliveries, DeadLetter: s.DeadLetter,
			RedeliveryDelay: time.Millisecond, Selectors: true,
		})
		return &brokertest.System{Broker: b, Separator: separator, Stop: b.Close}, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, factory('/'), features)
}

func TestConformanceWithDots(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, factory('.'), features)
}

func BenchmarkConformance(b *testing.B) { brokertest.Benchmark(b, factory('/'), features) }
