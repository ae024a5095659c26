package handler

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

// fakeConn is a Conn under full control of a test.
type fakeConn struct {
	mu      sync.Mutex
	room    int // how many messages it takes, -1 for any number
	got     []string
	writes  int
	closed  int
	code    transport.StatusCode
	reason  string
	err     error                           // of Write
	onWrite func(batch []transport.Message) // without mu
	discard bool                            // keep nothing
}

func (c *fakeConn) Write(batch []transport.Message) (int, error) {
	if c.onWrite != nil {
		c.onWrite(batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if c.closed > 0 {
		return 0, net.ErrClosed
	}
	n := 0
	for ; n < len(batch) && c.room != 0; n++ {
		if c.err != nil {
			return n, c.err
		}
		if !c.discard {
			c.got = append(c.got, string(batch[n].Head)+string(batch[n].Data))
		}
		if c.room > 0 {
			c.room--
		}
	}
	return n, nil
}

func (c *fakeConn) Close(code transport.StatusCode, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed++; c.closed > 1 {
		return net.ErrClosed
	}
	c.code, c.reason = code, reason
	return nil
}

func (c *fakeConn) SubProtocol() string { return "" }

func (c *fakeConn) setRoom(n int) {
	c.mu.Lock()
	c.room = n
	c.mu.Unlock()
}

func (c *fakeConn) closes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *fakeConn) messages() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

// fakeTransport carries nothing by itself: tests push into the receivers.
type fakeTransport struct {
	transport.Transport
	noBoundaries bool
}

func (fakeTransport) Name() string { return "fake" }

func (t fakeTransport) Features() transport.Features {
	return transport.Features{Boundaries: !t.noBoundaries, Text: true, Binary: true}
}

func handshake() *transport.Handshake {
	return &transport.Handshake{Header: noHeader{}, Host: "example.com", Path: "/ws", Context: context.Background()}
}

type noHeader struct{}

func (noHeader) Get(string) string      { return "" }
func (noHeader) Values(string) []string { return nil }

func newFake(t testing.TB, h HandlerFunc, opts ...Option) *Endpoint {
	return NewEndpoint(fakeTransport{}, h, append([]Option{WithSubProtocols(raw.New(nil))}, opts...)...)
}

// open admits and opens a session on c.
func open(t testing.TB, e *Endpoint, c transport.Conn) (*Session, transport.Receiver) {
	t.Helper()
	a, err := e.Accept(handshake())
	require.NoError(t, err)
	r := a.Open(c)
	return (*Session)(r.(*receiver)), r
}

func deliver(s string) *subprotocol.Message {
	return &subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: []byte(s)}
}

func TestAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	e := newFake(t, func(_ context.Context, r Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
		return err
	}, WithSlowHandler(1<<40))
	c := &fakeConn{room: -1, discard: true}
	_, r := open(t, e, c)
	m := transport.Message{Type: transport.MessageText, Data: []byte("hello")}
	n := testing.AllocsPerRun(1000, func() { r.Receive(m) })
	if !raceEnabled {
		require.Zero(t, n)
	}
	r.Closed(nil)
}

func TestIdleSize(t *testing.T) {
	var s Session
	t.Logf("Session has %d bytes", unsafe.Sizeof(s))
	require.LessOrEqual(t, unsafe.Sizeof(s), uintptr(320))
	e := newFake(t, func(context.Context, Request) error { return nil })
	const n = 10000
	rs := make([]transport.Receiver, n)
	c := &fakeConn{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range rs {
		_, rs[i] = open(t, e, c)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := int64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("an idle session holds %d bytes", per)
	if !raceEnabled {
		require.Less(t, per, int64(700))
	}
	for _, r := range rs {
		r.Closed(nil)
	}
}

func BenchmarkReceiveReply(b *testing.B) {
	e := newFake(b, func(_ context.Context, r Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
		return err
	})
	c := &fakeConn{room: -1, discard: true}
	_, r := open(b, e, c)
	m := transport.Message{Type: transport.MessageText, Data: make([]byte, 64)}
	b.ReportAllocs()
	for b.Loop() {
		r.Receive(m)
	}
	r.Closed(nil)
}

func BenchmarkPublish(b *testing.B) {
	e := newFake(b, func(context.Context, Request) error { return nil })
	c := &fakeConn{room: -1, discard: true}
	var ss []*Session
	for range 1000 {
		s, _ := open(b, e, c)
		ss = append(ss, s)
	}
	m := deliver(fmt.Sprintf("%0128d", 0))
	b.ReportAllocs()
	for b.Loop() {
		p := NewPublication(m)
		for _, s := range ss {
			s.Publish(p, "", "")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/delivery")
}
