package stomp

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/subprotocoltest"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	neutral = subprotocol.Message
	header  = subprotocol.Header
)

// only is STOMP in one version.
func only(v version) *SubProtocol { return New(&Options{Versions: []string{v.String()}}) }

// samples have each kind with nothing and with everything that it may have. A Deliver
// always has an ID: without one its message-id counts, and no two are alike.
func samples(v version) []subprotocoltest.Sample {
	h := header{{Name: "a", Value: "1"}, {Name: "b", Value: "a: b\\c\nd"}, {Name: "a", Value: "grüße"}}
	if v == v10 {
		h = header{{Name: "a", Value: "1"}, {Name: "b", Value: `a: b\c`}, {Name: "a", Value: "grüße"}}
	}
	if v == v12 {
		h = append(h, subprotocol.Field{Name: "c:\n", Value: "\r"})
	}
	var ss []subprotocoltest.Sample
	client := func(ms ...neutral) {
		for _, m := range ms {
			ss = append(ss, subprotocoltest.Sample{Message: &m})
		}
	}
	server := func(m neutral, want func(*neutral)) {
		s := subprotocoltest.Sample{Message: &m, FromServer: true, Want: m.Clone()}
		want(s.Want)
		ss = append(ss, s)
	}
	client(
		neutral{Kind: subprotocol.KindSend, Destination: "/d"},
		neutral{Kind: subprotocol.KindSend, Destination: "/grüße", Receipt: "r", Transaction: "t",
			ContentType: "text/plain", Header: h, Body: []byte("hello \"you\"\x00\U0001f600\n\n\x00")},
		neutral{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte(strings.Repeat("long ", 300))},
		neutral{Kind: subprotocol.KindSend, Destination: strings.Repeat("d", 600), Body: []byte("x")},
		neutral{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d"},
		neutral{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: subprotocol.AckClient,
			Receipt: "r", Header: h},
		neutral{Kind: subprotocol.KindUnsubscribe, Subscription: "s", Receipt: "r", Header: h},
		neutral{Kind: subprotocol.KindDisconnect},
		neutral{Kind: subprotocol.KindDisconnect, Receipt: "r", Header: h},
	)
	if v >= v11 {
		client(
			neutral{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: subprotocol.AckClientIndividual},
			neutral{Kind: subprotocol.KindHeartbeat},
		)
		server(neutral{Kind: subprotocol.KindHeartbeat}, func(*neutral) {})
	} else {
		client(
			neutral{Kind: subprotocol.KindSubscribe, Subscription: "\x00/d", Destination: "/d", AckMode: subprotocol.AckClient},
			neutral{Kind: subprotocol.KindUnsubscribe, Subscription: "\x00/d"},
		)
	}
	for _, k := range []subprotocol.Kind{subprotocol.KindAck, subprotocol.KindNack} {
		if k == subprotocol.KindNack && v == v10 {
			break
		}
		for _, sub := range []string{"s", "1.s:2"} {
			m := neutral{Kind: k, ID: "i:1", Subscription: sub, Receipt: "r", Transaction: "t", Header: h}
			s := subprotocoltest.Sample{Message: &m, Want: m.Clone()}
			if v != v11 { // the client says what came with the MESSAGE, and only that
				m.ID = "3." + m.ID + sub
			}
			ss = append(ss, s)
		}
	}
	for _, k := range []subprotocol.Kind{subprotocol.KindBegin, subprotocol.KindCommit, subprotocol.KindAbort} {
		client(
			neutral{Kind: k, Transaction: "t"},
			neutral{Kind: k, Transaction: "t", Receipt: "r", Header: h})
	}
	for _, body := range []string{"", "hello", "nul\x00", strings.Repeat("long ", 300)} {
		for _, kind := range []subprotocol.Kind{subprotocol.KindDeliver, subprotocol.KindReply} {
			m := neutral{Kind: kind, Subscription: "s", ID: "i:1", Destination: "/grüße", Header: h, ContentType: "text/plain", Body: []byte(body)}
			server(m, func(m *neutral) {
				m.Kind = subprotocol.KindDeliver
				switch v {
				case v12:
					m.Header = append(header{{Name: "message-id", Value: m.ID}}, m.Header...)
					m.ID = "3.i:1s"
				case v10:
					m.ID = "3.i:1s"
				}
			})
		}
	}
	server(neutral{Kind: subprotocol.KindReceipt, Receipt: "r"}, func(*neutral) {})
	server(neutral{Kind: subprotocol.KindReceipt, Receipt: "r", Header: h}, func(*neutral) {})
	fatal := func(m *neutral) {
		m.Error.Fatal, m.Error.Receipt, m.Error.Subscription = true, m.Receipt, m.Subscription
	}
	server(neutral{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "internal"}}, fatal)
	server(neutral{Kind: subprotocol.KindError, Receipt: "r", Subscription: "s", Header: h,
		Error: &subprotocol.Error{Code: "not-found", Text: "nothing\nthere: \\ " + strings.Repeat("long ", 100)}}, fatal)
	return ss
}

// contract has what is STOMP's own, for one version.
func contract(v version) *subprotocoltest.Options {
	o := &subprotocoltest.Options{
		Samples: samples(v),
		Connect: &neutral{Kind: subprotocol.KindConnect, Header: header{{Name: "host", Value: "/"}}},
		Unsupported: []*neutral{
			{Kind: subprotocol.KindSend},
			{Kind: subprotocol.KindSend, Destination: "\xff"},
			{Kind: subprotocol.KindSend, Destination: "a\x00"},
			{Kind: subprotocol.KindDeliver, ID: "i", Header: header{{Name: "\xff"}}},
			{Kind: subprotocol.KindDeliver, ID: "i", Header: header{{Name: ""}}},
			{Kind: subprotocol.KindConnect, Version: "2"},
			{Kind: subprotocol.KindConnect, Header: header{{Name: "passcode", Value: "two\nlines"}}},
			{Kind: subprotocol.KindConnect, Heartbeat: subprotocol.Heartbeat{Send: -1}},
			{Kind: subprotocol.KindConnected, Version: "1.3"},
			{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: 3},
			{Kind: subprotocol.KindSubscribe, Subscription: "\x00/e", Destination: "/d"},
			{Kind: subprotocol.KindSubscribe, Destination: "/d"},
			{Kind: subprotocol.KindError},
			{Kind: subprotocol.KindReceipt},
			{Kind: subprotocol.KindReceipt, Receipt: "r", Body: []byte("body")},
			{Kind: subprotocol.KindHeartbeat, NeedReply: true},
		},
		Timeout: time.Minute,
	}
	for _, b := range malformedTable(v) {
		o.Invalid = append(o.Invalid, subprotocoltest.Transcript{
			Name: b.name, AtClient: b.atClient, Code: b.code,
			Input: []transport.Message{{Type: transport.MessageBinary, Data: []byte(b.input)}},
		})
	}
	return o
}

func TestContract(t *testing.T) {
	t.Parallel()
	for v := v10; v < v12; v++ {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			subprotocoltest.Run(t, only(v), contract(v))
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		subprotocoltest.Run(t, New(nil), contract(v12))
	})
	t.Run("binary", func(t *testing.T) {
		t.Parallel()
		subprotocoltest.Run(t, New(&Options{Binary: true, Lenient: true, Versions: []string{"1.1"}}), &subprotocoltest.Options{Samples: samples(v11)})
	})
}

func BenchmarkContract(b *testing.B) { subprotocoltest.Benchmark(b, New(nil), contract(v12)) }
