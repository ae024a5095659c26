package line_test

import (
	"testing"

	"github.com/weftws/weft/examples/custom/line"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/subprotocoltest"
	"github.com/weftws/weft/transport"
)

// options has what the kit can't know of itself: which fields a line has, and lines
// written down.
func options() *subprotocoltest.Options {
	send := &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/app/grüße", Body: []byte("a  b\nc ")}
	deliver := &subprotocol.Message{Kind: subprotocol.KindDeliver, Subscription: "1", Destination: "/topic/a", Body: []byte("hello")}
	reply := &subprotocol.Message{Kind: subprotocol.KindReply, Type: transport.MessageBinary, Body: []byte("\xff\x00")}
	replied := &subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageBinary, Body: reply.Body}
	subscribe := &subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: "1", Destination: "/topic/a"}
	unsubscribe := &subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: "1"}
	failed := &subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "not-found", Text: "there is none"}}

	text := func(s string) []transport.Message {
		return []transport.Message{{Type: transport.MessageText, Data: []byte(s)}}
	}
	o := &subprotocoltest.Options{
		Samples: []subprotocoltest.Sample{
			{Message: send},
			{Message: &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/app/empty"}},
			{Message: subscribe},
			{Message: unsubscribe},
			{Message: unsubscribe, FromServer: true},
			{Message: deliver, FromServer: true},
			{Message: reply, Want: replied, FromServer: true},
			{Message: failed, FromServer: true},
		},
		Unsupported: []*subprotocol.Message{
			{Kind: subprotocol.KindSend, Destination: "/two words"},
			{Kind: subprotocol.KindSubscribe, Subscription: "1", Destination: "/topic/a", Body: []byte("body")},
			{Kind: subprotocol.KindSubscribe, Subscription: "1", Destination: "/two words"},
			{Kind: subprotocol.KindError},
		},
		Valid: []subprotocoltest.Transcript{
			{Name: "send", Input: text("SEND /app/grüße a  b\nc "), Want: []*subprotocol.Message{send}},
			{Name: "sub", Input: text("SUB 1 /topic/a"), Want: []*subprotocol.Message{subscribe}},
			{Name: "unsub", Input: text("UNSUB 1"), Want: []*subprotocol.Message{unsubscribe}},
			{Name: "msg", AtClient: true, Input: text("MSG 1 /topic/a hello"), Want: []*subprotocol.Message{deliver}},
			{Name: "error", AtClient: true, Input: text("ERROR not-found there is none"), Want: []*subprotocol.Message{failed}},
		},
	}
	for _, s := range []string{
		"", " ", "SEND", "SEND /app/a", "send /app/a b", "SUB 1", "SUB 1 /topic/a b", "UNSUB", "UNSUB 1 2", "MSG 1 /topic/a b", "ERROR a b", "PUBLISH a b",
	} {
		o.Invalid = append(o.Invalid, subprotocoltest.Transcript{Name: s, Input: text(s), Code: "malformed"})
	}
	for _, s := range []string{"SEND /app/a b", "SUB 1 /topic/a", "MSG 1 /topic/a", "ERROR a"} {
		o.Invalid = append(o.Invalid, subprotocoltest.Transcript{Name: "at the client: " + s, AtClient: true, Input: text(s), Code: "malformed"})
	}
	return o
}

func TestContract(t *testing.T) {
	t.Parallel()
	subprotocoltest.Run(t, line.SubProtocol{}, options())
}

func BenchmarkContract(b *testing.B) { subprotocoltest.Benchmark(b, line.SubProtocol{}, options()) }

func FuzzDecode(f *testing.F) {
	for _, s := range options().Valid {
		f.Add(s.Input[0].Data, s.AtClient)
	}
	f.Fuzz(func(t *testing.T, data []byte, client bool) {
		framer := line.SubProtocol{}.NewFramer("", subprotocol.FramerConfig{Client: client})
		other := line.SubProtocol{}.NewFramer("", subprotocol.FramerConfig{Client: !client})
		in := transport.Message{Type: transport.MessageBinary, Data: data}
		err := framer.Decode(in, sink(func(m *subprotocol.Message) error {
			again, _, err := other.Append(nil, m)
			if err != nil || string(again) != string(data) {
				t.Errorf("%q became %q, error %v", data, again, err)
			}
			return nil
		}))
		if e, ok := err.(*subprotocol.Error); err != nil && (!ok || e.Code != "malformed") { //nolint:errorlint // Decode returns it as it is
			t.Errorf("%q: %v", data, err)
		}
	})
}

type sink func(m *subprotocol.Message) error

func (s sink) Emit(m *subprotocol.Message) error { return s(m) }
