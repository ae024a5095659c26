package transporttest

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
)

// stalled connects x to a y whose first Receive is held up.
func (k *kit) stalled() (x, y *end, h *hold, first transport.Message) {
	h = k.hold()
	x, y = k.pair(hooks{}, hooks{receive: func(_ *end, i int, _ transport.Message) {
		if i == 0 {
			h.wait()
		}
	}})
	first = k.message(0, 10)
	x.send(first)
	if !y.waitEntered(1) {
		k.fatalf("%s: the first message has not come", y.name)
	}
	return x, y, h, first
}

func writeNeverWaits(k *kit) {
	x, y, h, first := k.stalled()
	want := append([]transport.Message{first}, x.fill(1)...)
	h.release()
	y.expect(want)
}

func writableComes(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	// A Write that runs while its peer makes room meets a Writable that comes early
	// sooner or later, for the next Write follows at once.
	msgs := k.messages(64, func(i int) int { return 30_000 + 1000*i })
	for range 4 {
		if x.send(msgs...) < len(msgs) {
			return
		}
	}
	y.expect(slices.Repeat(msgs, 4))

	x, y, h, first := k.stalled()
	want := append([]transport.Message{first}, x.fill(1)...)
	h.release()
	if !x.waitWritable() {
		return
	}
	x.send(msgs...)
	y.expect(append(want, msgs...))
}

func writableOnce(k *kit) {
	x, y, h, first := k.stalled()
	want := append([]transport.Message{first}, x.fill(1)...)
	big := k.message(1, 16<<10)
	for range 3 { // each of them may be short, or may be taken by what little room came meanwhile
		n, err := x.write([]transport.Message{big})
		if err != nil {
			k.fatalf("%s: Write failed: %v", x.name, err)
		}
		if n > 0 {
			want = append(want, big)
		}
	}
	h.release()
	y.expect(want)
	if !x.waitWritable() {
		return
	}
	k.rounds()
	last := k.message(2, 10) // a second cycle must not find what is left of the first
	x.send(last)
	y.expect(append(want, last))
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.writables != x.shorts {
		k.errorf("%s: Writable came %d times for %d short Writes", x.name, x.writables, x.shorts)
	}
}

func writableInReceive(k *kit) {
	h, short := k.hold(), make(chan struct{})
	x, y := k.pair(hooks{receive: func(e *end, i int, _ transport.Message) {
		if i > 0 {
			return
		}
		e.fill(1)
		close(short)
		if !e.wait(func() bool { return e.writables >= e.shorts }) {
			k.errorf("%s: Writable has not come while Receive ran", e.name)
		}
	}}, hooks{receive: func(_ *end, i int, _ transport.Message) {
		if i == 0 {
			h.wait()
		}
	}})
	x.send(k.message(0, 10))
	if !y.waitEntered(1) {
		k.fatalf("%s: the first message has not come", y.name)
	}
	y.send(k.message(0, 10))
	if !k.soon(short) {
		k.fatalf("%s: the message has not come", x.name)
	}
	h.release()
	if !x.idle() {
		k.errorf("%s: Receive has not returned", x.name)
	}
}

func exactlyOnce(k *kit) {
	// y is held up again and again, so that a Write is cut short at many places.
	var mu sync.Mutex
	var now *hold // where the next Receive is held up
	x, y := k.pair(hooks{}, hooks{receive: func(*end, int, transport.Message) {
		mu.Lock()
		h := now
		mu.Unlock()
		if h != nil {
			h.wait()
		}
	}})
	var taken []transport.Message
	for range 4 {
		if !y.idle() { // else the Receive before this one might find the new hold
			k.fatalf("%s: Receive has not returned", y.name)
		}
		h := k.hold()
		mu.Lock()
		now = h
		mu.Unlock()
		before := len(y.received())
		m := k.message(len(taken), 10)
		if x.send(m) < 1 {
			return
		}
		taken = append(taken, m)
		if !y.waitEntered(before + 1) {
			k.fatalf("%s: message %d has not come", y.name, len(taken))
		}
		taken = append(taken, x.fill(len(taken))...)
		mu.Lock()
		now = nil
		mu.Unlock()
		h.release()
		if !x.waitWritable() {
			return
		}
		y.expect(taken)
	}
	last := k.message(len(taken), 10)
	x.send(last)
	y.expect(append(taken, last))
}

func yield(k *kit) {
	const first = 5 // Receives that yield and run on
	h, asked := k.hold(), make(chan struct{})
	x, y := k.pair(hooks{}, hooks{receive: func(e *end, i int, _ transport.Message) {
		switch {
		case i >= first:
			return
		case i == 0:
			if !e.yield() {
				k.errorf("%s: Yield inside Receive returned false", e.name)
			}
			if e.yield() { // there is no other Receive that it could count for
				k.errorf("%s: a second Yield inside the same Receive returned true", e.name)
			}
			close(asked)
		case i == 1: // any goroutine may call it
			var wg sync.WaitGroup
			wg.Go(func() { e.yield() })
			wg.Wait()
		default:
			e.yield()
		}
		h.wait()
	}})
	msgs := k.messages(200, func(i int) int { return 100 + i })
	x.send(msgs[0])
	if !k.soon(asked) {
		k.fatalf("%s: Yield has not returned", y.name)
	}
	x.send(msgs[1:]...)
	y.expect(msgs) // while the first ones run
	h.release()
}

func yieldOutside(k *kit) {
	no := func(e *end, when string) {
		if e.yield() {
			k.errorf("%s: Yield %s returned true", e.name, when)
		}
	}
	x, y := k.pair(hooks{open: func(e *end) { no(e, "inside Open") }}, hooks{})
	no(y, "before the first message")
	m := k.messages(2, func(int) int { return 10 })
	x.send(m...)
	y.expect(m)
	_ = x.close(transport.StatusNormalClosure, "")
	x.closedErr()
	y.closedErr()
	no(x, "after the end")
	no(y, "after the end")
}

func pause(k *kit) {
	inside := make(chan struct{})
	x, y := k.pair(hooks{}, hooks{receive: func(e *end, i int, _ transport.Message) {
		if i == 0 {
			k.pauser(e).Pause()
			close(inside)
		}
	}})
	p := k.pauser(y)
	p.Resume() // without a pause it does nothing
	msgs := k.messages(30, func(i int) int { return 20 + i })
	paused := func(from, to int) {
		before := max(len(y.received()), 1) // the first Receive is the one that pauses
		x.send(msgs[from:to]...)
		k.rounds()
		if n := len(y.received()); n > before {
			k.fatalf("%s: Receive was called %d times between Pause and Resume", y.name, n-before)
		}
	}
	paused(0, 5)
	if !k.soon(inside) {
		k.fatalf("%s: the first message has not come", y.name)
	}
	p.Resume()
	y.expect(msgs[:5])
	p.Pause()
	p.Pause() // is one pause
	paused(5, 20)
	p.Resume()
	y.expect(msgs[:20])

	p.Pause() // a close waits behind the messages
	paused(20, 30)
	_ = x.close(4009, "bye")
	p.Resume()
	y.expect(msgs)
	k.closedByPeer(y, 4009)

	x, y = k.pair(hooks{}, hooks{})
	k.pauser(y).Pause()
	_ = y.close(transport.StatusNormalClosure, "") // a paused side may close
	k.endedLocally(y, transport.StatusNormalClosure)
	x.closedErr()
}

func (k *kit) pauser(e *end) transport.Pauser {
	p, ok := transport.As[transport.Pauser](e.connection())
	if !ok {
		k.errorf("%s: the Conn is no Pauser", e.name)
		return noPauser{}
	}
	return p
}

type noPauser struct{}

func (noPauser) Pause()  {}
func (noPauser) Resume() {}

func (k *kit) ping(ctx context.Context, e *end) (time.Duration, error) {
	p, ok := transport.As[transport.Pinger](e.connection())
	if !ok {
		k.errorf("%s: the Conn is no Pinger", e.name)
		return 0, nil
	}
	return p.Ping(ctx)
}

// pingOnce expects that a ping is answered.
func (k *kit) pingOnce(e *end) {
	ctx, cancel := k.context()
	defer cancel()
	start := time.Now()
	d, err := k.ping(ctx, e)
	switch most := time.Since(start); {
	case err != nil:
		k.errorf("%s: Ping failed: %v", e.name, err)
	case d < 0 || d > most:
		k.errorf("%s: Ping measured %v in a call of %v", e.name, d, most)
	}
}

func ping(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	k.pingOnce(x)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { k.pingOnce(x) })
		wg.Go(func() { k.pingOnce(y) })
	}
	msgs := k.messages(100, func(i int) int { return 10 + 100*i })
	x.send(msgs...) // pings go between messages, not into them
	wg.Wait()
	y.expect(msgs)
	if r, ok := transport.As[transport.RoundTripTimer](x.connection()); ok && r.RoundTrip() < 0 {
		k.errorf("%s: RoundTrip is %v", x.name, r.RoundTrip())
	}
}

func pingWhileYielded(k *kit) {
	h, yielded := k.hold(), make(chan struct{})
	x, y := k.pair(hooks{}, hooks{receive: func(e *end, _ int, _ transport.Message) {
		if !e.yield() {
			k.errorf("%s: Yield inside Receive returned false", e.name)
		}
		close(yielded)
		h.wait()
	}})
	x.send(k.message(0, 10))
	if !k.soon(yielded) {
		k.fatalf("%s: the message has not come", y.name)
	}
	k.pingOnce(x)
	k.pingOnce(y)
	h.release()
}

func pingEnds(k *kit) {
	h := k.hold()
	x, y := k.pair(hooks{}, hooks{receive: func(*end, int, transport.Message) { h.wait() }})
	x.send(k.message(0, 10))
	if !y.waitEntered(1) {
		k.fatalf("%s: the message has not come", y.name)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	done := k.guard(rulePingEnds, x.name+": Ping with a context that has ended")
	_, _ = k.ping(ended, x)
	done()

	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		// An event loop may answer before the end comes.
		if _, err := k.ping(context.Background(), x); err != nil && !errors.Is(err, net.ErrClosed) {
			k.errorf("%s: Ping returned %v, which does not unwrap to net.ErrClosed", x.name, err)
		}
	}()
	_ = x.close(transport.StatusNormalClosure, "")
	x.closedErr()
	if !k.soon(pinged) {
		k.errorf("%s: Ping has not returned after the end of the connection", x.name)
	}
	h.release()
	y.closedErr()
	for _, e := range []*end{x, y} {
		if _, err := k.ping(context.Background(), e); !errors.Is(err, net.ErrClosed) {
			k.errorf("%s: Ping after the end returned %v, which does not unwrap to net.ErrClosed", e.name, err)
		}
	}
}
