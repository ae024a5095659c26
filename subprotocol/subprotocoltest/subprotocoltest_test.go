package subprotocoltest_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/subprotocoltest"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func text(s string) []transport.Message {
	return []transport.Message{{Type: transport.MessageText, Data: []byte(s)}}
}

// rawOptions has what is particular to raw: a Reply arrives as a Deliver.
func rawOptions() *subprotocoltest.Options {
	reply := &subprotocol.Message{Kind: subprotocol.KindReply, Type: transport.MessageBinary, Body: []byte("\xff\x00")}
	arrived := reply.Clone()
	arrived.Kind = subprotocol.KindDeliver
	return &subprotocoltest.Options{
		Samples: append(subprotocoltest.Samples(subprotocol.Features{Boundaries: true}),
			subprotocoltest.Sample{Message: reply, Want: arrived, FromServer: true}),
		Valid: []subprotocoltest.Transcript{{
			Name:  "two messages",
			Input: append(text("one"), text("two")...),
			Want: []*subprotocol.Message{
				{Kind: subprotocol.KindSend, Type: transport.MessageText, Body: []byte("one")},
				{Kind: subprotocol.KindSend, Type: transport.MessageText, Body: []byte("two")},
			},
		}},
		Unsupported: []*subprotocol.Message{{Kind: subprotocol.KindSend, Type: transport.MessageText, Body: []byte("\xff")}},
	}
}

func lineOptions() *subprotocoltest.Options {
	return &subprotocoltest.Options{
		Valid: []subprotocoltest.Transcript{{
			Name:  "a begin and a heartbeat",
			Input: text("25:K0:00:0:0:3:t-10:0:0:0:0:\n"),
			Want: []*subprotocol.Message{
				{Kind: subprotocol.KindBegin, Transaction: "t-1"},
				{Kind: subprotocol.KindHeartbeat},
			},
		}},
		Invalid: []subprotocoltest.Transcript{
			{Name: "no length", Input: text("x"), Code: "malformed"},
			{Name: "a frame too large", Input: text("2000000:"), Code: "too-large"},
			{
				Name: "garbage behind a heartbeat", Input: text("\nx"),
				Want: []*subprotocol.Message{{Kind: subprotocol.KindHeartbeat}},
			},
		},
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	subprotocoltest.Run(t, raw.New(nil), nil)
	require.Empty(t, subprotocoltest.Check(raw.New(&raw.Options{Names: []string{"a", "b"}}), rawOptions()))
}

func TestLine(t *testing.T) {
	t.Parallel()
	subprotocoltest.Run(t, line{}, lineOptions())
}

func TestRules(t *testing.T) {
	t.Parallel()
	rules := subprotocoltest.Rules()
	require.GreaterOrEqual(t, len(rules), 12)
	seen := map[string]bool{}
	for _, r := range rules {
		require.False(t, seen[r.Name], r.Name)
		seen[r.Name] = true
		require.True(t, strings.HasSuffix(r.Text, "."), r.Text)
	}
}

// faulty is line but for the functions that are set.
type faulty struct {
	names     func() []string
	newFramer func(cfg subprotocol.FramerConfig) *lineFramer
	decode    func(f *lineFramer, m transport.Message, sink subprotocol.Sink) error
	append    func(f *lineFramer, dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error)
	tail      func(f *lineFramer, dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error)
	features  func(f *lineFramer) subprotocol.Features
	form      func(f *lineFramer) any
	partial   func(f *lineFramer) int
}

type faultyFramer struct {
	*lineFramer
	fault faulty
}

func (f faulty) Names() []string {
	if f.names != nil {
		return f.names()
	}
	return nil
}

func (f faulty) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	if f.newFramer != nil {
		return &faultyFramer{f.newFramer(cfg), f}
	}
	return &faultyFramer{newLineFramer(cfg), f}
}

func (f *faultyFramer) Decode(m transport.Message, sink subprotocol.Sink) error {
	if f.fault.decode != nil {
		return f.fault.decode(f.lineFramer, m, sink)
	}
	return f.lineFramer.Decode(m, sink)
}

func (f *faultyFramer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	if f.fault.append != nil {
		return f.fault.append(f.lineFramer, dst, m)
	}
	return f.lineFramer.Append(dst, m)
}

func (f *faultyFramer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	if f.fault.tail != nil {
		return f.fault.tail(f.lineFramer, dst, m)
	}
	return f.lineFramer.AppendTail(dst, m)
}

func (f *faultyFramer) Features() subprotocol.Features {
	if f.fault.features != nil {
		return f.fault.features(f.lineFramer)
	}
	return f.lineFramer.Features()
}

func (f *faultyFramer) Form() any {
	if f.fault.form != nil {
		return f.fault.form(f.lineFramer)
	}
	return f.lineFramer.Form()
}

func (f *faultyFramer) Partial() int {
	if f.fault.partial != nil {
		return f.fault.partial(f.lineFramer)
	}
	return f.lineFramer.Partial()
}

type sinkFunc func(*subprotocol.Message) error

func (f sinkFunc) Emit(m *subprotocol.Message) error { return f(m) }

// along has the rules that can't hold where another one is broken.
var along = map[string][]string{
	"round-trip": {
		"append-concurrent", "emit-stable", "decode-keeps", "chunks", "independent",
	},
	"append-message": {"append-keeps"},
	// What only one goroutine at a time may do, only one connection may.
	"append-concurrent": {"independent"},
	"decode-keeps":      {"chunks", "independent", "partial", "max-frame", "hostile", "round-trip", "emit-stable"},
	"chunks":            {"decode-keeps", "partial", "max-frame", "independent"},
	"independent":       {"append-concurrent", "hostile", "chunks", "decode-keeps", "partial", "max-frame", "emit-error", "valid", "invalid"},
	"emit-error":        {"chunks"},
	"max-frame":         {"invalid", "partial"},
	"features":          {"independent"},
}

// TestKitBites plants one fault at a time. Each must be reported under the name of
// its own rule, and of no other that could hold beside it.
func TestKitBites(t *testing.T) {
	t.Parallel()
	var calls, busy atomic.Int64
	var shared []byte
	planted := map[string]bool{}
	type message = subprotocol.Message
	type framed = lineFramer
	for _, tt := range []struct {
		fault string
		rule  string
		sub   faulty
	}{
		{"a name with a blank", "names", faulty{names: func() []string { return []string{"a b"} }}},
		{"an empty name", "names", faulty{names: func() []string { return []string{""} }}},
		{"a name twice", "names", faulty{names: func() []string { return []string{"a", "a"} }}},
		{"names that change", "names", faulty{names: func() []string {
			return []string{[]string{"a", "b"}[calls.Add(1)%2]}
		}}},

		{"features that change", "features", faulty{features: func(f *framed) subprotocol.Features {
			fs := f.Features()
			fs.Receipts = !f.cfg.Client
			return fs
		}}},

		{"a field that is lost", "round-trip", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			if m.Kind == subprotocol.KindSend {
				c := *m
				c.Receipt = ""
				m = &c
			}
			return f.Append(dst, m)
		}}},
		{"headers in another order", "round-trip", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			c := m.Clone()
			slices.Reverse(c.Header)
			if m.Kind == subprotocol.KindDeliver {
				return f.Append(dst, m)
			}
			return f.Append(dst, c)
		}}},

		{"an ack mode lost", "round-trip", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			return f.Decode(m, sinkFunc(func(m *message) error {
				m.AckMode = subprotocol.AckAuto
				return sink.Emit(m)
			}))
		}}},
		{"a message read wrong", "valid", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			golden := strings.HasPrefix(string(m.Data), "25:K") && len(m.Data) == len("25:")+25+len("\n")
			return f.Decode(m, sinkFunc(func(m *message) error {
				if golden && m.Kind == subprotocol.KindBegin {
					m.Header.Add("extra", "header")
				}
				return sink.Emit(m)
			}))
		}}},
		{"a wrong code", "invalid", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			err := f.Decode(m, sink)
			if se, ok := errors.AsType[*subprotocol.Error](err); ok && se.Code == "malformed" {
				se.Code = "bad"
			}
			return err
		}}},

		{"dst thrown away when it has no room", "append-prefix", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(nil, m)
			if err == nil && len(dst) > 0 && cap(dst)-len(dst) < len(out) {
				return out, typ, nil
			}
			return f.Append(dst, m)
		}}},
		{"a byte of dst changed", "append-prefix", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(dst, m)
			if err == nil && len(dst) > 0 {
				dst[0], out[0] = 'X', 'X'
			}
			return out, typ, err
		}}},

		{"a header added to the message", "append-message", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(dst, m)
			if len(m.Header) > 0 {
				m.Header.Set("content-length", fmt.Sprint(len(m.Body)))
			}
			return out, typ, err
		}}},

		{"a cache of frames that lie in dst", "append-keeps", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(dst, m)
			if err != nil || m.Kind != subprotocol.KindAck || len(dst) > 0 || cap(dst) == 0 {
				return out, typ, err
			}
			if shared != nil {
				return append(dst, shared...), typ, nil
			}
			shared = out
			return out, typ, nil
		}}},

		{"one Append at a time only", "append-concurrent", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			defer busy.Add(-1)
			if busy.Add(1) > 1 {
				return dst, 0, errors.New("in use")
			}
			runtime.Gosched()
			return f.Append(dst, m)
		}}},

		{"an unknown kind without an error", "unsupported", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			if m.Kind == 0 {
				return dst, transport.MessageText, nil
			}
			return f.Append(dst, m)
		}}},
		{"no dst with an error", "unsupported", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(dst, m)
			if err != nil {
				return nil, 0, err
			}
			return out, typ, nil
		}}},
		{"a panic for an unknown kind", "unsupported", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			if m.Kind == 255 {
				panic("no such kind")
			}
			return f.Append(dst, m)
		}}},

		{"any bytes as text", "wire-type", faulty{append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			out, typ, err := f.Append(dst, m)
			if typ == transport.MessageBinary {
				typ = transport.MessageText
			}
			return out, typ, err
		}}},
		{"text where the features say binary", "wire-type", faulty{features: func(f *framed) subprotocol.Features {
			features := f.Features()
			features.Binary = true
			return features
		}}},
		{"binary where there is only text", "wire-type", faulty{newFramer: func(cfg subprotocol.FramerConfig) *lineFramer {
			cfg.TextOnly = false
			return newLineFramer(cfg)
		}}},

		{"a form that can't be compared", "form", faulty{form: func(*framed) any { return []int{1} }}},
		{"a form of a common type", "form", faulty{form: func(*framed) any { return "v1" }}},
		{"equal forms that encode apart", "form", faulty{form: func(*framed) any { return lineForm{} }}},

		{"a tail with the subscription", "split", faulty{tail: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			return f.AppendTail(append(dst, m.Subscription...), m)
		}}},
		{"a tail without the prefix", "split", faulty{tail: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
			return f.AppendTail(dst[:0], m)
		}}},

		{"an error of Emit in another", "emit-error", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			return f.Decode(m, sinkFunc(func(m *message) error {
				if err := sink.Emit(m); err != nil {
					return fmt.Errorf("emit: %w", err)
				}
				return nil
			}))
		}}},
		{"messages after an error of Emit", "emit-error", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			var first error
			err := f.Decode(m, sinkFunc(func(m *message) error {
				if err := sink.Emit(m); first == nil {
					first = err
				}
				return nil
			}))
			if first != nil {
				return first
			}
			return err
		}}},

		{"one message for both directions", "emit-stable", func() faulty {
			var emitted atomic.Pointer[message]
			return faulty{
				decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
					return f.Decode(m, sinkFunc(func(m *message) error {
						if m.Kind == subprotocol.KindUnsubscribe {
							emitted.Store(m)
							defer emitted.Store(nil)
						}
						return sink.Emit(m)
					}))
				},
				append: func(f *framed, dst []byte, m *message) ([]byte, transport.MessageType, error) {
					if e := emitted.Load(); e != nil && cap(dst) == 512 {
						e.ID = "changed"
					}
					return f.Append(dst, m)
				},
			}
		}()},

		{"half a frame that lies in the input", "decode-keeps", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			kept := len(f.buf)
			err := f.Decode(m, sink)
			if kept == 0 && len(f.buf) > 0 {
				f.buf = m.Data[len(m.Data)-len(f.buf):]
			}
			return err
		}}},

		{"every heartbeat emitted", "heartbeats", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			for len(f.buf) == 0 && len(m.Data) > 0 && m.Data[0] == '\n' {
				if err := sink.Emit(&message{Kind: subprotocol.KindHeartbeat}); err != nil {
					return err
				}
				m.Data = m.Data[1:]
			}
			return f.Decode(m, sink)
		}}},

		{"a frame cut in its length", "chunks", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			err := f.Decode(m, sink)
			if len(f.buf) > 0 && len(f.buf) < 3 {
				f.buf = nil
			}
			return err
		}}},

		{"Partial without the bytes", "partial", faulty{partial: func(*framed) int { return 0 }}},
		{"Partial that never falls", "partial", faulty{partial: func(f *framed) int { return len(f.buf) + 1 }}},

		{"no frame limit", "max-frame", faulty{newFramer: func(cfg subprotocol.FramerConfig) *lineFramer {
			if cfg.MaxFrame > 0 {
				cfg.MaxFrame = 2 << 20
			}
			return newLineFramer(cfg)
		}}},
		{"a frame limit without its status", "max-frame", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			err := f.Decode(m, sink)
			if se, ok := errors.AsType[*subprotocol.Error](err); ok {
				se.Status = 0
			}
			return err
		}}},

		{"a panic for a wrong kind", "hostile", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			err := f.Decode(m, sink)
			if err != nil && strings.Contains(err.Error(), "no such kind") {
				panic("index out of range")
			}
			return err
		}}},
		{"an untyped error", "hostile", faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
			err := f.Decode(m, sink)
			if err != nil && strings.Contains(err.Error(), "no such kind") {
				return errors.New("malformed")
			}
			return err
		}}},

		{"state that framers share", "independent", func() faulty {
			var open atomic.Int64
			return faulty{decode: func(f *framed, m transport.Message, sink subprotocol.Sink) error {
				if busy := open.Add(1); busy > 1 {
					open.Add(-1)
					return &subprotocol.Error{Code: "busy", Text: "Another framer is at work.", Fatal: true}
				}
				defer open.Add(-1)
				runtime.Gosched()
				return f.Decode(m, sink)
			}}
		}()},
	} {
		planted[tt.rule] = true
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			var own *subprotocoltest.RuleError
			for _, err := range subprotocoltest.Check(tt.sub, lineOptions()) {
				re, ok := errors.AsType[*subprotocoltest.RuleError](err)
				require.True(t, ok)
				if re.Rule == tt.rule {
					own = re
					continue
				}
				require.Contains(t, along[tt.rule], re.Rule, re.Detail)
			}
			require.NotNil(t, own, "not reported")
			require.NotEmpty(t, own.Detail)
			require.ErrorContains(t, own, own.Text)
		})
	}
	for _, r := range subprotocoltest.Rules() {
		require.True(t, planted[r.Name], "no fault is planted for the rule %s", r.Name)
	}
}

// A rule that never ends is broken, and the others are tested all the same.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	sub := faulty{decode: func(f *lineFramer, m transport.Message, sink subprotocol.Sink) error {
		if len(m.Data) > bigFrame && m.Type == transport.MessageText {
			<-stop
		}
		return f.Decode(m, sink)
	}}
	errs := subprotocoltest.Check(sub, &subprotocoltest.Options{Timeout: 3 * time.Second})
	require.Len(t, errs, 1)
	require.ErrorContains(t, errs[0], "max-frame")
	require.ErrorContains(t, errs[0], "not done after 3s")
}

// bigFrame is more than any sample, and less than the rule about limits sends as
// text.
const bigFrame = 32 << 10

func BenchmarkRaw(b *testing.B)  { subprotocoltest.Benchmark(b, raw.New(nil), nil) }
func BenchmarkLine(b *testing.B) { subprotocoltest.Benchmark(b, line{}, nil) }
