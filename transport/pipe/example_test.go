package pipe_test

import (
	"context"
	"fmt"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// printer is a receiver that prints.
type printer struct{ closed chan struct{} }

func (p printer) Receive(m transport.Message) { fmt.Printf("%v: %s\n", m.Type, m.Data) }
func (p printer) Writable()                   {}
func (p printer) Closed(err error) {
	fmt.Println(err)
	close(p.closed)
}

// Two ends without a handshake, for the test of a receiver.
func ExamplePair() {
	p := printer{make(chan struct{})}
	a, _ := pipe.Pair(nil,
		func(transport.Conn) transport.Receiver { return nobody{} },
		func(transport.Conn) transport.Receiver { return p })
	_, _ = a.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("hello")}})
	_ = a.Close(transport.StatusGoingAway, "bye")
	<-p.closed
	// Output:
	// text: hello
	// transport: closed by peer with status 1001: "bye"
}

// nobody is not interested.
type nobody struct{}

func (nobody) Receive(transport.Message) {}
func (nobody) Writable()                 {}
func (nobody) Closed(error)              {}

// doorman refuses everyone.
type doorman struct{}

func (doorman) Accept(h *transport.Handshake) (transport.Admission, error) {
	return nil, &transport.Refusal{Status: 403, Text: "nobody may see " + h.Path}
}

// A dialer learns why it was refused.
func ExampleTransport_Dial() {
	p := pipe.New(nil)
	p.Bind(doorman{})
	_, err := p.Dial(context.Background(), "pipe://host/rooms", nil,
		func(transport.Conn) transport.Receiver { return nobody{} })
	fmt.Println(err)
	// Output: transport: handshake refused with status 403: "nobody may see /rooms"
}
