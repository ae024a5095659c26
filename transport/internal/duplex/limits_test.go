package duplex

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a server takes from one client, and passes on with more around it, must not end
// another one.
func TestDialedTakeMore(t *testing.T) {
	t.Parallel()
	for set, want := range map[int][2]int{0: {64 << 10, 1 << 20}, 1000: {1000, 1000}, -1: {math.MaxInt, math.MaxInt}} {
		l := Limits{MaxMessageSize: set}.WithDefaults()
		require.Equal(t, want, [2]int{l.MaxMessage(false), l.MaxMessage(true)})
	}
}
