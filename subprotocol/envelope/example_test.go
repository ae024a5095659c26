package envelope_test

import (
	"fmt"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
)

// printer prints what comes in.
type printer struct{}

func (printer) Emit(m *subprotocol.Message) error {
	fmt.Printf("%v to %s: %s\n", m.Kind, m.Destination, m.Body)
	return nil
}

// Both ends of a connection, without the connection.
func Example() {
	p := envelope.NewJSON(nil)
	client := p.NewFramer(envelope.JSON, subprotocol.FramerConfig{Client: true})
	server := p.NewFramer(envelope.JSON, subprotocol.FramerConfig{})

	wire, typ, err := client.Append(nil, &subprotocol.Message{
		Kind: subprotocol.KindSend, Destination: "/app/say", Body: []byte(`{"text":"hello"}`),
	})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%v %s\n", typ, wire)
	if err := server.Decode(transport.Message{Type: typ, Data: wire}, printer{}); err != nil {
		panic(err)
	}

	bad := transport.Message{Type: transport.MessageText, Data: []byte(`{"type":"send","receipt":"7"}`)}
	fmt.Println(server.Decode(bad, printer{}))
	// Output:
	// text {"type":"send","destination":"/app/say","body":{"text":"hello"}}
	// SEND to /app/say: {"text":"hello"}
	// subprotocol: missing-field: the field "destination" is missing in a send
}
