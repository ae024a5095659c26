package tcp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/tcp"
)

// lines is a sub-protocol that finds its own frames: each line is a body.
type lines struct{}

func (lines) Names() []string { return nil }

func (lines) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	return &framer{max: max(cfg.MaxFrame, 80)}
}

type framer struct {
	max  int
	line []byte // the beginning of one
}

func (f *framer) Features() subprotocol.Features { return subprotocol.Features{} }

// Partial lets the session bound how long a line may take.
func (f *framer) Partial() int { return len(f.line) }

func (f *framer) Decode(m transport.Message, sink subprotocol.Sink) error {
	for chunk := m.Data; len(chunk) > 0; {
		part, rest, ended := bytes.Cut(chunk, []byte("\n"))
		if len(f.line)+len(part) > f.max {
			return &subprotocol.Error{Code: "too-large", Text: "the line is too long", Fatal: true, Status: transport.StatusMessageTooBig}
		}
		f.line, chunk = append(f.line, part...), rest
		if !ended {
			return nil
		}
		err := sink.Emit(&subprotocol.Message{Kind: subprotocol.KindSend, Type: transport.MessageText, Body: f.line})
		f.line = f.line[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *framer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	if m.Kind != subprotocol.KindReply {
		return dst, 0, errors.New("lines: there are only answers")
	}
	return append(append(dst, m.Body...), '\n'), transport.MessageText, nil
}

// An endpoint on a port of its own. What a person types into netcat comes back.
func Example() {
	echo := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Body: append([]byte("you said "), r.Message.Body...)})
		return err
	})
	ep := handler.NewEndpoint(tcp.New(nil), echo, handler.WithSubProtocols(lines{}))
	ln, err := net.Listen("tcp", "127.0.0.1:0") // STOMP's port is tcp.DefaultPort
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- ep.Serve(context.Background(), ln) }()

	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	in := bufio.NewScanner(nc)
	for _, part := range []string{"hello\nhow ", "are you\n"} {
		fmt.Fprint(nc, part)
		in.Scan()
		fmt.Println(in.Text())
	}
	shut := make(chan error)
	go func() { shut <- ep.Shutdown(context.Background()) }()
	fmt.Println(in.Scan(), in.Err()) // the end, and no error
	nc.Close()
	fmt.Println(<-shut)
	fmt.Println(<-served)
	// Output:
	// you said hello
	// you said how are you
	// false <nil>
	// <nil>
	// handler: endpoint is shut down
}
