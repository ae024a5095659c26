package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

var fanoutScenario = &scenario{
	name: "fanout",
	what: "publications of 128 B to all subscribers",
	how: "So many publications are made back to back; the next come when every reader has them. With one in flight each " +
		"delivery is a system call for everybody; with 16 it shows who sends several in one. Latencies would measure the " +
		"queue, so there are none. A row that lets its readers wait for stalled ones is reported as blocked.",
	columns: []string{"server µs/delivery", "wall µs/delivery", "server CPU %", "client CPU %", "B/delivery"},
	plans: func(b *bench) (plans []*plan) {
		n, many := b.most(1000), b.most(5000)
		cases := []fanout{{subscribers: n, inFlight: 1}, {subscribers: n, inFlight: 16}}
		if b.full {
			cases = append(cases, fanout{subscribers: many, inFlight: 1}, fanout{subscribers: many, inFlight: 16},
				fanout{subscribers: n, inFlight: 16, ownIDs: true}, fanout{subscribers: b.most(100), inFlight: 16, stalled: 1})
		}
		for _, f := range cases {
			p := &plan{name: f.String(), conns: f.subscribers}
			if f.stalled > 0 && b.quick {
				p.name += ", buffers not full"
			}
			for _, r := range b.rows {
				if !r.mixed() && (!f.ownIDs || len(r.forms) > 0 && r.forms[0].ready != "") {
					p.rows = append(p.rows, r)
				}
			}
			p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return f.prepare(ctx, b, r) }
			plans = append(plans, p)
		}
		return plans
	},
}

// fanout is a case.
type fanout struct {
	subscribers, inFlight int
	ownIDs                bool // each subscriber has its own subscription id
	stalled               int  // so many never read
}

func (f fanout) String() string {
	s := fmt.Sprintf("%s, %d in flight", plural(f.subscribers, "subscriber"), f.inFlight)
	if f.ownIDs {
		s += ", all-different ids"
	}
	if f.stalled > 0 {
		s += fmt.Sprintf(", %d stalled", f.stalled)
	}
	return s
}

const (
	patience        = 20 * time.Second       // readers that have waited so long for publications: the row has failed or is blocked
	slowest         = 100 * time.Microsecond // what a delivery may take besides
	publishPatience = 5 * time.Second        // the same for the server, while nobody reads
)

func (f fanout) prepare(ctx context.Context, b *bench, r *row) (*ready, error) {
	id := sameID
	if f.ownIDs {
		id = ownID
	}
	return with(ctx, b, r, f.stalled, id, func(s *server, stalled conns) (*ready, error) {
		if len(stalled) > 0 && !b.quick {
			if err := stalled.fillUp(ctx, s); err != nil {
				return nil, err
			}
		}
		readers, err := connect(ctx, s, f.subscribers-f.stalled, id)
		if err != nil {
			return nil, err
		}
		marks, err := readers.readyToRead(ctx, s)
		if err == nil {
			_, err = f.publish(ctx, s, readers, marks, b.warm())
		}
		if err != nil {
			readers.close()
			return nil, f.failed(err)
		}
		return &ready{stop: readers.close, measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
			publications := 0
			received := readers.received()
			u, err := meter(s, func() (err error) {
				publications, err = f.publish(ctx, s, readers, marks, d)
				return err
			})
			if err != nil {
				return nil, f.failed(err)
			}
			n := publications * len(readers)
			return append(u.per(n), float64(readers.received()-received)/float64(n)), nil
		}}, nil
	})
}

// fillUp publishes to those who do not read until the kernel's buffers are full and
// the server must have noticed.
func (cs conns) fillUp(ctx context.Context, s *server) error {
	const enough, batch = 40_000, 64 // 4 MB go into the kernel
	for _, c := range cs {
		if t, ok := c.Conn.(*net.TCPConn); ok {
			_ = t.SetReadBuffer(4 << 10)
		}
	}
	for range enough / batch {
		limited, cancel := context.WithTimeout(ctx, publishPatience)
		err := s.publish(limited, batch)
		cancel()
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return blocked(fmt.Sprintf("publishing has waited %v for one that does not read", publishPatience))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readyToRead waits until the server knows all of cs, and returns how many markers
// a delivery has.
func (cs conns) readyToRead(ctx context.Context, s *server) (marks int, err error) {
	if s.row.Kind == "echo" { // those without a hello have surely been registered when they answer
		if err := cs.readyToEcho(ctx, 64); err != nil {
			return 0, err
		}
	}
	return cs.probe(ctx, s)
}

// failed puts in words what a stalled reader does to a server that waits for it.
func (f fanout) failed(err error) error {
	if f.stalled > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return blocked(fmt.Sprintf("readers have waited %v for one that does not read", patience))
	}
	return err
}

// blocked is what a stalled reader did to a row.
type blocked string

func (b blocked) Error() string { return string(b) }

// probe publishes once, and returns how many marks the delivery has.
func (cs conns) probe(ctx context.Context, s *server) (marks int, err error) {
	defer cs.deadline(ctx, patience)()
	if err := s.publish(ctx, 1); err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	for _, c := range cs {
		c.in.frames, c.in.marks = 0, 0
		for c.in.marks == 0 { // a server may have something else to say first
			if err := c.readFrames(1, buf); err != nil {
				return 0, fmt.Errorf("the first delivery: %w", err)
			}
		}
		if marks != 0 && c.in.marks != marks {
			return 0, fmt.Errorf("a delivery has %s, another one %d", plural(c.in.marks, "marker"), marks)
		}
		marks = c.in.marks
		c.in.marks = 0
	}
	return marks, nil
}

func (cs conns) received() (n int64) {
	for _, c := range cs {
		n += c.in.bytes
	}
	return n
}

// publish has the server publish for d, and returns how many publications every
// reader has read.
func (f fanout) publish(ctx context.Context, s *server, readers conns, marks int, d time.Duration) (n int, err error) {
	parts := readers.split()
	defer readers.deadline(ctx, d+patience+slowest*time.Duration(f.inFlight*len(readers)))()
	for end := time.Now().Add(d); n == 0 || time.Now().Before(end); n += f.inFlight {
		var wg sync.WaitGroup
		var asked error
		wg.Go(func() { // beside the reading: some servers publish only as fast as that
			asked = s.publish(ctx, f.inFlight)
			if asked != nil {
				readers.setDeadline(time.Now())
			}
		})
		err := each(len(parts), len(parts), func(i int) error {
			buf := make([]byte, 16<<10)
			for _, c := range parts[i] {
				if err := c.readMarks(marks*f.inFlight, buf); err != nil {
					return err
				}
			}
			return nil
		})
		wg.Wait()
		if asked != nil {
			return n, asked
		}
		if err != nil {
			return n, fmt.Errorf("waiting for deliveries: %w", err)
		}
	}
	return n, ctx.Err()
}
