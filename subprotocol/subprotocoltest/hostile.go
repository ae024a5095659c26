package subprotocoltest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func checkHeartbeats(k *kit) error {
	_, ss, err := k.open()
	if err != nil {
		return err
	}
	for _, s := range ss {
		for _, times := range []int{1, 3, 100} {
			p, err := k.pair(subprotocol.FramerConfig{})
			if err != nil {
				return err
			}
			_, reader := p.ends(s.FromServer)
			if times > 1 && (s.Message.Kind != subprotocol.KindHeartbeat || reader.Features().Boundaries) {
				continue
			}
			got, err := decode(reader, transport.Message{Type: s.wire.Type, Data: bytes.Repeat(s.wire.Data, times)})
			if err != nil {
				return err
			}
			n := 0
			for _, m := range got {
				if m.Kind == subprotocol.KindHeartbeat {
					n++
				}
			}
			if n > 1 {
				return fmt.Errorf("one Decode of %d heartbeats emitted %d", times, n)
			}
			if s.Message.Kind == subprotocol.KindHeartbeat && n == 0 {
				return fmt.Errorf("one Decode of %d heartbeats emitted none", times)
			}
		}
	}
	return nil
}

func checkChunks(k *kit) error {
	first, ss, err := k.open()
	if err != nil {
		return err
	}
	if first.server.Features().Boundaries {
		return nil
	}
	for _, fromServer := range []bool{false, true} {
		// All in one piece, and in pieces of one size.
		w, want := stream(ss, fromServer)
		for _, size := range []int{len(w.Data), 1, 2, 7} {
			if err := k.chunked(fromServer, w, want, size, size); err != nil {
				return err
			}
		}
		// In two pieces, at every place; without the long ones, for speed.
		w, want = stream(slices.DeleteFunc(slices.Clone(ss), func(s sample) bool {
			return len(s.wire.Data) > 512
		}), fromServer)
		for i := range w.Data {
			if err := k.chunked(fromServer, w, want, i, len(w.Data)); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunked has w read in one piece of the size first and others of the size next.
func (k *kit) chunked(fromServer bool, w transport.Message, want []*subprotocol.Message, first, next int) error {
	p, err := k.pair(subprotocol.FramerConfig{})
	if err != nil {
		return err
	}
	_, reader := p.ends(fromServer)
	var got []*subprotocol.Message
	size := first
	for rest := w.Data; len(rest) > 0; size = next {
		part := rest[:min(size, len(rest))]
		rest = rest[len(part):]
		ms, err := decode(reader, transport.Message{Type: w.Type, Data: part})
		if err != nil {
			return fmt.Errorf("cut at %d and then every %d: %w", first, next, err)
		}
		got = append(got, ms...)
	}
	if err := compare(want, got); err != nil {
		return fmt.Errorf("cut at %d and then every %d: %w", first, next, err)
	}
	return nil
}

// The frame limit of the rules about it, and bodies that are far over it.
const (
	smallLimit = 4 << 10
	bigBody    = 64 << 10
)

func checkPartial(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	if _, ok := p.server.(subprotocol.Partialer); !ok {
		return nil
	}
	for _, s := range ss {
		p, err := k.pair(subprotocol.FramerConfig{})
		if err != nil {
			return err
		}
		_, reader := p.ends(s.FromServer)
		partial := reader.(subprotocol.Partialer).Partial
		if n := partial(); n != 0 {
			return fmt.Errorf("Partial is %d before the first frame", n)
		}
		for i, b := range s.wire.Data {
			if n := partial(); n < 0 || n > i {
				return fmt.Errorf("Partial is %d after %d bytes", n, i)
			} else if n == 0 && i > 0 && i == len(s.wire.Data)-1 && len(s.wire.Data) > 4 {
				return fmt.Errorf("Partial is 0 one byte before the end of %q", short(s.wire.Data))
			}
			if _, err := decode(reader, transport.Message{Type: s.wire.Type, Data: []byte{b}}); err != nil {
				return err
			}
		}
		if n := partial(); n != 0 {
			return fmt.Errorf("Partial is %d after the end of %q", n, short(s.wire.Data))
		}
	}
	for _, fromServer := range []bool{false, true} {
		m := withBody(ss, fromServer, bytes.Repeat([]byte("x"), bigBody))
		if m == nil {
			continue
		}
		p, err := k.pair(subprotocol.FramerConfig{MaxFrame: smallLimit})
		if err != nil {
			return err
		}
		sender, reader := p.ends(fromServer)
		w, err := encode(sender, m)
		if err != nil {
			return err
		}
		for rest := w.Data; len(rest) > 0; {
			part := rest[:min(100, len(rest))]
			rest = rest[len(part):]
			_, err := decode(reader, transport.Message{Type: w.Type, Data: part})
			if n := reader.(subprotocol.Partialer).Partial(); n > smallLimit+len(part) {
				return fmt.Errorf("Partial is %d with a limit of %d", n, smallLimit)
			}
			if err != nil {
				break
			}
		}
	}
	return nil
}

func checkMaxFrame(k *kit) error {
	_, ss, err := k.open()
	if err != nil {
		return err
	}
	for _, fromServer := range []bool{false, true} {
		for _, whole := range []bool{true, false} {
			for _, limit := range []int{smallLimit, 4 * bigBody} {
				m := withBody(ss, fromServer, bytes.Repeat([]byte("x"), bigBody))
				if m == nil {
					continue
				}
				p, err := k.pair(subprotocol.FramerConfig{MaxFrame: limit})
				if err != nil {
					return err
				}
				sender, reader := p.ends(fromServer)
				w, err := encode(sender, m)
				if err != nil {
					return err
				}
				size := len(w.Data)
				if !whole {
					if reader.Features().Boundaries {
						continue
					}
					size = 1000
				}
				var got []*subprotocol.Message
				for rest := w.Data; len(rest) > 0 && err == nil; {
					part := rest[:min(size, len(rest))]
					rest = rest[len(part):]
					var ms []*subprotocol.Message
					ms, err = decode(reader, transport.Message{Type: w.Type, Data: part})
					got = append(got, ms...)
				}
				if err := judgeLimit(limit, len(w.Data), got, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// judgeLimit says whether a frame of n bytes was rightly taken or refused.
func judgeLimit(limit, n int, got []*subprotocol.Message, err error) error {
	if n <= limit {
		if err != nil || len(got) != 1 {
			return fmt.Errorf("a frame of %d bytes under the limit of %d: %d messages, error %s", n, limit, len(got), fmt.Sprint(err))
		}
		return nil
	}
	se, ok := errors.AsType[*subprotocol.Error](err)
	switch {
	case err == nil:
		return fmt.Errorf("a frame of %d bytes over the limit of %d is no error", n, limit)
	case !ok:
		return fmt.Errorf("a frame over the limit is a %T: %w", err, err)
	case !se.Fatal || se.Status != transport.StatusMessageTooBig:
		return fmt.Errorf("a frame over the limit: fatal %t, status %d", se.Fatal, se.Status)
	case len(got) != 0:
		return fmt.Errorf("a frame over the limit emitted %s", show(got...))
	}
	return nil
}

func checkHostile(k *kit) error {
	_, ss, err := k.open()
	if err != nil {
		return err
	}
	// try gives all parts to a framer of their own; the first error ends it.
	try := func(atClient bool, parts ...transport.Message) error {
		p, err := k.pair(subprotocol.FramerConfig{MaxFrame: 1 << 20})
		if err != nil {
			return err
		}
		_, reader := p.ends(atClient)
		for _, w := range parts {
			var derr error
			if err := guard(func() error { _, derr = decode(reader, w); return nil }); err != nil {
				return fmt.Errorf("Decode(%v, %q): %w", w.Type, short(w.Data), err)
			}
			if derr == nil {
				continue
			}
			se, ok := errors.AsType[*subprotocol.Error](derr)
			if !ok {
				return fmt.Errorf("Decode(%v, %q): the error is a %T: %w", w.Type, short(w.Data), derr, derr)
			}
			if se.Code == "" || se.Text == "" {
				return fmt.Errorf("Decode(%v, %q): the error has the code %q and the text %q", w.Type, short(w.Data), se.Code, se.Text)
			}
			if se.Fatal {
				break
			}
		}
		return nil
	}
	for _, s := range ss {
		data := s.wire.Data
		if len(data) > 512 {
			continue
		}
		for i := range data {
			if err := try(s.FromServer, transport.Message{Type: s.wire.Type, Data: data[:i]}, s.wire); err != nil {
				return err
			}
			for bit := range 8 {
				flipped := bytes.Clone(data)
				flipped[i] ^= 1 << bit
				if err := try(s.FromServer, transport.Message{Type: s.wire.Type, Data: flipped}, s.wire); err != nil {
					return err
				}
			}
		}
		if err := try(!s.FromServer, s.wire, s.wire); err != nil {
			return fmt.Errorf("to the wrong side: %w", err)
		}
	}
	// The same noise in every run: a failure can be seen again.
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		noise := make([]byte, random.IntN(64))
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		if err := try(i%2 == 0, transport.Message{Type: transport.MessageType(i % 3), Data: noise}, ss[0].wire); err != nil {
			return err
		}
	}
	for b := range 256 {
		for _, n := range []int{1, 4 << 10} {
			one := transport.Message{Type: transport.MessageBinary, Data: bytes.Repeat([]byte{byte(b)}, n)}
			if err := try(b%2 == 0, one); err != nil {
				return err
			}
		}
	}
	return nil
}
