package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

var queueScenario = &scenario{
	name: "queue",
	what: "messages of 128 B through one queue, each acknowledged by itself",
	how: "Producers send, without receipts, as long as few messages are on their way; consumers acknowledge what they " +
		"have, one ACK for each message, as often as they read. A message counts when it was acknowledged; one that comes twice " +
		"fails the row. Nothing is written to a disk.",
	columns: echoColumns,
	plans: func(b *bench) (plans []*plan) {
		cases := []queueCase{{b.most(10), b.most(100), 16}}
		if b.full {
			cases = append(cases, queueCase{b.most(10), b.most(100), 1}, queueCase{1, 1, 256})
		}
		for _, q := range cases {
			p := &plan{name: q.String(), conns: q.producers + q.consumers}
			for _, r := range b.rows {
				if r.Queue != nil {
					p.rows = append(p.rows, r)
				}
			}
			p.prepare = func(ctx context.Context, b *bench, r *row) (*ready, error) { return q.prepare(ctx, b, r) }
			plans = append(plans, p)
		}
		return plans
	},
}

type queueCase struct{ producers, consumers, prefetch int }

func (q queueCase) String() string {
	return fmt.Sprintf("%s, %s, prefetch %d", plural(q.producers, "producer"), plural(q.consumers, "consumer"), q.prefetch)
}

// queueLoad is the load of one case on one server.
type queueLoad struct {
	server    *server
	producers conns
	consumers conns
	frame     []byte        // of a producer
	window    int           // messages on their way
	tokens    chan struct{} // as many as may still be sent
	acked     atomic.Int64
	readers   sync.WaitGroup
	broken    chan struct{} // closed after failed is set
	once      sync.Once
	failed    error
}

// maxOnWay bounds the messages on their way. There are always some for every consumer.
const maxOnWay = 4096

func (q queueCase) prepare(ctx context.Context, b *bench, r *row) (*ready, error) {
	s, err := b.placement.startServer(ctx, r, false)
	if err != nil {
		return nil, err
	}
	window := min(2*q.consumers*q.prefetch, maxOnWay)
	l := &queueLoad{
		server: s, window: window, tokens: make(chan struct{}, window), broken: make(chan struct{}),
		frame: maskedFrame(stompMessage("SEND\ndestination:%s\n\n%s", r.Queue.Destination, publication)),
	}
	for range window {
		l.tokens <- struct{}{}
	}
	err = l.open(ctx, q)
	if err == nil {
		for _, c := range l.consumers {
			l.readers.Go(func() { l.consume(c) })
		}
		_, err = l.run(ctx, b.warm())
	}
	if err != nil {
		err = s.died(err)
		l.stop()
		return nil, err
	}
	return &ready{stop: l.stop, measure: func(ctx context.Context, d time.Duration) ([]float64, error) {
		messages := 0
		u, err := meter(s, func() (err error) {
			messages, err = l.run(ctx, d)
			return err
		})
		if err != nil {
			return nil, err
		}
		return u.per(messages), nil
	}}, nil
}

// open connects all, the consumers with their subscription.
func (l *queueLoad) open(ctx context.Context, q queueCase) (err error) {
	row := l.server.row
	hello := form{
		subprotocol: row.formOf(0).subprotocol, ready: "CONNECTED",
		hello: func(string) []message { return []message{{Type: "text", Data: row.Queue.Connect}} },
	}
	subscribing := hello
	subscribing.ready = "RECEIPT"
	subscribing.hello = func(string) []message {
		return append(hello.hello(""), stompMessage("SUBSCRIBE\nid:1\ndestination:%s\nack:client-individual\nprefetch-count:%d\nreceipt:1\n\n",
			row.Queue.Destination, q.prefetch))
	}
	if l.producers, err = l.dial(ctx, q.producers, hello); err == nil {
		l.consumers, err = l.dial(ctx, q.consumers, subscribing)
	}
	return err
}

func (l *queueLoad) dial(ctx context.Context, n int, f form) (conns, error) {
	cs := make(conns, n)
	return cs, each(min(n, 32), n, func(i int) error {
		c, err := dial(ctx, l.server.row, l.server.addr, f, false)
		if err != nil {
			return err
		}
		cs[i] = c
		if err := c.subscribe(""); err != nil {
			return err
		}
		return c.SetDeadline(time.Time{})
	})
}

// stop ends the connections, then the server.
func (l *queueLoad) stop() {
	l.fail(errors.New("stopped"))
	l.producers.close()
	l.consumers.close()
	l.readers.Wait()
	l.server.stop()
}

func (l *queueLoad) fail(err error) {
	l.once.Do(func() {
		l.failed = err
		close(l.broken)
	})
}

// run sends for d, then waits until all is acknowledged, and returns how many
// messages were.
func (l *queueLoad) run(ctx context.Context, d time.Duration) (int, error) {
	before := l.acked.Load()
	l.producers.setDeadline(time.Now().Add(d + patience))
	end := time.NewTimer(d)
	defer end.Stop()
	over := make(chan struct{})
	var producing sync.WaitGroup
	for _, c := range l.producers {
		producing.Go(func() { l.produce(c, over) })
	}
	var err error
	select {
	case <-end.C:
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.broken:
		err = l.failed
	}
	close(over)
	producing.Wait()
	if err != nil {
		return 0, err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for range l.window { // whoever has all tokens knows that nothing is on its way
		select {
		case <-l.tokens:
		case <-l.broken:
			return 0, l.failed
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-late.C:
			return 0, fmt.Errorf("messages are still not acknowledged after %v", patience)
		}
	}
	for range l.window {
		l.tokens <- struct{}{}
	}
	return int(l.acked.Load() - before), nil
}

// produce sends while there are tokens, a few messages at a time, until over.
func (l *queueLoad) produce(c *conn, over <-chan struct{}) {
	const batch = 16
	var buf []byte
	for {
		select {
		case <-over:
			return
		case <-l.tokens:
		}
		buf = append(buf[:0], l.frame...)
		for n := 1; n < batch && l.more(); n++ {
			buf = append(buf, l.frame...)
		}
		if _, err := c.Write(buf); err != nil {
			l.fail(fmt.Errorf("a producer: %w", err))
			return
		}
	}
}

// more takes a token if there is one.
func (l *queueLoad) more() bool {
	select {
	case <-l.tokens:
		return true
	default:
		return false
	}
}

// consume acknowledges all that comes, until c ends.
func (l *queueLoad) consume(c *conn) {
	in := bufio.NewReaderSize(c.Conn, 16<<10)
	var payload, acks []byte
	for {
		n := 0
		acks = acks[:0]
		for n == 0 || in.Buffered() > 0 {
			var err error
			if payload, err = readPayload(in, payload); err != nil {
				l.fail(fmt.Errorf("a consumer: %w", closedEarly(err)))
				return
			}
			if bytes.HasPrefix(payload, []byte("ERROR")) {
				l.fail(fmt.Errorf("a consumer is told: %s", firstLines(string(payload), 3)))
				return
			}
			var k int
			acks, k = appendAcks(acks, payload)
			n += k
		}
		if _, err := c.Write(acks); err != nil {
			l.fail(fmt.Errorf("a consumer: %w", err))
			return
		}
		l.acked.Add(int64(n))
		for range n {
			select {
			case l.tokens <- struct{}{}:
			default:
				l.fail(errors.New("more messages came than were sent"))
				return
			}
		}
	}
}

// appendAcks appends the ACKs of the messages in a payload, and returns how many. What
// ACK names is as the server has escaped it.
func appendAcks(dst, payload []byte) ([]byte, int) {
	n := 0
	for {
		_, rest, found := bytes.Cut(payload, []byte("\nack:"))
		if !found {
			return dst, n
		}
		id, rest, _ := bytes.Cut(rest, []byte("\n"))
		dst = appendMasked(dst, "text", append(append([]byte("ACK\nid:"), id...), "\n\n\x00"...))
		payload = rest
		n++
	}
}

// readPayload reads a frame of a server's into buf and returns what is in it.
func readPayload(in *bufio.Reader, buf []byte) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return buf, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(in, head[:2]); err != nil {
			return buf, err
		}
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return buf, err
		}
		n = binary.BigEndian.Uint64(head[:])
	}
	if n > 1<<20 {
		return buf, fmt.Errorf("a frame of %d bytes", n)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(in, buf[:n])
	return buf[:n], err
}
