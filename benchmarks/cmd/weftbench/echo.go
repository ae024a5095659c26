package main

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

var echoColumns = []string{"server µs/message", "wall µs/message", "server CPU %", "client CPU %"}

var echoScenario = &scenario{
	name: "echo",
	what: "a message, and back: closed loop",
	how: "Each connection has one message on its way, which is text. One connection measures wake-ups more than " +
		"libraries. Where the client's CPU is near 100 % for each of its cores, wall-clock time is the client's.",
	columns: echoColumns,
	plans: func(b *bench) (plans []*plan) {
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			for _, n := range []int{1, 100, 1000} {
				if b.full || size == 64 || size == 16<<10 && n == 100 {
					plans = append(plans, echoPlan(b, size, min(n, b.most(n))))
				}
			}
		}
		return plans
	},
}

// most makes a quick run small.
func (b *bench) most(n int) int {
	if b.quick {
		return min(n, 20)
	}
	return n
}

func echoPlan(b *bench, size, n int) *plan {
	p := &plan{name: fmt.Sprintf("%s, %s", sizeName(size), plural(n, "connection")), conns: n}
	for _, r := range b.rows {
		if r.echoes() && !r.mixed() {
			p.rows = append(p.rows, r)
		}
	}
	p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return prepareEcho(ctx, b, r, size, n) }
	return p
}

func sizeName(n int) string {
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func prepareEcho(ctx context.Context, b *bench, r *row, size, n int) (*ready, error) {
	return with(ctx, b, r, n, sameID, func(s *server, cs conns) (*ready, error) {
		if err := cs.readyToEcho(ctx, size); err != nil {
			return nil, err
		}
		if _, err := cs.echo(ctx, b.warm()); err != nil {
			return nil, err
		}
		return &ready{measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
			messages := 0
			u, err := meter(s, func() (err error) {
				messages, err = cs.echo(ctx, d)
				return err
			})
			if err != nil {
				return nil, err
			}
			return u.per(messages), nil
		}}, nil
	})
}

// readyToEcho has each connection exchange one message, and looks whether it comes
// back unchanged.
func (cs conns) readyToEcho(ctx context.Context, size int) error {
	for _, c := range cs {
		c.in.frames = 0 // answers to the hello
	}
	text := body(size)
	frames := map[string][]byte{} // shared by all connections of a form
	for _, c := range cs {
		if frames[c.form.subprotocol] == nil {
			frames[c.form.subprotocol] = c.encode(c.form.request(text))
		}
		c.frame = frames[c.form.subprotocol]
	}
	defer cs.deadline(ctx, 10*time.Second)()
	buf := make([]byte, 64<<10)
	for i, c := range cs {
		if _, err := c.Write(c.frame); err != nil {
			return err
		}
		c.in.keep = i < 4 // one of each form
		if err := c.readFrames(1, buf); err != nil {
			return fmt.Errorf("the first echo: %w", err)
		}
		back := c.in.last // from a TCP row it is the masked frame that comes back
		if c.in.keep && !bytes.Contains(back, text) && (len(back) < size || !bytes.Contains(c.frame, back)) {
			return fmt.Errorf("what comes back is not what was sent, but %.80q", back)
		}
		c.in.keep, c.in.last = false, nil
	}
	return nil
}

// echo keeps one message on its way on each connection, for d, and returns how many
// came back. Nothing is on its way when it returns.
func (cs conns) echo(ctx context.Context, d time.Duration) (int, error) {
	defer cs.deadline(ctx, d+10*time.Second)()
	end := time.Now().Add(d)
	parts := cs.split()
	counts := make([]int, len(parts))
	err := each(len(parts), len(parts), func(i int) (err error) {
		counts[i], err = parts[i].echoUntil(end)
		return err
	})
	total := 0
	for _, n := range counts {
		total += n
	}
	if err == nil {
		err = ctx.Err()
	}
	return total, err
}

func (cs conns) echoUntil(end time.Time) (n int, err error) {
	buf := make([]byte, 32<<10)
	for _, c := range cs {
		if _, err := c.Write(c.frame); err != nil {
			return n, err
		}
	}
	for over := false; !over; {
		over = !time.Now().Before(end) // then what is on its way is read
		for _, c := range cs {
			if err := c.readFrames(1, buf); err != nil {
				return n, err
			}
			n++
			if over {
				continue
			}
			if _, err := c.Write(c.frame); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
