package raw_test

import (
	"fmt"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

// printer prints what comes in.
type printer struct{}

func (printer) Emit(m *subprotocol.Message) error {
	fmt.Printf("%v %v %q\n", m.Kind, m.Type, m.Body)
	return nil
}

// Both ends of a connection, without the connection.
func Example() {
	p := raw.New(&raw.Options{Names: []string{"chat.example"}})
	client := p.NewFramer("chat.example", subprotocol.FramerConfig{Client: true})
	server := p.NewFramer("chat.example", subprotocol.FramerConfig{})

	wire, typ, err := client.Append(nil, &subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte("hello")})
	if err != nil {
		panic(err)
	}
	if err := server.Decode(transport.Message{Type: typ, Data: wire}, printer{}); err != nil {
		panic(err)
	}

	wire, typ, err = server.Append(nil, &subprotocol.Message{Kind: subprotocol.KindReply, Body: []byte{0xff}})
	if err != nil {
		panic(err)
	}
	if err := client.Decode(transport.Message{Type: typ, Data: wire}, printer{}); err != nil {
		panic(err)
	}

	_, _, err = server.Append(nil, &subprotocol.Message{Kind: subprotocol.KindReceipt})
	fmt.Println(err)
	// Output:
	// SEND text "hello"
	// DELIVER binary "\xff"
	// raw: RECEIPT has no wire form: unsupported operation
}
