// Package subprotocoltest has the rules of the sub-protocol contract as tests.
//
// # Use
//
// Whoever writes a sub-protocol runs the kit on it:
//
//	func TestContract(t *testing.T) {
//		subprotocoltest.Run(t, mine.New(nil), nil)
//	}
//
// [Check] is the core: it returns each broken rule as a [*RuleError]. [Run] makes a
// subtest of each rule and prints a broken one in words. [Benchmark] measures a
// sub-protocol that keeps the rules. Every rule is tested for each of the
// sub-protocol's names, in both directions.
//
// # Options
//
// A nil [*Options] uses messages that fit what the Framer's Features claim.
// A wire format that carries more or less than those gives its own Samples, and
// golden transcripts in Valid and Invalid.
//
// # Limits
//
// Each rule runs under a watchdog. A rule that does not end is reported as broken
// and its goroutine is left behind. What depends on a race is only sure to be found
// with the race detector.
package subprotocoltest
