// Package benchmarks measures whole stacks.
//
// BenchmarkStack and BenchmarkFanout range over the table of handlertest, with both
// ends in this process: they compare stacks with each other, and pipe is the
// bound that no transport gets under. BenchmarkCost* measure server
// processes alone and compare them with code written by hand. The tests hold
// budgets of allocations. The README says how to read the numbers.
package benchmarks
