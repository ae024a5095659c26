package subprotocoltest

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

const prefix = "prefix"

func checkAppendPrefix(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	for _, s := range ss {
		f, _ := p.ends(s.FromServer)
		n := len(s.wire.Data)
		for _, room := range []int{0, 1, n / 2, n, n + 64} {
			dst := append(make([]byte, 0, len(prefix)+room), prefix...)
			got, typ, err := f.Append(dst, s.Message.Clone())
			switch {
			case err != nil:
				return fmt.Errorf("Append with room for %d bytes: %w", room, err)
			case string(dst) != prefix:
				return fmt.Errorf("dst was changed to %q", dst)
			case !bytes.Equal(got, append([]byte(prefix), s.wire.Data...)):
				return fmt.Errorf("with room for %d bytes the result is %q, not %q and then %q", room, short(got), prefix, short(s.wire.Data))
			case typ != s.wire.Type:
				return fmt.Errorf("with room for %d bytes the type is %v, not %v", room, typ, s.wire.Type)
			}
		}
	}
	return nil
}

func checkAppendMessage(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	for _, s := range ss {
		f, _ := p.ends(s.FromServer)
		m := s.Message.Clone()
		if _, _, err := f.Append(nil, m); err != nil {
			return err
		}
		if !reflect.DeepEqual(m, s.Message.Clone()) {
			return fmt.Errorf("%s became %s", show(s.Message), show(m))
		}
	}
	return nil
}

func checkAppendKeeps(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	results := make([][]byte, len(ss))
	for range 2 {
		for i, s := range ss {
			f, _ := p.ends(s.FromServer)
			m := s.Message.Clone()
			got, _, err := f.Append(make([]byte, 0, 2*len(s.wire.Data)+16), m)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, s.wire.Data) {
				return fmt.Errorf("after an earlier dst and message were overwritten: %q, not %q", short(got), short(s.wire.Data))
			}
			scribble(m.Body)
			for i := range m.Header {
				m.Header[i] = subprotocol.Field{Name: "#", Value: "#"}
			}
			if !bytes.Equal(got, s.wire.Data) {
				return fmt.Errorf("the result changed with the message: %q, not %q", short(got), short(s.wire.Data))
			}
			scribble(got[:cap(got)])
			if results[i], _, err = f.Append(nil, s.Message.Clone()); err != nil {
				return err
			}
		}
	}
	for i, s := range ss {
		if !bytes.Equal(results[i], s.wire.Data) {
			return fmt.Errorf("a result changed later: %q, not %q", short(results[i]), short(s.wire.Data))
		}
	}
	return nil
}

func checkAppendConcurrent(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	const goroutines = 4
	errs := make([]error, goroutines+2)
	start := make(chan struct{})
	work := func(i int, f func() error) {
		wg.Go(func() {
			<-start
			errs[i] = guard(func() error {
				for range 20 {
					if err := f(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	for g := range goroutines {
		work(g, func() error {
			for i := range ss {
				s := ss[(i+g)%len(ss)]
				f, _ := p.ends(s.FromServer)
				got, err := encode(f, s.Message)
				if err != nil {
					return err
				}
				if !bytes.Equal(got.Data, s.wire.Data) || got.Type != s.wire.Type {
					return fmt.Errorf("%v %q, not %v %q", got.Type, short(got.Data), s.wire.Type, short(s.wire.Data))
				}
			}
			return nil
		})
	}
	for i, fromServer := range []bool{false, true} {
		work(goroutines+i, func() error {
			for _, s := range ss {
				// What ends the connection can't be read twice.
				if s.FromServer == fromServer && s.Message.Kind != subprotocol.KindDisconnect {
					_, f := p.ends(fromServer)
					if err := arrives(f, s); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkUnsupported(k *kit) error {
	p, err := k.pair(subprotocol.FramerConfig{})
	if err != nil {
		return err
	}
	ms := k.Unsupported
	for _, kind := range unclaimed(p.server.Features()) {
		ms = append(ms[:len(ms):len(ms)], &subprotocol.Message{
			Kind: kind, Destination: "/d", ID: "i", Subscription: "s", Receipt: "r", Transaction: "t", Body: []byte("body"),
		})
	}
	for _, f := range []subprotocol.Framer{p.client, p.server} {
		for _, m := range ms {
			for _, room := range []int{0, 256} {
				dst := append(make([]byte, 0, len(prefix)+room), prefix...)
				var got []byte
				var aerr error
				if err := guard(func() error { got, _, aerr = f.Append(dst, m.Clone()); return nil }); err != nil {
					return fmt.Errorf("Append(%s): %w", show(m), err)
				}
				if aerr == nil {
					return fmt.Errorf("Append(%s) wrote %q and no error", show(m), short(got))
				}
				if string(got) != prefix || string(dst) != prefix {
					return fmt.Errorf("Append(%s) failed and returned %q, not %q", show(m), short(got), prefix)
				}
			}
		}
	}
	return nil
}

func checkWireType(k *kit) error {
	for _, textOnly := range k.textOnly() {
		cfg := subprotocol.FramerConfig{TextOnly: textOnly}
		p, err := k.pair(cfg)
		if err != nil {
			return err
		}
		for _, body := range []string{"hello", "\xff\x00\xfe"} {
			for _, s := range k.samples(p, cfg) {
				m := s.Message.Clone()
				if len(m.Body) > 0 {
					m.Body = []byte(body)
				}
				f, _ := p.ends(s.FromServer)
				data, typ, err := f.Append(nil, m)
				switch {
				case err != nil && body == "hello":
					return fmt.Errorf("Append(%s): %w", show(m), err)
				case err != nil:
				case typ != transport.MessageText && typ != transport.MessageBinary:
					return fmt.Errorf("Append(%s) returned the type %d", show(m), typ)
				case typ != transport.MessageBinary && f.Features().Binary:
					return fmt.Errorf("Append(%s) returned the type %v, and the features say binary", show(m), typ)
				case textOnly && typ != transport.MessageText:
					return fmt.Errorf("Append(%s) returned the type %v where there is only text", show(m), typ)
				case typ == transport.MessageText && !utf8.Valid(data):
					return fmt.Errorf("Append(%s) returned text that is not UTF-8: %q", show(m), short(data))
				}
			}
		}
	}
	return nil
}

func checkForm(k *kit) error {
	type made struct {
		form  any
		f     subprotocol.Framer
		label string
	}
	var all []made
	var ss []Sample
	for _, textOnly := range k.textOnly() {
		for range 2 {
			p, err := k.pair(subprotocol.FramerConfig{TextOnly: textOnly})
			if err != nil {
				return err
			}
			ss = k.samples(p, subprotocol.FramerConfig{})
			former, ok := p.server.(subprotocol.Former)
			if !ok {
				continue
			}
			form := former.Form()
			if form == nil || !reflect.TypeOf(form).Comparable() {
				return fmt.Errorf("the form %T is not comparable", form)
			}
			if reflect.TypeOf(form).PkgPath() == "" && reflect.TypeOf(form).Kind() != reflect.Pointer {
				return fmt.Errorf("the form %T is not of a type of the sub-protocol's own", form)
			}
			if former.Form() != form {
				return fmt.Errorf("the form was %v, then %v", form, former.Form())
			}
			all = append(all, made{form, p.server, fmt.Sprintf("text only %t", textOnly)})
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.form != b.form {
				continue
			}
			for _, s := range ss {
				if !s.FromServer {
					continue
				}
				for _, body := range [][]byte{s.Message.Body, []byte("\xff\x00\xfe")} {
					m := s.Message.Clone()
					m.Body = body
					wa, ea := encode(a.f, m)
					wb, eb := encode(b.f, m)
					if !bytes.Equal(wa.Data, wb.Data) || wa.Type != wb.Type || (ea == nil) != (eb == nil) {
						return fmt.Errorf("two framers (%s, %s) of the form %v encode %s as %v %q (error %s) and as %v %q (error %s)",
							a.label, b.label, a.form, show(m), wa.Type, short(wa.Data), fmt.Sprint(ea), wb.Type, short(wb.Data), fmt.Sprint(eb))
					}
				}
			}
		}
	}
	return nil
}

func checkSplit(k *kit) error {
	p, ss, err := k.open()
	if err != nil {
		return err
	}
	f, ok := p.server.(subprotocol.Splitter)
	if !ok {
		return nil
	}
	for _, s := range ss {
		if s.Message.Kind != subprotocol.KindDeliver {
			continue
		}
		head, err := f.AppendHead([]byte(prefix), s.Message.Clone())
		if err != nil {
			return fmt.Errorf("AppendHead(%s): %w", show(s.Message), err)
		}
		tail, typ, err := f.AppendTail([]byte(prefix), s.Message.Clone())
		if err != nil {
			return fmt.Errorf("AppendTail(%s): %w", show(s.Message), err)
		}
		if !bytes.HasPrefix(head, []byte(prefix)) || !bytes.HasPrefix(tail, []byte(prefix)) {
			return fmt.Errorf("head %q and tail %q do not begin with %q", short(head), short(tail), prefix)
		}
		head, tail = head[len(prefix):], tail[len(prefix):]
		if !bytes.Equal(append(bytes.Clone(head), tail...), s.wire.Data) {
			return fmt.Errorf("head %q and tail %q are not %q", short(head), short(tail), short(s.wire.Data))
		}
		if typ != s.wire.Type {
			return fmt.Errorf("AppendTail returned the type %v, Append %v", typ, s.wire.Type)
		}
		other := s.Message.Clone()
		other.Subscription += "-other"
		tail2, _, err := f.AppendTail(nil, other)
		if err != nil {
			return fmt.Errorf("AppendTail(%s): %w", show(other), err)
		}
		if !bytes.Equal(tail, tail2) {
			return fmt.Errorf("the tail depends on the subscription: %q and %q", short(tail), short(tail2))
		}
	}
	return nil
}
