package stomp_test

import (
	"fmt"
	"strings"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// reader prints what comes in.
type reader struct{}

func (reader) Emit(m *subprotocol.Message) error {
	fmt.Printf("%v %s%s %q\n", m.Kind, m.Version, m.Destination, m.Body)
	return nil
}

// Both ends of a connection, without the connection.
func Example() {
	p := stomp.New(nil)
	client := p.NewFramer(stomp.V12, subprotocol.FramerConfig{Client: true})
	server := p.NewFramer(stomp.V12, subprotocol.FramerConfig{})
	say := func(from, to subprotocol.Framer, m *subprotocol.Message) {
		wire, typ, err := from.Append(nil, m)
		if err != nil {
			panic(err)
		}
		fmt.Println(strings.NewReplacer("\n", "|", "\x00", "^@").Replace(string(wire)))
		if err := to.Decode(transport.Message{Type: typ, Data: wire}, reader{}); err != nil {
			panic(err)
		}
	}

	say(client, server, &subprotocol.Message{Kind: subprotocol.KindConnect})
	say(server, client, &subprotocol.Message{Kind: subprotocol.KindConnected, ID: "5f0c2a"})
	say(client, server, &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/app/say", Body: []byte("hello")})

	bad := transport.Message{Type: transport.MessageText, Data: []byte("SEND\nreceipt:7\n\nhello\x00")}
	fmt.Println(server.Decode(bad, reader{}))
	// Output:
	// CONNECT|accept-version:1.0,1.1,1.2||^@
	// CONNECT 1.2 ""
	// CONNECTED|version:1.2|session:5f0c2a|server:weft|heart-beat:0,0||^@
	// CONNECTED 1.2 ""
	// SEND|destination:/app/say|content-length:5||hello^@
	// SEND /app/say "hello"
	// subprotocol: missing-header: SEND needs the header "destination" in STOMP 1.2
}
