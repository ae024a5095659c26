package dashboard

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// store keeps what scrapes have found.
type store struct {
	at     time.Time // of the latest scrape
	series map[uint64]*promql.Series
	types  map[string]string // of each family
}

func newStore() *store {
	return &store{series: make(map[uint64]*promql.Series), types: make(map[string]string)}
}

// add parses the answer to a scrape.
func (s *store) add(t *testing.T, at time.Time, contentType string, text []byte) {
	t.Helper()
	s.at = at
	p, err := textparse.New(text, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		switch entry {
		case textparse.EntryType:
			name, typ := p.Type()
			s.types[string(name)] = string(typ)
		case textparse.EntrySeries:
			_, _, value := p.Series()
			var l labels.Labels
			p.Labels(&l)
			one := s.series[l.Hash()]
			if one == nil {
				one = &promql.Series{Metric: l}
				s.series[l.Hash()] = one
			}
			require.True(t, labels.Equal(l, one.Metric))
			one.Floats = append(one.Floats, promql.FPoint{T: at.UnixMilli(), F: value})
		default:
		}
	}
}

// having returns the series that match.
func (s *store) having(matchers ...*labels.Matcher) []*promql.Series {
	var found []*promql.Series
next:
	for _, one := range s.series {
		for _, m := range matchers {
			if !m.Matches(one.Metric.Get(m.Name)) {
				continue next
			}
		}
		found = append(found, one)
	}
	return found
}

// named matches the name of a metric.
func named(name string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, "__name__", name)
}

// now returns the latest value of all series of a name and labels together, 0 if there is none.
func (s *store) now(name string, pairs ...string) float64 {
	matchers := []*labels.Matcher{named(name)}
	for i := 0; i < len(pairs); i += 2 {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, pairs[i], pairs[i+1]))
	}
	sum := 0.0
	for _, one := range s.having(matchers...) {
		sum += one.Floats[len(one.Floats)-1].F
	}
	return sum
}

// queryable is what the engine asks.
func (s *store) queryable() storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			return &set{found: s.having(matchers...)}
		},
	}}
}

// set is a storage.SeriesSet.
type set struct {
	found []*promql.Series
	next  int
}

func (s *set) Next() bool { s.next++; return s.next <= len(s.found) }

func (s *set) At() storage.Series { return promql.NewStorageSeries(*s.found[s.next-1]) }

func (*set) Err() error { return nil }

func (*set) Warnings() annotations.Annotations { return nil }
