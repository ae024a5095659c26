package subprotocoltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

var rules = []rule{
	{Rule{"names", "Names are constant, are tokens (RFC 7230), and none stands twice."}, checkNames},
	{Rule{"features", "Features are constant, and the same on both sides."}, checkFeatures},
	{Rule{"round-trip", "What one side appends the other side decodes as the same message, in order."}, checkRoundTrip},
	{Rule{"valid", "A valid transcript is read as its messages."}, checkValid},
	{Rule{"invalid", "An invalid transcript ends with a *subprotocol.Error of its code."}, checkInvalid},
	{Rule{"append-prefix", "Append keeps the first len(dst) bytes and writes behind them, whatever the capacity."}, checkAppendPrefix},
	{Rule{"append-message", "Append does not change the message that it encodes."}, checkAppendMessage},
	{Rule{"append-keeps", "Append keeps nothing of dst or of the message."}, checkAppendKeeps},
	{Rule{"append-concurrent", "Append runs on any goroutine and beside Decode, and gives the same bytes."}, checkAppendConcurrent},
	{Rule{"unsupported", "A message without a wire form is an error, and dst is returned as it was."}, checkUnsupported},
	{Rule{"wire-type", "What goes out is text or binary, text is UTF-8, and there is only text where the transport has no other."}, checkWireType},
	{Rule{"form", "A form is comparable, constant and of the sub-protocol's own type; equal forms encode alike."}, checkForm},
	{Rule{"split", "Head and then tail are what Append writes, and the tail is the same for all subscriptions."}, checkSplit},
	{Rule{"emit-error", "An error of Emit ends Decode at once and is returned unchanged."}, checkEmitError},
	{Rule{"emit-stable", "A message does not change before Emit returns, whatever else the framer does meanwhile."}, checkEmitStable},
	{Rule{"decode-keeps", "Decode keeps nothing of the transport message that it read."}, checkDecodeKeeps},
	{Rule{"heartbeats", "One Decode emits one Heartbeat at most."}, checkHeartbeats},
	{Rule{"chunks", "Without boundaries, frames may be cut and joined anywhere, and the messages are the same."}, checkChunks},
	{Rule{"partial", "Partial is the bytes of an incomplete frame: none between frames, and bounded by the frame limit."}, checkPartial},
	{Rule{"max-frame", "A frame over MaxFrame is a fatal *subprotocol.Error with status 1009, a smaller one is not."}, checkMaxFrame},
	{Rule{"hostile", "Decode never panics, and what breaks the wire format is a *subprotocol.Error."}, checkHostile},
	{Rule{"independent", "A framer has the state of one connection only; framers are made and used at the same time."}, checkIndependent},
}

func checkNames(k *kit) error {
	names := k.sub.Names()
	for i, name := range names {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
		}) {
			return fmt.Errorf("%q is no token", name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%q stands twice", name)
		}
	}
	names = slices.Clone(names)
	for range 3 {
		if again := k.sub.Names(); !slices.Equal(names, again) {
			return fmt.Errorf("the names were %q, then %q", names, again)
		}
	}
	return nil
}

func checkFeatures(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	want := p.server.Features()
	for _, s := range ss {
		if c, s := p.client.Features(), p.server.Features(); c != want || s != want {
			return fmt.Errorf("the features were %+v, then %+v at the client and %+v at the server", want, c, s)
		}
		_, reader := p.ends(s.FromServer)
		_, _ = decode(reader, s.wire)
	}
	return nil
}

func checkRoundTrip(k *kit) error {
	for _, textOnly := range k.textOnly() {
		cfg := subprotocol.FramerConfig{TextOnly: textOnly}
		p, err := k.pair(cfg)
		if err != nil {
			return err
		}
		// All of one direction first: the order must survive.
		for _, fromServer := range []bool{false, true} {
			sender, reader := p.ends(fromServer)
			for _, s := range k.samples(p, cfg) {
				if s.FromServer != fromServer {
					continue
				}
				w, err := encode(sender, s.Message)
				if err != nil {
					return err
				}
				if err := arrives(reader, sample{s, w}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// read has a transcript read by the side that it is for.
func (k *kit) read(t Transcript) ([]*subprotocol.Message, error) {
	p, err := k.pair(subprotocol.FramerConfig{})
	if err != nil {
		return nil, err
	}
	_, reader := p.ends(t.AtClient)
	var got []*subprotocol.Message
	for _, w := range t.Input {
		ms, err := decode(reader, w)
		got = append(got, ms...)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

func checkValid(k *kit) error {
	for _, t := range k.Valid {
		got, err := k.read(t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if err := compare(t.Want, got); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}

func checkInvalid(k *kit) error {
	for _, t := range k.Invalid {
		got, err := k.read(t)
		if err == nil {
			return fmt.Errorf("%s: no error; messages: %s", t.Name, show(got...))
		}
		se, ok := errors.AsType[*subprotocol.Error](err)
		if !ok {
			return fmt.Errorf("%s: the error is a %T: %w", t.Name, err, err)
		}
		if t.Code != "" && se.Code != t.Code {
			return fmt.Errorf("%s: the code is %q, not %q", t.Name, se.Code, t.Code)
		}
		if err := compare(t.Want, got); err != nil {
			return fmt.Errorf("%s: before the error: %w", t.Name, err)
		}
	}
	return nil
}

func checkEmitError(k *kit) error {
	want := errors.New("nothing more is wanted")
	for _, joined := range []bool{false, true} {
		_, ss, err := k.open()
		if err != nil {
			return err
		}
		for _, s := range ss {
			p, err := k.pair(subprotocol.FramerConfig{})
			if err != nil {
				return err
			}
			_, reader := p.ends(s.FromServer)
			w := s.wire
			if joined {
				if reader.Features().Boundaries {
					break
				}
				if w, _ = stream(ss, s.FromServer); len(w.Data) == 0 {
					continue
				}
			}
			n := 0
			err = reader.Decode(w, sinkFunc(func(*subprotocol.Message) error { n++; return want }))
			if n == 0 {
				return fmt.Errorf("Decode(%q) emitted nothing, error %s", short(w.Data), fmt.Sprint(err))
			}
			if n > 1 {
				return fmt.Errorf("%d messages were emitted after Emit had returned an error", n-1)
			}
			if err != want { //nolint:errorlint // the very same error is asked for
				return fmt.Errorf("Emit returned %q, Decode %q", fmt.Sprint(want), fmt.Sprint(err))
			}
		}
	}
	return nil
}

func checkEmitStable(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	for _, s := range ss {
		sender, reader := p.ends(s.FromServer)
		var broken error
		err := reader.Decode(s.wire, sinkFunc(func(m *subprotocol.Message) error {
			before := deep(m)
			for _, other := range ss {
				for _, f := range []subprotocol.Framer{sender, reader} {
					_, _, _ = f.Append(make([]byte, 0, 512), other.Message.Clone())
				}
			}
			_ = reader.Features()
			if !same(before, m) {
				broken = fmt.Errorf("%s became %s while Append ran", show(before), show(m))
			}
			// A handler may leave its own things on the message.
			m.SetPathValue("name", "value")
			m.Header = append(m.Header[:len(m.Header):len(m.Header)], subprotocol.Field{Name: "#", Value: "#"})
			m.Destination, m.Receipt, m.Error = "#", "#", &subprotocol.Error{}
			return nil
		}))
		if err == nil {
			err = broken
		}
		if err != nil {
			return err
		}
		if s.Message.Kind == subprotocol.KindDisconnect {
			continue
		}
		if err := arrives(reader, s); err != nil {
			return fmt.Errorf("after a handler changed the message before: %w", err)
		}
	}
	return nil
}

func checkDecodeKeeps(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	for range 3 { // decode overwrites what it gave to Decode
		for _, s := range ss {
			if s.Message.Kind == subprotocol.KindDisconnect {
				continue
			}
			_, reader := p.ends(s.FromServer)
			if err := arrives(reader, s); err != nil {
				return fmt.Errorf("after earlier bytes were overwritten: %w", err)
			}
		}
	}
	if p.server.Features().Boundaries {
		return nil
	}
	for _, s := range ss {
		if s.Message.Kind == subprotocol.KindDisconnect {
			continue
		}
		_, reader := p.ends(s.FromServer)
		if err := arrivesIn(reader, s, len(s.wire.Data)/2); err != nil {
			return fmt.Errorf("after the first half of a frame was overwritten: %w", err)
		}
	}
	return nil
}

// arrivesIn is arrives for a wire form that is cut in two.
func arrivesIn(f subprotocol.Framer, s sample, cut int) error {
	var got []*subprotocol.Message
	for _, part := range [][]byte{s.wire.Data[:cut], s.wire.Data[cut:]} {
		ms, err := decode(f, transport.Message{Type: s.wire.Type, Data: part})
		got = append(got, ms...)
		if err != nil {
			return fmt.Errorf("Decode(%q), a part of %q: %w", short(part), short(s.wire.Data), err)
		}
	}
	return compare([]*subprotocol.Message{s.want()}, got)
}

func checkIndependent(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	if !p.server.Features().Boundaries {
		// Half a frame each, then the other halves.
		for _, s := range ss {
			q, err := k.pair(subprotocol.FramerConfig{})
			if err != nil {
				return err
			}
			_, other := q.ends(s.FromServer)
			if _, err := decode(other, transport.Message{Type: s.wire.Type, Data: s.wire.Data[:len(s.wire.Data)/2]}); err != nil {
				return fmt.Errorf("half a frame: %w", err)
			}
			if s.Message.Kind != subprotocol.KindDisconnect {
				_, reader := p.ends(s.FromServer)
				if err := arrives(reader, s); err != nil {
					return fmt.Errorf("while another framer has half a frame: %w", err)
				}
			}
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	start := make(chan struct{})
	for g := range errs {
		wg.Go(func() {
			<-start
			errs[g] = guard(func() error {
				for range 10 {
					if err := checkRoundTrip(k); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("with %d connections at once: %w", len(errs), err)
		}
	}
	return nil
}
