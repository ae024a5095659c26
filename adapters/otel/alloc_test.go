package otel_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAllocations: what each message allocates more with the adapter. Without anybody who records
// spans that is one context; the rest is mostly the SDK's, for which there is some room.
func TestAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	budget := map[string][2]float64{ // without and with trace context in the message
		"none": {0, 0}, "noop": {1, 6}, "metrics": {1, 6}, "unsampled": {5, 12}, "sampled": {16, 26},
	}
	for _, r := range rows {
		h, req := alone(t, r.telemetry(t))
		for i, traced := range []bool{false, true} {
			n := testing.AllocsPerRun(1000, func() { send(t, h, req, traced) })
			t.Logf("%s, traced %v: %.0f", r.name, traced, n)
			require.LessOrEqual(t, n, budget[r.name][i], "%s, traced %v", r.name, traced)
		}
	}
}
