package transporttest

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/weftws/weft/transport"
)

func openFirst(k *kit) {
	msgs := k.messages(3, func(i int) int { return 10 * i })
	taken := 0
	x, y := k.pair(hooks{open: func(e *end) {
		var err error
		if taken, err = e.write(msgs); err != nil {
			k.errorf("%s: Write inside Open failed: %v", e.name, err)
		}
	}}, hooks{})
	x.send(msgs[taken:]...)
	y.expect(msgs)
	y.send(msgs...)
	x.expect(msgs)
}

func order(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	msgs := k.messages(2000, func(i int) int { return 8 + i%97 })
	for i, n := 0, 1; i < len(msgs); n = n%13 + 1 {
		part := msgs[i:min(i+n, len(msgs))]
		if x.send(part...) < len(part) {
			return
		}
		i += len(part)
	}
	y.expect(msgs)
}

// types are those that the implementation carries.
func (k *kit) types() []transport.MessageType {
	var ts []transport.MessageType
	if k.f.Text {
		ts = append(ts, transport.MessageText)
	}
	if k.f.Binary {
		ts = append(ts, transport.MessageBinary)
	}
	return ts
}

func intact(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	var msgs []transport.Message
	for _, size := range []int{
		0, 1, 124, 125, 126, 127, 128, 4095, 4096, 4097, 65535, 65536, 65537,
		defaultMaxMessage - 1, defaultMaxMessage, 0, 3,
	} {
		for _, t := range k.types() {
			msgs = append(msgs, k.typed(t, len(msgs), size))
		}
	}
	for _, m := range msgs { // one for one: a size must not depend on its neighbours
		if x.send(m) < 1 {
			return
		}
	}
	y.expect(msgs)
}

func head(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	var msgs []transport.Message
	for _, h := range []int{0, 1, 5, 125, 130, 70_000} {
		for _, d := range []int{0, 1, 120, 126, 5000, 70_000} {
			m := k.message(len(msgs), h+d)
			m.Head, m.Data = m.Data[:h:h], m.Data[h:]
			msgs = append(msgs, m)
		}
	}
	x.send(msgs...)
	y.expect(msgs)
}

func shared(k *kit) {
	const conns = 3
	for i, size := range []int{0, 5, 200, 5000, 70_000} {
		for _, t := range k.types() {
			orig := k.typed(t, i, size)
			s := transport.NewShared(t, bytes.Clone(orig.Data))
			var ends [conns]struct{ x, y *end }
			for j := range ends {
				// The receiver may change what it gets; that must not show either.
				ends[j].x, ends[j].y = k.pair(hooks{}, hooks{scribbles: true, receive: scribble})
			}
			want := func(j int) []transport.Message {
				h := k.typed(t, j, 40).Data
				return []transport.Message{s.Message(nil), s.Message(h), s.Message(h[:3]), k.typed(t, j, 7), s.Message(nil)}
			}
			var wg sync.WaitGroup
			for j := range ends {
				wg.Go(func() { ends[j].x.send(want(j)...) })
			}
			wg.Wait()
			for j := range ends {
				ends[j].y.expect(want(j))
			}
			if !bytes.Equal(s.Data(), orig.Data) {
				k.fatalf("the bytes of a Shared of %d bytes were changed", size)
			}
		}
	}
}

func scribble(_ *end, _ int, m transport.Message) {
	for i := range m.Data {
		m.Data[i] = '#'
	}
}

func writeCopies(k *kit) {
	h := k.hold()
	x, y := k.pair(hooks{}, hooks{receive: func(_ *end, i int, _ transport.Message) {
		if i == 0 {
			h.wait()
		}
	}})
	var want []transport.Message
	for i, size := range []int{10, 20, 200, 5000, 70_000, 30, 300_000, 40} {
		m := k.message(i, size)
		want = append(want, transport.Message{Type: m.Type, Data: bytes.Clone(m.Data)})
		m.Head, m.Data = m.Data[:size/3:size/3], m.Data[size/3:]
		batch := []transport.Message{m}
		n, err := x.write(batch)
		if err != nil {
			k.fatalf("%s: Write failed: %v", x.name, err)
		}
		if n == 0 {
			want = want[:i] // no room while y is held up: what was taken is enough
			break
		}
		// A copy of the description would do the same harm as one of the bytes.
		batch[0] = transport.Message{Type: m.Type, Data: []byte("#")}
		for _, b := range [][]byte{m.Head, m.Data} {
			for j := range b {
				b[j] = '#'
			}
		}
	}
	h.release()
	y.expect(want)
}

func dataValid(k *kit) {
	for _, size := range []int{20, 300, 5000} {
		h := k.hold()
		x, y := k.pair(hooks{}, hooks{receive: func(_ *end, i int, _ transport.Message) {
			if i == 0 {
				h.wait()
			}
		}})
		msgs := k.messages(6, func(int) int { return size })
		x.send(msgs[0])
		if !y.waitEntered(1) {
			k.fatalf("%s: the first message has not come", y.name)
		}
		x.send(msgs[1:]...)
		k.rounds()
		h.release()
		y.expect(msgs)
		if !y.idle() {
			k.fatalf("%s: Receive has not returned", y.name)
		}
	}
}

func dataOwn(k *kit) {
	for _, size := range []int{0, 30, 300, 5000} {
		x, y := k.pair(hooks{}, hooks{scribbles: true, receive: func(_ *end, _ int, m transport.Message) {
			room := m.Data[:cap(m.Data)]
			for i := range room {
				room[i] = '#'
			}
		}})
		msgs := k.messages(20, func(i int) int { return size + i })
		x.send(msgs...) // together, so that one read may bring several
		y.expect(msgs)
	}
}

func oneReceive(k *kit) {
	h := k.hold()
	x, y := k.pair(hooks{}, hooks{receive: func(_ *end, i int, _ transport.Message) {
		if i < 2 {
			h.wait()
		}
	}})
	msgs := k.messages(50, func(int) int { return 30 })
	x.send(msgs[0])
	x.send(msgs[1:]...)
	k.rounds()
	h.release()
	y.expect(msgs)
}

func duplex(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	msgs := k.messages(300, func(i int) int { return 50 + 37*i })
	var wg sync.WaitGroup
	wg.Go(func() { x.send(msgs...) })
	wg.Go(func() { y.send(msgs...) })
	wg.Wait()
	y.expect(msgs)
	x.expect(msgs)
}

func badType(k *kit) {
	x, y := k.pair(hooks{}, hooks{})
	bad := []transport.MessageType{0, 77}
	if !k.f.Text {
		bad = append(bad, transport.MessageText)
	}
	if !k.f.Binary {
		bad = append(bad, transport.MessageBinary)
	}
	var want []transport.Message
	for i, t := range bad {
		good := k.message(2*i, 10)
		batch := []transport.Message{good, {Type: t, Data: []byte("x")}, k.message(9, 9)}
		n, err := x.write(batch)
		for err == nil && n < 2 { // there was no room for the good one, or behind it
			if !x.waitWritable() {
				return
			}
			var more int
			more, err = x.write(batch[n:])
			n += more
		}
		if n != 1 {
			k.fatalf("%s: of a good message, one of type %d and a good one Write took %d", x.name, t, n)
		}
		if errors.Is(err, net.ErrClosed) {
			k.fatalf("%s: Write of a message of type %d returned the error %v", x.name, t, err)
		}
		after := k.message(2*i+1, 20)
		x.send(after)
		want = append(want, good, after)
	}
	y.expect(want)
}

func invalidText(k *kit) {
	for _, bad := range []string{"\xff", "whole \xe2\x82", "\xed\xa0\x80", "a\xc0\x80b"} {
		x, y := k.pair(hooks{}, hooks{})
		good := k.typed(transport.MessageText, 0, 20)
		good.Data = append(good.Data, "é€😀"...)
		x.send(good)
		y.expect([]transport.Message{good})
		x.send(transport.Message{Type: transport.MessageText, Data: []byte(bad)}) // Write trusts what goes out
		k.endedFor(x, y, transport.StatusInvalidPayloadData)
		if n := len(y.received()); n > 1 {
			k.fatalf("%s: %q was received", y.name, bad)
		}
	}
}

// endedFor expects that y ended the connection with that code.
func (k *kit) endedFor(x, y *end, code transport.StatusCode) {
	err := y.closedErr()
	e, ok := errors.AsType[*transport.EndError](err)
	if !ok || e.Code != code {
		k.fatalf("%s: Closed got %v, want an *EndError with status %d", y.name, err, code)
	}
	err = x.closedErr()
	if got := transport.CloseStatus(err); k.f.CloseCodes && got != code {
		k.fatalf("%s: Closed got %v, want a *CloseError with status %d", x.name, err, code)
	}
}

func limit(k *kit) {
	for _, over := range []int{1, 1000} {
		x, y := k.pair(hooks{}, hooks{})
		var largest []transport.Message
		for i, h := range []int{0, 10, smallLimit} {
			m := k.message(i, smallLimit)
			m.Head, m.Data = m.Data[:h:h], m.Data[h:]
			largest = append(largest, m)
		}
		x.send(largest...)
		y.expect(largest)
		m := k.message(5, smallLimit+over)
		m.Head, m.Data = m.Data[:20:20], m.Data[20:]
		x.send(m)
		k.endedFor(x, y, transport.StatusMessageTooBig)
		if err := y.closedErr(); !errors.Is(err, transport.ErrMessageTooBig) {
			k.fatalf("%s: Closed got %v, which is not ErrMessageTooBig", y.name, err)
		}
		if got := y.received(); slices.ContainsFunc(got, func(m transport.Message) bool { return len(m.Data) > smallLimit }) {
			k.fatalf("%s: a message over the limit was received", y.name)
		}
	}
}
