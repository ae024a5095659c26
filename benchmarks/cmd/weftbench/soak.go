package main

import (
	"context"
	"math/rand/v2"
	"time"
)

var soakScenario = &scenario{
	name: "soak",
	what: "echo for a long time, with connections that come and go",
	how: "100 connections echo 64 B; every half second a tenth of them is replaced. Growth is what the server holds at the end " +
		"more than after a fifth of the time, with as many connections; left over is what remains once all of them are closed.",
	full: true,
	columns: []string{
		"server µs/message", "resident growth KiB", "heap growth KiB", "goroutines left", "messages", "connections replaced",
	},
	plans: func(b *bench) []*plan {
		n := b.most(100)
		length := b.soak
		if b.quick {
			length = 200 * time.Millisecond
		}
		p := &plan{name: plural(n, "connection") + ", " + length.String(), conns: n, fixed: length, rounds: 1}
		for _, r := range b.rows {
			if r.Kind == "echo" {
				p.rows = append(p.rows, r)
			}
		}
		p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return prepareSoak(ctx, b, r, n) }
		return []*plan{p}
	},
}

func prepareSoak(ctx context.Context, b *bench, r *row, n int) (*ready, error) {
	return with(ctx, b, r, 0, sameID, func(s *server, _ conns) (*ready, error) {
		return &ready{measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
			return soak(ctx, s, n, d)
		}}, nil
	})
}

func soak(ctx context.Context, s *server, n int, d time.Duration) ([]float64, error) {
	empty, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := connect(ctx, s, n, sameID)
	if err != nil {
		return nil, err
	}
	defer func() { cs.close() }()
	if err := cs.readyToEcho(ctx, 64); err != nil {
		return nil, s.died(err)
	}
	const part = 500 * time.Millisecond
	var early *memoryUse
	var total used
	messages, replaced := 0, 0
	for start := time.Now(); time.Since(start) < d; {
		u, err := meter(s, func() error {
			k, err := cs.echo(ctx, min(part, d/4))
			messages += k
			return err
		})
		if err != nil {
			return nil, err
		}
		total.server += u.server
		total.wall += u.wall
		fresh, err := connect(ctx, s, max(n/10, 1), sameID)
		if err != nil {
			return nil, err
		}
		if err := fresh.readyToEcho(ctx, 64); err != nil {
			fresh.close()
			return nil, s.died(err)
		}
		for _, c := range fresh {
			i := rand.IntN(len(cs))
			cs[i].Close()
			cs[i] = c
			replaced++
		}
		if early == nil && time.Since(start) > d/5 {
			m, err := s.use(ctx)
			if err != nil {
				return nil, err
			}
			early = &m
		}
	}
	late, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	cs.close()
	left, err := s.afterAll(ctx, empty.goroutines)
	if err != nil {
		return nil, err
	}
	return []float64{
		total.per(messages)[0], (late.resident - early.resident) / 1024, (late.heap - early.heap) / 1024,
		left - empty.goroutines, float64(messages), float64(replaced),
	}, nil
}

// afterAll is the number of goroutines once connections have been closed; it gives
// the server a few seconds to come down to what it was.
func (s *server) afterAll(ctx context.Context, was float64) (float64, error) {
	for try := 0; ; try++ {
		u, err := s.use(ctx)
		if err != nil || !(u.goroutines > was) || try == 20 {
			return u.goroutines, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
