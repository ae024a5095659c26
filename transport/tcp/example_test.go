package tcp_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/tcp"
)

// A STOMP server on a port of its own, and what a client without a library would
// say to it.
func Example() {
	h := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			fmt.Printf("server: %s to %s\n", r.Message.Body, r.Message.Destination)
		}
		return nil
	})
	ep := handler.NewEndpoint(tcp.New(nil), h, handler.WithSubProtocols(stomp.New(nil)))
	ln, err := net.Listen("tcp", "127.0.0.1:0") // for others ":" + tcp.DefaultPort
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error)
	go func() { served <- ep.Serve(ctx, ln) }()

	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	answers := bufio.NewReader(nc)
	for _, frame := range []string{
		"CONNECT\naccept-version:1.2\nhost:example.org\n\n\x00",
		"SEND\ndestination:/app/hello\nreceipt:first\n\ngood morning\x00\n",
		"DISCONNECT\nreceipt:last\n\n\x00",
	} {
		fmt.Fprint(nc, frame[:10]) // a frame may come in pieces
		fmt.Fprint(nc, frame[10:])
		answer, err := answers.ReadString(0)
		lines := strings.Split(strings.TrimSpace(answer), "\n")
		fmt.Println("client:", lines[0], lines[1], err)
	}
	cancel()
	fmt.Println(<-served)
	// Output:
	// client: CONNECTED version:1.2 <nil>
	// server: good morning to /app/hello
	// client: RECEIPT receipt-id:first <nil>
	// client: RECEIPT receipt-id:last <nil>
	// <nil>
}
