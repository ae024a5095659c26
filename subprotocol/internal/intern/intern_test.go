package intern

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What came lately costs nothing, what is long or old is made anew.
func TestRecent(t *testing.T) {
	var r Recent
	to := "before"
	r.Set(&to, nil)
	require.Equal(t, "before", to)
	require.Nil(t, r.table)

	allocs := func(b []byte) float64 {
		r.Set(&to, b)
		require.Equal(t, string(b), to)
		return testing.AllocsPerRun(10, func() { r.Set(&to, b) })
	}
	require.Equal(t, 1, int(allocs([]byte(strings.Repeat("l", maxLength+1)))))
	require.Nil(t, r.table)
	require.Zero(t, allocs([]byte(strings.Repeat("s", maxLength))))
	for i := range maxStrings {
		require.Zero(t, allocs(fmt.Append(nil, i)))
	}
	require.NotContains(t, r.table.strings, strings.Repeat("s", maxLength))
	require.Contains(t, r.table.strings, "1")
}

func TestBatch(t *testing.T) {
	var s Batch
	var first, second string
	empty := "before"
	b := []byte("one")
	run := func() {
		s.Set(&first, b)
		s.Set(&empty, nil)
		s.Set(&second, []byte("second"))
		s.Make()
		s.Reset()
	}
	run()
	copy(b, "two")
	require.Equal(t, []string{"one", "before", "second"}, []string{first, empty, second})
	require.Equal(t, 1, int(testing.AllocsPerRun(10, run)))
	require.Equal(t, "two", first)

	// What was reset holds nothing and is not made.
	strings, bytes := s.Cap()
	require.Positive(t, strings)
	require.Positive(t, bytes)
	for _, p := range s.pending[:strings] {
		require.Nil(t, p.to)
	}
	second = "after"
	s.Set(&first, []byte("x"))
	s.Make()
	require.Equal(t, "x", first)
	require.Equal(t, "after", second)
}
