// Package transporttest has the rules of the transport contract as tests.
//
// An implementation of transport.Transport runs them all with one call:
//
//	func TestConformance(t *testing.T) {
//		transporttest.Run(t, func(s transporttest.Setup) (*transporttest.Server, error) {
//			p := pipe.New(&pipe.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout})
//			p.Bind(s.Acceptor)
//			return &transporttest.Server{Dialer: p, URL: "pipe://host/"}, nil
//		}, transporttest.Features{Text: true, Binary: true, Boundaries: true})
//	}
//
// The kit plays both roles through the contract alone: the server's acceptor and
// receivers, and the client through the implementation's own dialer. Each rule is
// checked in both directions, on a server of its own.
//
// # Time
//
// What must happen is waited for with [Features].Patience, which a sound
// implementation never uses up. What must not happen is looked for after round
// trips over a second connection of the same server, and again at the end of the
// rule, when no goroutine that could still do it is left. Only the rules
// close-unanswered and ping-ends wait for a time to pass: the CloseTimeout that
// they set.
//
// # Goroutines
//
// Goroutines are told apart by profiler labels, so that tests may run beside the
// kit. A goroutine that a timer starts carries no label, and the kit can't see that
// it stays.
package transporttest
