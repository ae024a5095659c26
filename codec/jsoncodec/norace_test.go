//go:build !race

package jsoncodec_test

// limit is the most allocations that a test allows.
func limit(n float64) float64 { return n }
