package subprotocoltest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// kit is the sub-protocol under test, by one of its names.
type kit struct {
	Options
	sub  subprotocol.SubProtocol
	name string
}

// pair is both ends of one connection.
type pair struct{ client, server subprotocol.Framer }

// ends returns who sends and who reads.
func (p pair) ends(fromServer bool) (sender, reader subprotocol.Framer) {
	if fromServer {
		return p.server, p.client
	}
	return p.client, p.server
}

// pair makes both ends and has them do the connect exchange.
func (k *kit) pair(cfg subprotocol.FramerConfig) (pair, error) {
	cfg.Client = true
	p := pair{client: k.sub.NewFramer(k.name, cfg)}
	cfg.Client = false
	p.server = k.sub.NewFramer(k.name, cfg)
	if !p.server.Features().Connect {
		return p, nil
	}
	for _, s := range []Sample{{Message: k.Connect}, {Message: k.Connected, FromServer: true}} {
		sender, reader := p.ends(s.FromServer)
		w, err := encode(sender, s.Message)
		if err != nil {
			return p, fmt.Errorf("connect exchange: %w", err)
		}
		got, err := decode(reader, w)
		if err != nil {
			return p, fmt.Errorf("connect exchange: Decode(%q): %w", short(w.Data), err)
		}
		if len(got) != 1 || got[0].Kind != s.Message.Kind {
			return p, fmt.Errorf("connect exchange: %v arrived as %v", s.Message.Kind, show(got...))
		}
	}
	return p, nil
}

// textOnly returns the values of FramerConfig.TextOnly to try: a sub-protocol that
// needs binary messages is never asked to do without.
func (k *kit) textOnly() []bool {
	if k.sub.NewFramer(k.name, subprotocol.FramerConfig{}).Features().Binary {
		return []bool{false}
	}
	return []bool{false, true}
}

func (k *kit) samples(p pair, cfg subprotocol.FramerConfig) []Sample {
	if k.Options.Samples == nil {
		return Samples(p.server.Features())
	}
	if !cfg.TextOnly {
		return k.Options.Samples
	}
	return slices.DeleteFunc(slices.Clone(k.Options.Samples), func(s Sample) bool {
		return s.Message.Type == transport.MessageBinary
	})
}

// sample is a Sample and its wire form.
type sample struct {
	Sample
	wire transport.Message
}

// open makes a pair and encodes the samples with it.
func (k *kit) open() (pair, []sample, error) {
	p, err := k.pair(subprotocol.FramerConfig{})
	if err != nil {
		return p, nil, err
	}
	var ss []sample
	for _, s := range k.samples(p, subprotocol.FramerConfig{}) {
		sender, _ := p.ends(s.FromServer)
		w, err := encode(sender, s.Message)
		if err != nil {
			return p, nil, err
		}
		ss = append(ss, sample{s, w})
	}
	if len(ss) == 0 {
		return p, nil, fmt.Errorf("there is no sample")
	}
	return p, ss, nil
}

// encode encodes a clone of m, into memory of its own without spare capacity.
func encode(f subprotocol.Framer, m *subprotocol.Message) (transport.Message, error) {
	data, typ, err := f.Append(nil, m.Clone())
	if err != nil {
		return transport.Message{}, fmt.Errorf("Append(%s): %w", show(m), err)
	}
	return transport.Message{Type: typ, Data: slices.Clip(bytes.Clone(data))}, nil
}

// sinkFunc is a Sink of a function.
type sinkFunc func(*subprotocol.Message) error

func (f sinkFunc) Emit(m *subprotocol.Message) error { return f(m) }

// decode returns clones of all that f emits. It gives f a copy of w.Data and
// overwrites it afterwards.
func decode(f subprotocol.Framer, w transport.Message) ([]*subprotocol.Message, error) {
	w.Data = slices.Clip(bytes.Clone(w.Data))
	var got []*subprotocol.Message
	err := f.Decode(w, sinkFunc(func(m *subprotocol.Message) error {
		got = append(got, deep(m))
		return nil
	}))
	scribble(w.Data)
	return got, err
}

// deep is Clone with strings that lie in no one else's memory.
func deep(m *subprotocol.Message) *subprotocol.Message {
	c := m.Clone()
	for _, s := range []*string{
		&c.Destination, &c.ID, &c.Subscription, &c.Receipt, &c.Transaction, &c.Version, &c.ContentType,
	} {
		*s = string([]byte(*s))
	}
	for i := range c.Header {
		c.Header[i].Name = string([]byte(c.Header[i].Name))
		c.Header[i].Value = string([]byte(c.Header[i].Value))
	}
	return c
}

// same compares what arrived with what should have.
func same(want, got *subprotocol.Message) bool {
	w, g := normal(want), normal(got)
	if w.Type == 0 {
		g.Type = 0
	}
	return reflect.DeepEqual(w, g)
}

// normal makes nil of empty slices, which no wire format can tell apart, and
// leaves out the path values, which are none of a framer's business.
func normal(m *subprotocol.Message) subprotocol.Message {
	n := subprotocol.Message{
		Kind: m.Kind, Type: m.Type, NeedReply: m.NeedReply,
		Destination: m.Destination, ID: m.ID, Subscription: m.Subscription, Receipt: m.Receipt,
		Transaction: m.Transaction, Version: m.Version, ContentType: m.ContentType,
		Heartbeat: m.Heartbeat, AckMode: m.AckMode, Error: m.Error,
	}
	if len(m.Header) > 0 {
		n.Header = m.Header
	}
	if len(m.Body) > 0 {
		n.Body = m.Body
	}
	return n
}

func (s *Sample) want() *subprotocol.Message {
	if s.Want != nil {
		return s.Want
	}
	return s.Message
}

// compare compares lists of messages.
func compare(want, got []*subprotocol.Message) error {
	if len(want) != len(got) {
		return fmt.Errorf("%d messages arrived, not %d: %s", len(got), len(want), show(got...))
	}
	for i := range want {
		if !same(want[i], got[i]) {
			return fmt.Errorf("message %d arrived as %s, not as %s", i+1, show(got[i]), show(want[i]))
		}
	}
	return nil
}

// arrives decodes the wire form of s with f and compares.
func arrives(f subprotocol.Framer, s sample) error {
	got, err := decode(f, s.wire)
	if err != nil {
		return fmt.Errorf("Decode(%q): %w", short(s.wire.Data), err)
	}
	return compare([]*subprotocol.Message{s.want()}, got)
}

func show(ms ...*subprotocol.Message) string {
	var b bytes.Buffer
	for i, m := range ms {
		if i > 0 {
			b.WriteString(", ")
		}
		n := normal(m)
		n.Body = nil
		s := fmt.Sprintf("%v%+v body %q", m.Kind, n, short(m.Body))
		b.WriteString(s[:min(len(s), 300)])
	}
	return b.String()
}

func short(data []byte) []byte { return data[:min(len(data), 80)] }

func scribble(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}
