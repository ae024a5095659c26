package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

var handshakeScenario = &scenario{
	name: "handshake",
	what: "connections opened and dropped",
	how: "From the SYN to the 101, then a reset; eight at a time, so the end of a connection is in it. With TLS it is the " +
		"whole handshake of TLS 1.3 without resumption, ECDSA P-256, and the client pays as much: see its CPU.",
	columns: []string{"server µs/handshake", "wall µs/handshake", "server CPU %", "client CPU %"},
	plans: func(b *bench) (plans []*plan) {
		for _, secure := range []bool{false, true} {
			p := &plan{name: "plain", conns: 8}
			if secure {
				p.name = "TLS"
			}
			for _, r := range b.rows {
				if r.webSocket() && !r.mixed() && !r.broker() && (!secure || r.TLS) {
					p.rows = append(p.rows, r)
				}
			}
			p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) {
				return prepareHandshake(ctx, b, r, secure)
			}
			plans = append(plans, p)
		}
		return plans
	},
}

func prepareHandshake(ctx context.Context, b *bench, r *row, secure bool) (*ready, error) {
	s, err := b.placement.startServer(ctx, r, secure)
	if err != nil {
		if secure {
			err = errors.Join(errors.New("with -tls"), err)
		}
		return nil, err
	}
	if _, err := handshakes(ctx, s, secure, b.warm()); err != nil {
		err = s.died(err)
		s.stop()
		return nil, err
	}
	return &ready{stop: s.stop, measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
		n := 0
		u, err := meter(s, func() (err error) {
			n, err = handshakes(ctx, s, secure, d)
			return err
		})
		if err != nil {
			return nil, err
		}
		return u.per(n), nil
	}}, nil
}

// handshakes opens and drops connections for d and returns how many.
func handshakes(ctx context.Context, s *server, secure bool, d time.Duration) (int, error) {
	var n atomic.Int64
	end := time.Now().Add(d)
	f := s.row.formOf(0)
	err := each(8, 8, func(int) error {
		for first := true; first || time.Now().Before(end); first = false {
			c, err := dial(ctx, s.row, s.addr, f, secure)
			if err != nil {
				return err
			}
			c.drop()
			n.Add(1)
		}
		return nil
	})
	return int(n.Load()), err
}

// drop resets the connection, so that no port waits for its TIME_WAIT to end.
func (c *conn) drop() {
	nc := c.Conn
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	nc.Close()
}
