package dashboard

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds all waiting. It is long: a test that meets it has failed.
const patience = 60 * time.Second

// scrapeInterval is how far apart scrapes are for the engine. They really come faster.
const scrapeInterval = 15 * time.Second

type page struct {
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []target
}

type target struct{ RefID, Expr, LegendFormat string }

func read(t *testing.T) page {
	t.Helper()
	var p page
	require.NoError(t, json.Unmarshal(JSON, &p))
	require.NotEmpty(t, p.Panels)
	return p
}

var variable = regexp.MustCompile(`\$(\w+)`)

// expand puts in what Grafana does for its variables.
func (p *page) expand(t *testing.T, expr string) string {
	return variable.ReplaceAllStringFunc(expr, func(v string) string {
		switch name := v[1:]; {
		case name == "__rate_interval":
			return "1m"
		case slices.ContainsFunc(p.Templating.List, func(x struct {
			Name, Type string
			Query      json.RawMessage
		}) bool {
			return x.Name == name
		}):
			return ".*"
		}
		t.Errorf("%s: there is no variable %s", expr, v)
		return v
	})
}

// notShown are metrics that are on no panel, and why.
var notShown = map[string]string{}

// waits says what a panel needs to have something to show.
var waits = [][]string{
	{"weft_handshakes_refused_total", "reason", "origin"}, {"weft_handshakes_refused_total", "reason", "subprotocol"},
	{"weft_handshakes_refused_total", "reason", "limit"}, {"weft_handshakes_refused_total", "reason", "hook"},
	{"weft_connects_refused_total"}, {"weft_connect_timeouts_total"}, {"weft_heartbeats_missed_total"},
	{"weft_sessions_closed_total", "code", "4xxx"}, {"weft_round_trip_seconds_count"},
	{"weft_received_messages_total", "result", "refused"}, {"weft_received_messages_total", "result", "failed"},
	{"weft_sent_messages_total", "kind", "REPLY"}, {"weft_dropped_messages_total", "reason", "oldest"},
	{"weft_queued_messages"}, {"weft_subscriptions", "class", "/topic"}, {"weft_decode_errors_total"}, {"weft_panics_total"},
	{"weft_reader_yields_total"}, {"weft_reader_pauses_total"},
	{"weft_broker_unsettled_deliveries"}, {"weft_broker_ready_messages"}, {"weft_broker_settled_deliveries_total", "result", "refused"},
	{"weft_broker_dropped_messages_total", "reason", "dead"}, {"weft_broker_dropped_messages_total", "reason", "expired"},
	{"weft_broker_dropped_messages_total", "reason", "dropped"}, {"weft_broker_unrouted_messages_total"},
}

// observe scrapes a server under load until all has happened at least once, and n times at least.
func observe(t *testing.T, n int) (*store, []string) {
	s, st := start(t), newStore()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	working, done := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.load(working)
	}()
	defer func() {
		done()
		<-gone
	}()
	seen := make(map[int]bool)
	at := time.Unix(1_700_000_000, 0)
	tick := time.NewTicker(1010 * time.Millisecond) // a scrape looks at sessions once a second
	defer tick.Stop()
	for i := 0; i < n || len(seen) < len(waits); i++ {
		s.scrape(st, at.Add(time.Duration(i)*scrapeInterval))
		for j, w := range waits {
			if st.now(w[0], w[1:]...) > 0 {
				seen[j] = true
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for j, w := range waits {
				if !seen[j] {
					t.Errorf("the load has brought about no %v", w)
				}
			}
			return st, described(s)
		}
	}
	return st, described(s)
}

// described are the names of all that Metrics says that it has.
func described(s *server) (names []string) {
	ch := make(chan *prom.Desc)
	go func() {
		s.metrics.Describe(ch)
		close(ch)
	}()
	name := regexp.MustCompile(`fqName: "(\w+)"`)
	for d := range ch {
		names = append(names, name.FindStringSubmatch(d.String())[1])
	}
	return names
}

// TestDashboard holds the dashboard to what there is: each expression parses and has a result,
// each metric and label in it was scraped, and each metric is shown.
func TestDashboard(t *testing.T) {
	p := read(t)
	scrapes := 6
	out := os.Getenv("WEFT_DASHBOARD")
	if out != "" {
		scrapes = 40
	}
	st, described := observe(t, scrapes)
	pql := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1 << 22, Timeout: patience, Parser: pql, LookbackDelta: 4 * scrapeInterval,
	})
	shown := make(map[string]bool)
	results := make(map[int][]promql.Matrix)
	for _, pan := range p.Panels {
		if pan.Type == "row" {
			require.Empty(t, pan.Targets)
			continue
		}
		require.NotEmpty(t, pan.Targets, pan.Title)
		for _, tg := range pan.Targets {
			expr := p.expand(t, tg.Expr)
			parsed, err := pql.ParseExpr(expr)
			require.NoError(t, err, "%s %s", pan.Title, tg.Expr)
			for _, fault := range st.faults(parsed, shown) {
				t.Errorf("%s: %s: %s", pan.Title, tg.Expr, fault)
			}
			start := st.at.Add(-time.Duration(scrapes-4) * scrapeInterval)
			q, err := engine.NewRangeQuery(t.Context(), st.queryable(), nil, expr, start, st.at, scrapeInterval)
			require.NoError(t, err)
			res := q.Exec(t.Context())
			require.NoError(t, res.Err)
			m, err := res.Matrix()
			require.NoError(t, err)
			m = slices.Clone(m)
			for i := range m {
				m[i].Floats = slices.Clone(m[i].Floats)
			}
			if !hasValue(m) {
				t.Errorf("%s: %s has no result", pan.Title, tg.Expr)
			}
			for _, l := range legend.FindAllStringSubmatch(tg.LegendFormat, -1) {
				for _, one := range m {
					if one.Metric.Get(l[1]) == "" {
						t.Errorf("%s: %s: %s has no label %s for the legend", pan.Title, tg.Expr, one.Metric, l[1])
					}
				}
			}
			results[pan.ID] = append(results[pan.ID], m)
			q.Close()
		}
	}
	for _, name := range described {
		if _, ok := st.types[name]; !ok {
			t.Errorf("%s is described and was not in the scrape", name)
		}
		if shown[name] == (notShown[name] != "") {
			t.Errorf("%s: is on the dashboard: %v; reason why it is not: %q", name, shown[name], notShown[name])
		}
	}
	require.Len(t, st.types, len(described))
	if out != "" {
		require.NoError(t, os.WriteFile(out, draw(&p, results), 0o600))
	}
}

var legend = regexp.MustCompile(`\{\{(\w+)\}\}`)

// hasValue reports whether there is a number in m.
func hasValue(m promql.Matrix) bool {
	return slices.ContainsFunc(m, func(s promql.Series) bool {
		return slices.ContainsFunc(s.Floats, func(p promql.FPoint) bool { return !math.IsNaN(p.F) && !math.IsInf(p.F, 0) })
	})
}

// faults returns what an expression asks for that was not scraped, and notes the families that
// it shows.
func (s *store) faults(expr parser.Expr, shown map[string]bool) (faults []string) {
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		found := s.having(named(v.Name))
		family, typ := s.family(v.Name)
		if len(found) == 0 || family == "" {
			faults = append(faults, v.Name+" was not in the scrape")
			return nil
		}
		shown[family] = true
		if len(s.having(v.LabelMatchers...)) == 0 {
			faults = append(faults, v.String()+" matches nothing")
		}
		need := make([]string, 0, 8)
		for _, m := range v.LabelMatchers {
			need = append(need, m.Name)
		}
		rated := false
		for _, up := range path {
			switch up := up.(type) {
			case *parser.AggregateExpr:
				need = append(need, up.Grouping...)
			case *parser.Call:
				rated = rated || up.Func.Name == "rate" || up.Func.Name == "increase"
			}
		}
		if rated == (typ == "gauge") {
			faults = append(faults, v.Name+" is a "+typ+", of which a rate makes sense or does not")
		}
		for _, name := range need {
			for _, one := range found {
				if one.Metric.Get(name) == "" {
					faults = append(faults, one.Metric.String()+" has no label "+strconv.Quote(name))
					break
				}
			}
		}
		return nil
	})
	return faults
}

// family returns the metric that a series belongs to, and its type.
func (s *store) family(name string) (family, typ string) {
	if typ, ok := s.types[name]; ok {
		return name, typ
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && s.types[base] == "histogram" {
			return base, "histogram"
		}
	}
	return "", ""
}

// TestFaultsAreFound: what the dashboard's test looks for it finds.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	st := newStore()
	st.add(t, time.Unix(1, 0), "text/plain; version=0.0.4", []byte("# TYPE a_total counter\na_total{x=\"1\"} 1\n# TYPE b gauge\nb 1\n"))
	pql := parser.NewParser(parser.Options{})
	for expr, want := range map[string]string{
		"rate(a_total[1m])":              "",
		"b":                              "",
		"sum by (x) (rate(a_total[1m]))": "",
		"rate(c_total[1m])":              "c_total was not in the scrape",
		"a_total":                        "a_total is a counter",
		"rate(b[1m])":                    "b is a gauge",
		`rate(a_total{x="2"}[1m])`:       "matches nothing",
		`sum(b{y=~".*"})`:                `has no label "y"`,
		"sum by (y) (rate(a_total[1m]))": `has no label "y"`,
	} {
		parsed, err := pql.ParseExpr(expr)
		require.NoError(t, err)
		faults := strings.Join(st.faults(parsed, make(map[string]bool)), "\n")
		if want == "" {
			require.Empty(t, faults, expr)
		}
		require.Contains(t, faults, want, expr)
	}
}

// TestLayout: no panel lies on another, and each has a title and an ID of its own.
func TestLayout(t *testing.T) {
	t.Parallel()
	p := read(t)
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, pan := range p.Panels {
		require.False(t, ids[pan.ID], "%d", pan.ID)
		ids[pan.ID] = true
		require.NotEmpty(t, pan.Title)
		g := pan.GridPos
		require.LessOrEqual(t, g.X+g.W, 24)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, cells[[2]int{x, y}], "%s lies on another", pan.Title)
				cells[[2]int{x, y}] = pan.Title
			}
		}
	}
}
