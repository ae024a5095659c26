package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

var openScenario = &scenario{
	name: "open",
	what: "messages of 64 B by a fixed schedule: open loop",
	how: "Messages are sent when they are due, whether or not earlier ones have been answered, and latency counts from the " +
		"moment that a message was due: a server that pauses is charged for all that should have been sent meanwhile. The last " +
		"column counts from the sending, as closed loops do, and is there to show the difference. The client's own lateness is in both ends.",
	full:    true,
	columns: []string{"p99 µs", "p50 µs", "p99.9 µs", "max µs", "server µs/message", "client CPU %", "p99 µs, not corrected"},
	plans: func(b *bench) []*plan {
		n := b.most(100)
		p := &plan{name: fmt.Sprintf("%d a second, %s", b.rate, plural(n, "connection")), conns: n, fixed: 2 * time.Second}
		if b.quick {
			p.fixed = 50 * time.Millisecond
		}
		for _, r := range b.rows {
			if r.echoes() && !r.mixed() {
				p.rows = append(p.rows, r)
			}
		}
		p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return prepareOpen(ctx, b, r, n) }
		return []*plan{p}
	},
}

func prepareOpen(ctx context.Context, b *bench, r *row, n int) (*ready, error) {
	return with(ctx, b, r, n, sameID, func(s *server, cs conns) (*ready, error) {
		if err := cs.readyToEcho(ctx, 64); err != nil {
			return nil, err
		}
		return &ready{measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
			var l *latencies
			messages := 0
			u, err := meter(s, func() (err error) {
				messages, l, err = cs.openLoop(ctx, b.rate, d)
				return err
			})
			if err != nil {
				return nil, err
			}
			per := u.per(messages)
			return []float64{
				micros(l.corrected, 99), micros(l.corrected, 50), micros(l.corrected, 99.9),
				float64(l.corrected.Max()) / 1e3, per[0], per[3], micros(l.asSent, 99),
			}, nil
		}}, nil
	})
}

func micros(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtPercentile(percentile)) / 1e3
}

// latencies are two views of the same messages, in nanoseconds.
type latencies struct {
	corrected *hdrhistogram.Histogram // from when a message was due
	asSent    *hdrhistogram.Histogram // from when it was sent
}

func newLatencies() *latencies {
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1_000, int64(time.Minute), 3) }
	return &latencies{histogram(), histogram()}
}

// record takes the times of one message since the start.
func (l *latencies) record(due, sent, answered time.Duration) {
	_ = l.corrected.RecordValue(int64(min(answered-due, time.Minute)))
	_ = l.asSent.RecordValue(int64(min(answered-sent, time.Minute)))
}

func (l *latencies) merge(m *latencies) {
	l.corrected.Merge(m.corrected)
	l.asSent.Merge(m.asSent)
}

// schedule is when the ith message is due.
func schedule(i, rate int) time.Duration { return time.Duration(i) * time.Second / time.Duration(rate) }

// openLoop sends by the schedule for d, and returns when all is answered.
func (cs conns) openLoop(ctx context.Context, rate int, d time.Duration) (int, *latencies, error) {
	type sending struct{ due, sent time.Duration }
	defer cs.deadline(ctx, d+10*time.Second)()
	total := max(int(d*time.Duration(rate)/time.Second), 1)
	start := time.Now()
	all := newLatencies()
	pending := make([]chan sending, len(cs))
	for i := range cs {
		pending[i] = make(chan sending, total/len(cs)+1) // all that one sends: sending never waits
	}
	var mu sync.Mutex
	var failed error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
			cs.setDeadline(time.Now())
		}
	}
	var wg sync.WaitGroup
	for i, c := range cs {
		wg.Go(func() {
			mine := newLatencies()
			buf := make([]byte, 4096)
			for s := range pending[i] {
				if err := c.readFrames(1, buf); err != nil {
					fail(err)
					return
				}
				mine.record(s.due, s.sent, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(mine)
		})
	}
	for i := range total {
		due := schedule(i, rate)
		if wait := due - time.Since(start); wait > 0 {
			time.Sleep(wait)
		}
		c := cs[i%len(cs)]
		sent := time.Since(start)
		if _, err := c.Write(c.frame); err != nil {
			fail(err)
			break
		}
		pending[i%len(cs)] <- sending{due, sent}
	}
	for _, p := range pending {
		close(p)
	}
	wg.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return total, all, failed
}
