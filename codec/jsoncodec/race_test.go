//go:build race

package jsoncodec_test

import "math"

// limit is none here: the race detector makes pools forget.
func limit(float64) float64 { return math.MaxFloat64 }
