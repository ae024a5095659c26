package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// plan is one case of a scenario: what its columns are, which rows take part, and
// how one of them is made ready and measured.
type plan struct {
	scenario *scenario
	name     string
	rows     []*row
	conns    int           // of each row, for the descriptors and the time that it takes
	fresh    bool          // every round with a new server
	rounds   int           // 0 if as many as the options say
	fixed    time.Duration // length of a round, if the case itself knows
	length   time.Duration // of a round
	prepare  func(ctx context.Context, b *bench, r *row) (*ready, error)
}

// ready is a row that is set up.
type ready struct {
	measure func(ctx context.Context, d time.Duration) ([]float64, error) // one round: a figure for each column
	stop    func()
	since   time.Time
}

// maxAge is how old a connection may be when a round begins. Some servers end
// clients that do not answer their pings, as this one does not: the strictest
// after 35 s. RabbitMQ, which is not started anew in a hurry, ends those that are
// silent for a minute.
const (
	maxAge       = 20 * time.Second
	maxBrokerAge = 45 * time.Second
)

func (r *row) maxAge() time.Duration {
	if r.broker() {
		return maxBrokerAge
	}
	return maxAge
}

// scenario is a kind of load. The first column is what rows are compared by; less is
// better.
type scenario struct {
	name    string
	what    string
	how     string // what the reader must know
	full    bool   // not in the default run
	sockJS  bool   // for the rows of SockJS, which take part in nothing else
	columns []string
	plans   func(b *bench) []*plan
}

func scenarios() []*scenario {
	return []*scenario{echoScenario, idleScenario, fanoutScenario, handshakeScenario, queueScenario, openScenario, mixedScenario, sockJSScenario, soakScenario}
}

func scenarioNames(all bool) (names []string) {
	for _, s := range scenarios() {
		if all || !s.full {
			names = append(names, s.name)
		}
	}
	return names
}

// bench is a run.
type bench struct {
	*options
	placement *placement
	rows      []*row
	plans     []*plan
	notes     []string
	progress  *progress
}

func (b *bench) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	for _, have := range b.notes {
		if have == n {
			return
		}
	}
	b.notes = append(b.notes, n)
}

// measureAll runs what the options choose. When it is interrupted, or a server
// fails, the result has what is done.
func measureAll(ctx context.Context, o *options, out, errOut io.Writer) (*Result, error) {
	chosen, err := choose("scenario", o.scenarios, scenarios(), func(s *scenario) string { return s.name })
	if err != nil {
		return nil, err
	}
	load := loadAverage() // before the peers are built
	dir, err := os.MkdirTemp("", "weftbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	rows, notes, err := allRows(ctx, o.peers, dir)
	if err != nil {
		return nil, err
	}
	if o.profile != "" {
		if notes, err = profileRows(rows, notes, o.profile); err != nil {
			return nil, err
		}
	}
	if o.list {
		_, err := io.WriteString(out, list(rows, notes))
		return nil, err
	}
	if rows, err = choose("row", o.rows, rows, (*row).name); err != nil {
		return nil, err
	}
	if rows, err = orderBase(rows, o.base); err != nil {
		return nil, err
	}
	if _, err := processCPU(os.Getpid()); err != nil {
		return nil, err
	}
	b := &bench{options: o, rows: rows, notes: notes}
	for _, s := range chosen {
		if s.full && !o.full && o.scenarios == "" {
			continue
		}
		part := *b
		part.rows = slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return (r.SockJS != "") != s.sockJS })
		for _, p := range s.plans(&part) {
			p.scenario = s
			if p.rounds == 0 {
				p.rounds = b.rounds
			}
			again := slices.ContainsFunc(b.plans, func(q *plan) bool { return q.scenario == s && q.name == p.name }) // a quick run cuts cases to the same
			if b.fit(p); len(p.rows) > 0 && !again {
				b.plans = append(b.plans, p)
			}
		}
	}
	if len(b.plans) == 0 {
		return nil, errors.New("none of the rows takes part in the scenarios")
	}
	var restore func()
	b.placement, restore = place()
	defer restore()
	started := time.Now()
	b.progress = newProgress(errOut, b.share(b.plans, 0))
	res := b.result(load)
	for i, p := range b.plans {
		b.progress.expect(b.share(b.plans[i:], time.Since(started)))
		b.progress.begin(p.scenario.name + ", " + p.name)
		res.Cases = append(res.Cases, b.run(ctx, p))
		if ctx.Err() != nil {
			res.Notes = append(res.Notes, "interrupted: what is missing was not measured")
			break
		}
	}
	b.progress.end()
	res.Notes = append(b.notes, res.Notes...)
	res.dropEmpty()
	if ctx.Err() != nil {
		return res, errors.New("interrupted")
	}
	return res, res.failure()
}

// fit makes a plan possible with the descriptors that there are.
func (b *bench) fit(p *plan) {
	const others = 200
	limit := descriptors() - others
	if p.conns > limit {
		b.note("%s, %s: needs %d descriptors, but the limit of a process is %d (ulimit -n): left out", p.scenario.name, p.name, p.conns+others, limit+others)
		p.rows = nil
		return
	}
	if p.conns*len(p.rows) > limit && !p.fresh {
		b.note("%s, %s: the limit of %d descriptors is too low for all rows at once: each round has new connections", p.scenario.name, p.name, limit+others)
		p.fresh = true
	}
}

// setUp is about how long it takes to start all servers and open their connections.
func (p *plan) setUp() (total time.Duration) {
	for _, r := range p.rows {
		total += 120*time.Millisecond + time.Duration(p.conns)*100*time.Microsecond
		if r != nil && r.broker() {
			total += 8 * time.Second
		}
	}
	return total
}

// share gives the rounds to come their length, and returns about how long they take:
// -full and -quick have lengths of their own, others share what is left of the budget.
func (b *bench) share(plans []*plan, gone time.Duration) (total time.Duration) {
	var fixed time.Duration
	rounds := 0
	for _, p := range plans {
		p.length = p.fixed
		fixed += p.cost()
		if p.fixed == 0 {
			rounds += len(p.rows) * p.rounds
		}
	}
	length := 500 * time.Millisecond
	switch {
	case b.quick:
		length = 20 * time.Millisecond
	case !b.full && rounds > 0:
		length = min(max((b.budget-gone-fixed)/time.Duration(rounds), 30*time.Millisecond), length)
	}
	for _, p := range plans {
		if p.fixed == 0 {
			p.length = length
		}
		total += p.cost()
	}
	return total
}

// cost is about how long a case takes.
func (p *plan) cost() time.Duration {
	setUp := p.setUp()
	if p.fresh {
		setUp *= time.Duration(p.rounds)
	}
	return setUp + time.Duration(len(p.rows)*p.rounds)*p.length
}

// run measures one case: each row once, then each row again.
func (b *bench) run(ctx context.Context, p *plan) *Case {
	c := &Case{Scenario: p.scenario.name, Name: p.name, Columns: p.scenario.columns}
	live := make([]*ready, len(p.rows))
	defer func() {
		for _, l := range live {
			if l != nil {
				l.stop()
			}
		}
	}()
	for _, r := range p.rows {
		c.Rows = append(c.Rows, &RowResult{Row: r.Name, Rounds: make([]Values, len(p.scenario.columns))})
	}
	for round := range p.rounds {
		for _, i := range p.order() {
			r, res := p.rows[i], c.Rows[i]
			if res.Error != "" || ctx.Err() != nil {
				continue
			}
			b.progress.show(fmt.Sprintf("%s, %s: round %d of %d, %s", p.scenario.name, p.name, round+1, p.rounds, r.Name))
			err := b.round(ctx, p, r, &live[i], res)
			if err != nil && ctx.Err() == nil {
				res.Error = oneLine(err)
				_, res.Blocked = errors.AsType[blocked](err)
				b.progress.say(fmt.Sprintf("%s, %s: %s: %s", p.scenario.name, p.name, r.Name, res.Error))
			}
			if (p.fresh || err != nil) && live[i] != nil {
				live[i].stop()
				live[i] = nil
			}
		}
		b.progress.advance(p.cost() / time.Duration(p.rounds))
	}
	return c
}

// order are the rows of a round. Brokers come first: the connections of others would
// grow old while they start.
func (p *plan) order() (order []int) {
	for _, brokers := range []bool{true, false} {
		for i, r := range p.rows {
			if r.broker() == brokers {
				order = append(order, i)
			}
		}
	}
	return order
}

func (b *bench) round(ctx context.Context, p *plan, r *row, l **ready, res *RowResult) (err error) {
	if *l != nil && time.Since((*l).since) > r.maxAge() {
		(*l).stop()
		*l = nil
	}
	if *l == nil {
		if *l, err = p.prepare(ctx, b, r); err != nil {
			return err
		}
		(*l).since = time.Now()
	}
	figures, err := (*l).measure(ctx, p.length)
	if err != nil {
		return err
	}
	for i, f := range figures {
		res.Rounds[i] = append(res.Rounds[i], f)
	}
	return nil
}

// warm is how long a row runs before its first round.
func (b *bench) warm() time.Duration {
	if b.quick {
		return 10 * time.Millisecond
	}
	return 60 * time.Millisecond
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// used is what server and client took for something.
type used struct {
	server, client, wall time.Duration
}

// meter measures f.
func meter(s *server, f func() error) (u used, err error) {
	s0, err := s.cpu()
	if err != nil {
		return u, err
	}
	c0, err := processCPU(os.Getpid())
	if err != nil {
		return u, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return u, s.died(err)
	}
	u.wall = time.Since(start)
	s1, err := s.cpu()
	if err != nil {
		return u, err
	}
	c1, err := processCPU(os.Getpid())
	u.server, u.client = s1-s0, c1-c0
	return u, err
}

// per are the figures of n things: CPU µs of the server, wall µs, and how busy the
// server and the client were, in percent of one core.
func (u used) per(n int) []float64 {
	micros := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(n) }
	percent := func(d time.Duration) float64 { return 100 * float64(d) / float64(u.wall) }
	return []float64{micros(u.server), micros(u.wall), percent(u.server), percent(u.client)}
}

// with starts a server and connections to it; prepare goes on from there.
func with(ctx context.Context, b *bench, r *row, n int, id func(int) string,
	prepare func(s *server, cs conns) (*ready, error),
) (*ready, error) {
	s, err := b.placement.startServer(ctx, r, false)
	if err != nil {
		return nil, err
	}
	cs, err := connect(ctx, s, n, id)
	if err != nil {
		s.stop()
		return nil, err
	}
	l, err := prepare(s, cs)
	if err != nil {
		err = s.died(err)
		cs.close()
		s.stop()
		return nil, err
	}
	more := l.stop
	l.stop = func() {
		if more != nil {
			more()
		}
		cs.close()
		s.stop()
	}
	return l, nil
}
