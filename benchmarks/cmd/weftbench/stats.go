package main

import (
	"encoding/json"
	"math"
	"slices"
)

// Values are one figure of a row, one for each round. NaN is a figure that the
// row does not have; in JSON it is null.
type Values []float64

// MarshalJSON writes NaN as null.
func (v Values) MarshalJSON() ([]byte, error) {
	p := make([]*float64, len(v))
	for i, x := range v {
		if !math.IsNaN(x) {
			p[i] = &v[i]
		}
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads null as NaN.
func (v *Values) UnmarshalJSON(b []byte) error {
	var p []*float64
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*v = make(Values, len(p))
	for i, x := range p {
		if (*v)[i] = math.NaN(); x != nil {
			(*v)[i] = *x
		}
	}
	return nil
}

// median is NaN of nothing.
func (v Values) median() float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// spread is half the distance from the smallest to the largest round, as a part of
// the median.
func (v Values) spread() float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return (slices.Max(v) - slices.Min(v)) / 2 / math.Abs(v.median())
}

// A ratio under decisive may be the machine's noise.
const (
	decisive      = 1.3
	decidingRound = 5 // from this many rounds on, all of them agreeing is no accident
)

// ratio is how many times the base a row is, and whether that is more than noise:
// at least 1.3 in either direction, or the same direction in every round. Round i of
// both must have run next to each other.
func ratio(row, base Values) (r float64, decided bool) {
	r = row.median() / base.median()
	if math.IsNaN(r) {
		return r, false
	}
	if r >= decisive || r <= 1/decisive {
		return r, true
	}
	n := min(len(row), len(base))
	if n < decidingRound {
		return r, false
	}
	more, less := 0, 0
	for i := range n {
		switch {
		case row[i] > base[i]:
			more++
		case row[i] < base[i]:
			less++
		}
	}
	return r, more == n || less == n
}

// apart is ratio for two runs, whose rounds are no pairs: under 1.3 it is decided if
// no round of one lies among those of the other.
func apart(row, base Values) (r float64, decided bool) {
	r = row.median() / base.median()
	if math.IsNaN(r) {
		return r, false
	}
	if r >= decisive || r <= 1/decisive {
		return r, true
	}
	if min(len(row), len(base)) < decidingRound {
		return r, false
	}
	return r, slices.Min(row) > slices.Max(base) || slices.Max(row) < slices.Min(base)
}
