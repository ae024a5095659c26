package envelope

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/subprotocoltest"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// samples have each kind with nothing and with everything that it may have.
func samples() []subprotocoltest.Sample {
	header := subprotocol.Header{{Name: "a", Value: "1"}, {Name: "", Value: "a: b\\c\nd\x00\u2028"}, {Name: "a", Value: "grüße"}}
	heartbeat := subprotocol.Heartbeat{Send: 10 * time.Second, Receive: 128 * time.Millisecond}
	type message = subprotocol.Message
	var ss []subprotocoltest.Sample
	from := func(server bool, ms ...message) {
		for _, m := range ms {
			if m.Kind == subprotocol.KindError {
				m.Error.Receipt, m.Error.Subscription = m.Receipt, m.Subscription
			}
			ss = append(ss, subprotocoltest.Sample{FromServer: server, Message: &m})
		}
	}
	from(false,
		message{Kind: subprotocol.KindConnect, Version: "1"},
		message{Kind: subprotocol.KindConnect, Version: "1", Heartbeat: heartbeat, Header: header},
		message{Kind: subprotocol.KindSend, Destination: "/d"},
		message{Kind: subprotocol.KindSend, Destination: "/grüße", ID: "i", Receipt: "r", Transaction: "t",
			ContentType: "text/plain", Header: header, Body: []byte("hello \"you\"\x00\U0001f600")},
		message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte(`{"a":[1,2.50e+3,null,"\ud800"]}`)},
		message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte(`{"a":1} `)},
		message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte(strings.Repeat("long ", 300))},
		message{Kind: subprotocol.KindSend, Destination: strings.Repeat("d", 600), Body: []byte("\xff\x00")},
		message{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d"},
		message{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: subprotocol.AckClient,
			Receipt: "r", Header: header},
		message{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: subprotocol.AckClientIndividual},
		message{Kind: subprotocol.KindUnsubscribe, Subscription: "s"},
		message{Kind: subprotocol.KindUnsubscribe, Subscription: "s", Receipt: "r", Header: header},
		message{Kind: subprotocol.KindHeartbeat},
		message{Kind: subprotocol.KindHeartbeat, NeedReply: true},
		message{Kind: subprotocol.KindDisconnect},
		message{Kind: subprotocol.KindDisconnect, Receipt: "r", Header: header},
	)
	for _, k := range []subprotocol.Kind{subprotocol.KindAck, subprotocol.KindNack} {
		from(false,
			message{Kind: k, Subscription: "s", ID: "i"},
			message{Kind: k, Subscription: "s", ID: "i", Receipt: "r", Transaction: "t", Header: header})
	}
	for _, k := range []subprotocol.Kind{subprotocol.KindBegin, subprotocol.KindCommit, subprotocol.KindAbort} {
		from(false,
			message{Kind: k, Transaction: "t"},
			message{Kind: k, Transaction: "t", Receipt: "r", Header: header})
	}
	from(true,
		message{Kind: subprotocol.KindConnected, Version: "1"},
		message{Kind: subprotocol.KindConnected, Version: "1", ID: "session", Heartbeat: heartbeat, Header: header},
		message{Kind: subprotocol.KindReply},
		message{Kind: subprotocol.KindReply, Receipt: "r", Subscription: "s", ID: "i", Destination: "/d",
			ContentType: "application/json", Header: header, Body: []byte("[]")},
		message{Kind: subprotocol.KindDeliver},
		message{Kind: subprotocol.KindDeliver, Subscription: "s", Destination: "/d"},
		message{Kind: subprotocol.KindDeliver, Subscription: "s", ID: "i", Destination: "/d",
			ContentType: "application/problem+json; charset=utf-8", Header: header, Body: []byte("\"text\"")},
		message{Kind: subprotocol.KindUnsubscribe, Subscription: "s"},
		message{Kind: subprotocol.KindUnsubscribe, Subscription: "s", Header: header},
		message{Kind: subprotocol.KindReceipt, Receipt: "r"},
		message{Kind: subprotocol.KindReceipt, Receipt: "r", Header: header},
		message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "internal"}},
		message{Kind: subprotocol.KindError, Receipt: "r", Subscription: "s", Header: header,
			Error: &subprotocol.Error{Code: "not-found", Text: strings.Repeat("nothing there ", 100), Fatal: true}},
		message{Kind: subprotocol.KindHeartbeat},
		message{Kind: subprotocol.KindHeartbeat, NeedReply: true},
		message{Kind: subprotocol.KindDisconnect},
		message{Kind: subprotocol.KindDisconnect, Header: header},
	)
	return ss
}

// contract has what is the envelopes' own, for one form.
func contract(msgpack bool) *subprotocoltest.Options {
	o := &subprotocoltest.Options{
		Samples: samples(),
		Unsupported: []*subprotocol.Message{
			{Kind: subprotocol.KindSend},
			{Kind: subprotocol.KindSend, Destination: "\xff"},
			{Kind: subprotocol.KindDeliver, Header: subprotocol.Header{{Name: "\xff"}}},
			{Kind: subprotocol.KindConnect, Version: "2"},
			{Kind: subprotocol.KindConnect, Heartbeat: subprotocol.Heartbeat{Send: -1}},
			{Kind: subprotocol.KindConnected, Heartbeat: subprotocol.Heartbeat{Receive: 1000 * time.Hour}},
			{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/d", AckMode: 3},
			{Kind: subprotocol.KindError},
			{Kind: subprotocol.KindReceipt, Receipt: "r", Body: []byte("body")},
		},
	}
	for _, x := range exchanges() {
		data, err := os.ReadFile(x.file())
		if err != nil {
			panic(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")[1:]
		for _, from := range []side{client, server} {
			t := subprotocoltest.Transcript{Name: x.name, AtClient: from == server}
			for i := range x.steps {
				s := &x.steps[i]
				if s.from != from {
					continue
				}
				n := 2 * i
				if msgpack {
					n++
				}
				t.Input = append(t.Input, parseLine(lines[n]).wire)
				t.Want = append(t.Want, s.arrives())
			}
			o.Valid = append(o.Valid, t)
		}
	}
	typ := transport.MessageText
	if msgpack {
		typ = transport.MessageBinary
	}
	for _, b := range malformedTable() {
		if b.msgpack == msgpack {
			o.Invalid = append(o.Invalid, subprotocoltest.Transcript{
				Name: b.name, AtClient: b.from == server, Code: b.code,
				Input: []transport.Message{{Type: typ, Data: []byte(b.input)}},
			})
		}
	}
	return o
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, p := range []*SubProtocol{NewJSON(nil), NewMsgpack(nil)} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			subprotocoltest.Run(t, p, contract(p.msgpack))
		})
	}
}

func BenchmarkContract(b *testing.B) {
	for _, p := range []*SubProtocol{NewJSON(nil), NewMsgpack(nil)} {
		b.Run(p.name, func(b *testing.B) { subprotocoltest.Benchmark(b, p, contract(p.msgpack)) })
	}
}
