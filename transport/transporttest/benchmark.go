package transporttest

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/weftws/weft/transport"
)

// Benchmark measures round trips: the client sends a message, the server sends it
// back from inside Receive, and the client sends the next when it has come. Time and
// allocations are those of both sides together, through whatever the implementation
// has between them; a run on the loopback says nothing about a network. Names are
// the sizes in bytes.
func Benchmark(b *testing.B, factory Factory) {
	for _, size := range []int{16, 125, 1 << 10, 16 << 10, 60 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { echo(b, factory, size) })
	}
}

func echo(b *testing.B, factory Factory, size int) {
	client := newBounce(make(chan int, 1))
	server := newBounce(nil)
	s, err := factory(Setup{Acceptor: admitAll{server}, MaxMessageSize: defaultMaxMessage})
	if err != nil {
		b.Fatal(err)
	}
	if s.Stop != nil {
		defer s.Stop()
	}
	c, err := s.Dialer.Dial(b.Context(), s.URL, &s.DialConfig, client.open)
	if err != nil {
		b.Fatal(err)
	}
	out := []transport.Message{{Type: transport.MessageBinary, Data: bytes.Repeat([]byte("x"), size)}}
	back := func() {
		for left := size; left > 0; { // in pieces, where there are no boundaries
			select {
			case n := <-client.got:
				left -= n
			case <-client.closed:
				b.Fatal("the connection ended")
			}
		}
	}
	if client.write(out) == nil {
		back()
	} else {
		out[0].Type = transport.MessageText // a transport that carries text only
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if err := client.write(out); err != nil {
			b.Fatal(err)
		}
		back()
	}
	_ = c.Close(transport.StatusNormalClosure, "")
	<-client.closed
	<-server.closed
}

// bounce sends back what it receives, or counts it where got is set.
type bounce struct {
	conn   transport.Conn
	batch  [1]transport.Message
	got    chan int
	room   chan struct{} // Writable has come
	closed chan struct{}
}

func newBounce(got chan int) *bounce {
	return &bounce{got: got, room: make(chan struct{}, 1), closed: make(chan struct{})}
}

// write writes one message, if need be when there is room.
func (r *bounce) write(one []transport.Message) error {
	for {
		if n, err := r.conn.Write(one); n == 1 || err != nil {
			return err
		}
		select {
		case <-r.room:
		case <-r.closed:
			return net.ErrClosed
		}
	}
}

func (r *bounce) open(c transport.Conn) transport.Receiver {
	r.conn = c
	return r
}

func (r *bounce) Receive(m transport.Message) {
	if r.got != nil {
		r.got <- len(m.Data)
		return
	}
	r.batch[0] = m
	_ = r.write(r.batch[:])
}

func (r *bounce) Writable() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}

func (r *bounce) Closed(error) { close(r.closed) }

// admitAll admits every handshake for one receiver.
type admitAll struct{ r *bounce }

func (a admitAll) Accept(*transport.Handshake) (transport.Admission, error) { return a, nil }
func (a admitAll) SubProtocol() string                                      { return "" }
func (a admitAll) Open(c transport.Conn) transport.Receiver                 { return a.r.open(c) }
func (a admitAll) Abort(error)                                              {}
