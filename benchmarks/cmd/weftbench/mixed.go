package main

import "context"

var mixedScenario = &scenario{
	name: "mixed",
	what: "one endpoint, its connections speaking different sub-protocols",
	how: "Echo of 64 B, closed loop. A quarter of the mixed row's connections each speaks raw, JSON, msgpack and STOMP; the other " +
		"rows are the same endpoint with one of them. What mixing costs is the distance to the mean of these four.",
	full:    true,
	columns: echoColumns,
	plans: func(b *bench) []*plan {
		n := b.most(300)
		p := &plan{name: plural(n, "connection"), conns: n}
		mixed := false
		for _, r := range b.rows {
			if len(r.forms) > 0 && engineOf(r) == "gobwas-bare" {
				p.rows = append(p.rows, r)
				mixed = mixed || r.mixed()
			}
		}
		if !mixed {
			return nil
		}
		p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return prepareEcho(ctx, b, r, 64, n) }
		return []*plan{p}
	},
}
