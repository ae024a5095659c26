// Package codectest has the rules of the codec contract as tests.
//
// # Use
//
// Whoever writes a codec runs the kit on it:
//
//	func TestContract(t *testing.T) {
//		codectest.Run(t, mycodec.New(nil), nil)
//	}
//
// [Check] is the core: it returns each broken rule as a [*RuleError]. [Run] makes a
// subtest of each rule and prints a broken one in words. [Benchmark] measures a
// codec that keeps the rules.
//
// # Options
//
// A nil [*Options] uses values that every codec of Go data can carry. A codec of
// something narrower (only protocol buffers, only text) gives its own Values, and a
// format that the kit does not know gives Nested and Huge if there is such a thing
// in it.
//
// # Limits
//
// Each rule runs under a watchdog. A rule that does not end is reported as broken
// and its goroutine is left behind.
package codectest
