package transporttest

import (
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/weftws/weft/transport"
)

func closedOnce(k *kit) {
	for _, who := range []string{"x", "y", "both"} {
		x, y := k.pair(hooks{}, hooks{})
		x.send(k.message(0, 10))
		if !y.waitGot(1) {
			k.fatalf("%s: the message has not come", y.name)
		}
		if who != "y" {
			_ = x.close(transport.StatusNormalClosure, "")
		}
		if who != "x" {
			_ = y.close(transport.StatusNormalClosure, "")
		}
		x.closedErr()
		y.closedErr()
		for _, e := range []*end{x, y} { // none of these may bring a second one
			_ = e.close(transport.StatusNormalClosure, "")
			_, _ = e.write([]transport.Message{k.message(1, 10)})
		}
	}
	k.rounds()
}

func closedLast(k *kit) {
	h := k.hold()
	x, y := k.pair(hooks{}, hooks{receive: func(*end, int, transport.Message) { h.wait() }})
	x.send(k.message(0, 10))
	if !y.waitEntered(1) {
		k.fatalf("%s: the message has not come", y.name)
	}
	_ = y.close(transport.StatusNormalClosure, "")
	_ = x.close(transport.StatusNormalClosure, "")
	k.rounds()
	h.release()
	y.closedErr()
}

func afterClosed(k *kit) {
	var wg sync.WaitGroup
	x, y := k.pair(hooks{}, hooks{})
	// Messages on their way when the end comes, in both directions.
	for _, e := range []*end{x, y} {
		wg.Go(func() {
			for i := range 10_000 {
				n, err := e.write([]transport.Message{k.message(i, 100)})
				if err != nil || n == 0 && !e.waitWritable() {
					return
				}
			}
		})
	}
	some := func(e *end) bool { return e.wait(func() bool { return e.bytes >= 1000 }) }
	if !some(x) || !some(y) {
		k.errorf("the first messages have not come")
	}
	_ = x.close(transport.StatusNormalClosure, "")
	x.closedErr()
	y.closedErr()
	wg.Wait()
	k.rounds()
}

func closedError(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	_ = x.close(transport.StatusNormalClosure, "")
	x.closedErr() // the receivers look at it themselves
	y.closedErr()
	if k.server.Cut != nil {
		x, y = k.pair(hooks{}, hooks{})
		k.cut(x)
		x.closedErr()
		y.closedErr()
	}
}

func closeReason(k *kit) {
	for _, want := range []transport.CloseError{
		{Code: transport.StatusNormalClosure},
		{Code: transport.StatusGoingAway, Reason: "bye"},
		{Code: transport.StatusBadGateway, Reason: "x"},
		{Code: 3000, Reason: "€"},
		{Code: 4999, Reason: strings.Repeat("é", 61) + "."},
	} {
		x, y := k.pair(hooks{}, hooks{})
		if err := x.close(want.Code, want.Reason); err != nil {
			k.fatalf("%s: Close failed: %v", x.name, err)
		}
		err := y.closedErr()
		if ce, ok := errors.AsType[*transport.CloseError](err); !ok || *ce != want {
			k.fatalf("%s: Closed got %v, want %v", y.name, err, &want)
		}
	}
}

// endedLocally expects that e ended because of its own Close.
func (k *kit) endedLocally(e *end, code transport.StatusCode) {
	err := e.closedErr()
	ee, ok := errors.AsType[*transport.EndError](err)
	if !ok || !errors.Is(err, transport.ErrLocalClose) || k.f.CloseCodes && ee.Code != code {
		k.fatalf("%s: Closed got %v, want an *EndError with status %d and ErrLocalClose", e.name, err, code)
	}
}

func closeLocal(k *kit) {
	for _, code := range []transport.StatusCode{transport.StatusNormalClosure, 4321} {
		x, y := k.pair(hooks{}, hooks{})
		_ = x.close(code, "done")
		k.endedLocally(x, code)
		y.closedErr()
	}
}

func closeDrains(k *kit) {
	h := k.hold()
	x, y := k.pair(hooks{}, hooks{receive: func(_ *end, i int, _ transport.Message) {
		if i == 0 {
			h.wait()
		}
	}})
	msgs := k.messages(300, func(i int) int { return 10 + i })
	n, err := x.write(msgs)
	if err != nil {
		k.fatalf("%s: Write failed: %v", x.name, err)
	}
	if err := x.close(transport.StatusGoingAway, "bye"); err != nil {
		k.fatalf("%s: Close failed: %v", x.name, err)
	}
	h.release()
	y.expect(msgs[:n])
	k.closedByPeer(y, transport.StatusGoingAway)
	y.expect(msgs[:n])
}

// closedByPeer expects the peer's close with that code.
func (k *kit) closedByPeer(e *end, code transport.StatusCode) {
	err := e.closedErr()
	if k.f.CloseCodes && transport.CloseStatus(err) != code {
		k.fatalf("%s: Closed got %v, want a *CloseError with status %d", e.name, err, code)
	}
}

func closeInReceive(k *kit) {
	for _, yields := range []bool{false, true} {
		if yields && !k.f.Yield {
			continue
		}
		x, y := k.pair(hooks{}, hooks{receive: func(e *end, i int, _ transport.Message) {
			if i > 0 {
				return
			}
			if yields {
				e.yield()
			}
			if err := e.close(4001, "in receive"); err != nil {
				k.errorf("%s: Close inside Receive failed: %v", e.name, err)
			}
		}})
		x.send(k.message(0, 10))
		k.closedByPeer(x, 4001)
		k.endedLocally(y, 4001)
	}
}

func closeInOpen(k *kit) {
	x, y := k.pair(hooks{open: func(e *end) {
		if err := e.close(4002, "in open"); err != nil {
			k.errorf("%s: Close inside Open failed: %v", e.name, err)
		}
	}}, hooks{})
	k.closedByPeer(y, 4002)
	k.endedLocally(x, 4002)
}

func closeDuringWrite(k *kit) {
	for round := range 5 {
		x, y := k.pair(hooks{}, hooks{})
		var taken []transport.Message
		writes := make(chan struct{})
		go func() {
			defer close(writes)
			for i := 0; ; i++ {
				msgs := []transport.Message{k.message(2*i, 100), k.message(2*i+1, 100+i%300)}
				n, err := x.write(msgs)
				taken = append(taken, msgs[:n]...)
				switch {
				case err == nil && n < len(msgs):
					if !x.waitWritable() {
						return
					}
				case err != nil && !errors.Is(err, net.ErrClosed):
					k.errorf("%s: Write beside Close returned %v, which does not unwrap to net.ErrClosed", x.name, err)
					return
				case err != nil:
					return
				}
			}
		}()
		y.waitGot(1 + 20*round)
		if err := x.close(4003, "beside a write"); err != nil {
			k.errorf("%s: Close beside Write failed: %v", x.name, err)
		}
		if !k.soon(writes) {
			k.fatalf("%s: Write goes on after Close", x.name)
		}
		y.expect(taken)
		k.closedByPeer(y, 4003)
		k.endedLocally(x, 4003)
		y.expect(taken)
	}
}

func closeUnanswered(k *kit) {
	for _, full := range []bool{false, true} {
		h := k.hold()
		x, y := k.pair(hooks{}, hooks{receive: func(*end, int, transport.Message) { h.wait() }})
		x.send(k.message(0, 10))
		if !y.waitEntered(1) {
			k.fatalf("%s: the message has not come", y.name)
		}
		if full {
			x.fill(1)
		}
		if err := x.close(transport.StatusGoingAway, "bye"); err != nil {
			k.fatalf("%s: Close failed: %v", x.name, err)
		}
		k.endedLocally(x, transport.StatusGoingAway) // y is still held up
		h.release()
		y.closedErr()
	}
}

func closeTwice(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	again := func(e *end, when string) {
		if err := e.close(4005, "again"); !errors.Is(err, net.ErrClosed) {
			k.errorf("%s: Close %s returned %v, which does not unwrap to net.ErrClosed", e.name, when, err)
		}
	}
	if err := x.close(4004, "first"); err != nil {
		k.fatalf("%s: Close failed: %v", x.name, err)
	}
	again(x, "after Close")
	k.closedByPeer(y, 4004)
	k.endedLocally(x, 4004)
	again(x, "after the end")
	again(y, "after the peer's")
}

func closeBoth(k *kit) {
	for range 10 {
		x, y := k.pair(hooks{}, hooks{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = x.close(4006, "x") })
		wg.Go(func() { _ = y.close(4007, "y") })
		wg.Wait()
		for _, e := range []struct {
			*end
			own, peers transport.StatusCode
		}{{x, 4006, 4007}, {y, 4007, 4006}} {
			err := e.closedErr()
			// Without codes the peer's close may look like the end of the network.
			if k.f.CloseCodes && transport.CloseStatus(err) != e.peers {
				k.endedLocally(e.end, e.own)
			}
		}
	}
}

func closeCheck(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	for _, bad := range []transport.CloseError{
		{Code: 0}, {Code: 999}, {Code: 1004}, {Code: 1005}, {Code: 1006}, {Code: 1015}, {Code: 2000}, {Code: 5000},
		{Code: 1000, Reason: strings.Repeat("x", transport.MaxCloseReason+1)},
		{Code: 1000, Reason: "\xff"},
	} {
		if err := x.close(bad.Code, bad.Reason); err == nil {
			k.errorf("%s: Close(%d, %q) returned no error", x.name, bad.Code, bad.Reason)
		}
	}
	m := k.message(0, 10)
	x.send(m)
	y.expect([]transport.Message{m})
	y.send(m)
	x.expect([]transport.Message{m})
	if err := x.close(4008, "good"); err != nil {
		k.fatalf("%s: a good Close after bad ones failed: %v", x.name, err)
	}
	k.closedByPeer(y, 4008)
}

func writeAfterEnd(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	late := func(e *end, when string) {
		n, err := e.write([]transport.Message{k.message(0, 10)})
		if n != 0 || !errors.Is(err, net.ErrClosed) {
			k.errorf("%s: Write %s took %d and returned %v, want 0 and an error that unwraps to net.ErrClosed",
				e.name, when, n, err)
		}
	}
	if err := x.close(transport.StatusNormalClosure, ""); err != nil {
		k.fatalf("%s: Close failed: %v", x.name, err)
	}
	late(x, "after Close")
	x.closedErr()
	y.closedErr()
	late(x, "after the end")
	late(y, "after the peer's close")
	if n := len(y.received()); n > 0 {
		k.errorf("%s: %d messages arrived, though none was taken", y.name, n)
	}
}
