// Package brokertest has the rules of a message broker as tests.
//
// Whatever is a handler.Handler, a handler.Publisher and a handler.UserPublisher, and
// keeps what clients subscribe to, runs them with one call:
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, func(s brokertest.Setup) (*brokertest.System, error) {
//			b := broker.New(&broker.Options{DeadLetter: s.DeadLetter, MaxDeliveries: s.MaxDeliveries})
//			return &brokertest.System{Broker: b, Stop: b.Close}, nil
//		}, brokertest.Features{Queues: true, Acks: true, Nacks: true})
//	}
//
// The kit makes an endpoint of the broker, with JSON envelopes over a pipe, and
// plays the clients. Each rule has a broker of its own, and destinations that were
// never used before, so that a server that outlives the tests may be behind it.
//
// # What is assumed
//
// A SUBSCRIBE asks for a window of unsettled deliveries in its header prefetch-count, and
// for a selection in selector. A SEND says in ttl or expires (milliseconds from now, or
// since 1970) how long it counts, and in retain, with true, that it is to be kept as the
// last value. A second delivery has redelivered with true, and its number in
// delivery-count. What of this a broker lacks it does not claim in [Features].
//
// # Time
//
// What must happen is waited for with [Features].Patience, which a sound broker never
// uses up; its redelivery delay should be short. What must not happen is looked for
// after round trips on the same session: a message that was there would have come
// before. Only the rule ttl waits for a time to pass, 20 milliseconds.
//
// # Goroutines
//
// Goroutines are told apart by profiler labels, so that tests may run beside the kit. A
// goroutine that a timer starts carries no label, and the kit can't see that it stays.
package brokertest
