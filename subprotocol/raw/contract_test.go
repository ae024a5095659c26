package raw_test

import (
	"testing"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/subprotocoltest"
	"github.com/weftws/weft/transport"
)

// options has what is raw's own: a Reply arrives as a Deliver, and only text that
// is text has a wire form as text.
func options() *subprotocoltest.Options {
	reply := &subprotocol.Message{Kind: subprotocol.KindReply, Type: transport.MessageBinary, Body: []byte("\xff\x00")}
	arrived := reply.Clone()
	arrived.Kind = subprotocol.KindDeliver
	return &subprotocoltest.Options{
		Samples: append(subprotocoltest.Samples(subprotocol.Features{Boundaries: true}),
			subprotocoltest.Sample{Message: reply, Want: arrived, FromServer: true}),
		Unsupported: []*subprotocol.Message{
			{Kind: subprotocol.KindSend, Type: transport.MessageText, Body: []byte("\xff")},
			{Kind: subprotocol.KindSend, Type: 3, Body: []byte("body")},
		},
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	subprotocoltest.Run(t, raw.New(&raw.Options{Names: []string{"one", "two"}}), options())
}

func BenchmarkContract(b *testing.B) { subprotocoltest.Benchmark(b, raw.New(nil), options()) }
