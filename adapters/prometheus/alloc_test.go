package prometheus

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// held is a session whose transport takes nothing, and the receiver that its messages come in
// through, without what a transport costs.
type held struct {
	session  *handler.Session
	receiver transport.Receiver
}

// loop is a transport that has no connections of its own.
type loop struct{ *pipe.Transport }

func (loop) Bind(transport.Acceptor) {}

type sink struct{ takes bool }

func (s sink) Write(batch []transport.Message) (int, error) {
	if s.takes {
		return len(batch), nil
	}
	return 0, nil
}
func (sink) Close(transport.StatusCode, string) error { return nil }
func (sink) SubProtocol() string                      { return "" }

// begin makes a session of raw, with or without Metrics around it. Its handler answers what
// comes in.
func begin(tb testing.TB, watched, takes bool) held {
	opts := []handler.Option{
		handler.WithSubProtocols(raw.New(nil)), handler.WithSlowHandler(0),
		handler.WithQueue(handler.Limits{Messages: 4, Bytes: 1 << 20}), handler.WithOverflow(handler.DropOldest()),
	}
	h := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
		return err
	})
	var ep *handler.Endpoint
	if watched {
		ep = New(nil).Endpoint("chat", loop{pipe.New(nil)}, h, opts...)
	} else {
		ep = handler.NewEndpoint(loop{pipe.New(nil)}, h, opts...)
	}
	a, err := ep.Accept(&transport.Handshake{Header: noHeader{}, Path: "/", Context: context.Background()})
	require.NoError(tb, err)
	r := a.Open(sink{takes})
	var s *handler.Session
	for s = range ep.Sessions().All() {
	}
	require.NotNil(tb, s)
	tb.Cleanup(func() { r.Closed(nil) })
	return held{s, r}
}

type noHeader struct{}

func (noHeader) Get(string) string      { return "" }
func (noHeader) Values(string) []string { return nil }

// TestAllocations: to be counted costs a message no allocation, on its way in, as an answer and as
// a delivery.
func TestAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	for _, watched := range []bool{false, true} {
		talk, listen := begin(t, watched, true), begin(t, watched, false)
		in := transport.Message{Type: transport.MessageText, Data: []byte("hello")}
		p := handler.NewPublication(&subprotocol.Message{Destination: "/topic/a", Type: transport.MessageText, Body: []byte("hello")})
		m := &subprotocol.Message{Destination: "/topic/a/b", Type: transport.MessageText, Body: []byte("hello")}
		for what, f := range map[string]func(){
			"echo":    func() { talk.receiver.Receive(in) },
			"publish": func() { _, _ = listen.session.Publish(p, "", "") },
			"send":    func() { _, _ = listen.session.Send(m) },
		} {
			f()
			if n := testing.AllocsPerRun(1000, f); n != 0 && !raceEnabled {
				t.Errorf("%s allocates %v times with watched=%v", what, n, watched)
			}
		}
	}
}

// BenchmarkMessage is what one message costs in the endpoint, with Metrics and without,
// in one run: an echo of raw without a transport, and a delivery into a queue that drops its
// oldest. The difference of two rows is what counting costs; what the transport costs
// is in neither. With parallel sessions all processors count at the same time.
func BenchmarkMessage(b *testing.B) {
	in := transport.Message{Type: transport.MessageText, Data: []byte("hello")}
	p := handler.NewPublication(&subprotocol.Message{Destination: "/topic/news/1", Type: transport.MessageText, Body: []byte("hello")})
	for _, watched := range []bool{false, true} {
		run := func(name string, f func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/watched=%v", name, watched), func(b *testing.B) {
				b.ReportAllocs()
				before := processorTime()
				f(b)
				b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
			})
		}
		run("echo", func(b *testing.B) {
			s := begin(b, watched, true)
			for b.Loop() {
				s.receiver.Receive(in)
			}
		})
		run("delivery", func(b *testing.B) {
			s := begin(b, watched, false)
			for b.Loop() {
				_, _ = s.session.Publish(p, "", "")
			}
		})
		run("parallel echo", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				s := begin(b, watched, true)
				for pb.Next() {
					s.receiver.Receive(in)
				}
			})
		})
	}
}

// BenchmarkScrape is one scrape of an endpoint with many sessions, of which it looks at the
// default number.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 16384, 65536} {
		b.Run(fmt.Sprintf("%d sessions", n), func(b *testing.B) {
			m := New(nil)
			ep := m.Endpoint("chat", loop{pipe.New(nil)}, handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
				handler.WithSubProtocols(raw.New(nil)))
			for range n {
				a, err := ep.Accept(&transport.Handshake{Header: noHeader{}, Path: "/", Context: context.Background()})
				require.NoError(b, err)
				r := a.Open(sink{})
				b.Cleanup(func() { r.Closed(nil) })
			}
			e := m.endpoints[0]
			b.ReportAllocs()
			for b.Loop() {
				e.look()
			}
		})
	}
}
