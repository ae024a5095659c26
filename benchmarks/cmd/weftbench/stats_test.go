package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedianAndSpread(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 3, Values{9, 1, 3}.median(), 0)
	require.InDelta(t, 2.5, Values{4, 1, 2, 3}.median(), 0)
	require.InDelta(t, 0.5, Values{10, 15, 5}.spread(), 1e-9)
	require.True(t, math.IsNaN(Values{}.median()))
	v := Values{3, 1, 2}
	v.median()
	require.Equal(t, Values{3, 1, 2}, v, "rounds are pairs: their order must stay")
}

func TestRatio(t *testing.T) {
	t.Parallel()
	base := Values{10, 10, 10, 10, 10}
	for _, c := range []struct {
		name    string
		row     Values
		base    Values
		ratio   float64
		decided bool
	}{
		{"over 1.3", Values{9, 14, 14, 14, 9}, base, 1.4, true},
		{"under 1/1.3", Values{7, 7, 7, 11, 11}, base, 0.7, true},
		{"near, and one round disagrees", Values{11, 11, 9, 11, 11}, base, 1.1, false},
		{"near, and all rounds agree", Values{11, 11, 11, 11, 11}, base, 1.1, true},
		{"near, less, and all rounds agree", Values{9, 9, 9, 9, 9}, base, 0.9, true},
		{"one round is equal", Values{11, 11, 10, 11, 11}, base, 1.1, false},
		{"rounds are compared in pairs", Values{11, 22, 33, 44, 55}, Values{10, 20, 30, 40, 50}, 1.1, true},
		{"four rounds agree by accident", Values{11, 11, 11, 11}, base[:4], 1.1, false},
	} {
		r, decided := ratio(c.row, c.base)
		require.InDelta(t, c.ratio, r, 1e-9, c.name)
		require.Equal(t, c.decided, decided, c.name)
	}
	r, decided := ratio(Values{math.NaN()}, base)
	require.True(t, math.IsNaN(r))
	require.False(t, decided)
}

func TestApart(t *testing.T) {
	t.Parallel()
	old := Values{10, 11, 12, 11, 10}
	_, decided := apart(Values{13, 14, 13, 13, 14}, old)
	require.True(t, decided, "no round of one is among the other's")
	_, decided = apart(Values{12, 13, 13, 13, 13}, old)
	require.False(t, decided, "12 is in both, although each pair of rounds agrees")
	_, decided = apart(Values{8, 20, 20, 20, 8}, old)
	require.True(t, decided, "1.3x")
}

func TestValuesInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Values{1.5, math.NaN()})
	require.NoError(t, err)
	require.JSONEq(t, `[1.5,null]`, string(b))
	var v Values
	require.NoError(t, json.Unmarshal(b, &v))
	require.InDelta(t, 1.5, v[0], 0)
	require.True(t, math.IsNaN(v[1]))
}

// A server that is away for 100 ms keeps the sender from sending. As sent, one
// message of a hundred or so was slow; by the schedule, a hundred were late.
func TestCoordinatedOmission(t *testing.T) {
	t.Parallel()
	const rate, n = 1000, 1000
	l := newLatencies()
	clock := time.Duration(0)
	for i := range n {
		due := schedule(i, rate)
		require.Equal(t, time.Duration(i)*time.Millisecond, due)
		sent := max(due, clock)
		clock = sent + 10*time.Microsecond
		if i == 500 {
			clock += 100 * time.Millisecond
		}
		l.record(due, sent, clock)
	}
	require.InDelta(t, 10, micros(l.asSent, 99), 1, "one slow message in a thousand is not in the 99th percentile")
	require.InDelta(t, 90_000, micros(l.corrected, 99), 2_000)
	require.InDelta(t, 10, micros(l.corrected, 50), 1)
	require.InDelta(t, 100_000, float64(l.corrected.Max())/1e3, 1_000)
}

func TestBlockedRowIsNotAFailure(t *testing.T) {
	err := fanout{stalled: 1}.failed(fmt.Errorf("reading: %w", os.ErrDeadlineExceeded))
	found, ok := errors.AsType[blocked](err)
	require.True(t, ok, "%v", err)
	require.ErrorContains(t, found, "for one that does not read")

	row := &RowResult{Row: "waits", Rounds: []Values{nil}, Error: found.Error(), Blocked: true}
	r := &Result{Cases: []*Case{{Scenario: "fanout", Columns: []string{"x"}, Rows: []*RowResult{row}}}}
	require.NoError(t, r.failure(), "it is what the run found out")
	require.Equal(t, "blocked", r.Cases[0].table("")[1][1])
	row.Blocked = false
	require.ErrorContains(t, r.failure(), "waits")
	require.Equal(t, "failed", r.Cases[0].table("")[1][1])

	require.NotErrorAs(t, fanout{}.failed(os.ErrDeadlineExceeded), new(blocked), "without stalled readers it is trouble")
}
