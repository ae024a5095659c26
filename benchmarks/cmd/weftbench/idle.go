package main

import (
	"context"
	"math"
	"slices"
	"time"
)

var idleScenario = &scenario{
	name: "idle",
	what: "memory of a silent connection",
	how: "Bytes of the server process for each connection: fresh, and after one message of 64 B each. Resident bytes " +
		"count whole pages; the kernel's socket memory, about 4 KiB an end, is in none of the columns. Every round is a new process.",
	columns: []string{
		"resident B", "heap B", "stack B", "goroutines",
		"resident B after", "heap B after", "stack B after", "goroutines after",
	},
	plans: func(b *bench) []*plan {
		n := b.most(1000)
		if b.full && !b.quick {
			n = min(10000, descriptors()-300)
		}
		p := &plan{name: plural(n, "connection"), rows: slices.DeleteFunc(slices.Clone(b.rows), (*row).broker), conns: n, fresh: true, fixed: 200 * time.Millisecond}
		if b.quick {
			p.fixed = 20 * time.Millisecond
		}
		p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return prepareIdle(ctx, b, r, n) }
		return []*plan{p}
	},
}

func prepareIdle(ctx context.Context, b *bench, r *row, n int) (*ready, error) {
	return with(ctx, b, r, min(n, 10), sameID, func(s *server, warm conns) (*ready, error) {
		if err := warm.greet(ctx, r); err != nil { // whatever the first ones bring about is no cost of a connection
			return nil, err
		}
		return &ready{measure: func(ctx context.Context, _ time.Duration) ([]float64, error) {
			before, err := s.use(ctx)
			if err != nil {
				return nil, err
			}
			cs, err := connect(ctx, s, n, ownID)
			if err != nil {
				return nil, err
			}
			defer cs.close()
			fresh, err := s.use(ctx)
			if err != nil {
				return nil, err
			}
			figures := fresh.minus(before, n)
			if err := cs.greet(ctx, r); err != nil {
				return nil, s.died(err)
			}
			after, err := s.use(ctx)
			if err != nil {
				return nil, err
			}
			if !r.echoes() {
				return append(figures, math.NaN(), math.NaN(), math.NaN(), math.NaN()), nil
			}
			return append(figures, after.minus(before, n)...), nil
		}}, nil
	})
}

// greet exchanges a message on each connection, where there is an echo.
func (cs conns) greet(ctx context.Context, r *row) error {
	if !r.echoes() {
		return nil
	}
	return cs.readyToEcho(ctx, 64)
}

// memoryUse is what a process holds; NaN where it does not say.
type memoryUse struct{ resident, heap, stack, goroutines float64 }

func (s *server) use(ctx context.Context) (u memoryUse, err error) {
	m, err := s.memory(ctx) // collects garbage
	if err != nil {
		return u, err
	}
	rss, err := resident(s.pid)
	if err != nil {
		return u, s.died(err)
	}
	number := func(p *int64) float64 {
		if p == nil {
			return math.NaN()
		}
		return float64(*p)
	}
	return memoryUse{float64(rss), number(m.Heap), number(m.Stack), number(m.Goroutines)}, nil
}

func (u memoryUse) minus(v memoryUse, n int) []float64 {
	per := float64(n)
	return []float64{
		(u.resident - v.resident) / per, (u.heap - v.heap) / per, (u.stack - v.stack) / per, (u.goroutines - v.goroutines) / per,
	}
}
