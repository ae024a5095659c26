package sockjs_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
	return err
}

// An endpoint that echoes, in front of a router, and what a client says to it that can only
// poll.
func ExampleMount() {
	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil)))
	server := httptest.NewServer(sockjs.Mount("/sockjs", ep, http.DefaultServeMux))
	defer server.Close()

	post := func(path, body string) {
		resp, err := http.Post(server.URL+path, "", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		fmt.Printf("%d %q\n", resp.StatusCode, text)
	}
	post("/sockjs/000/abc/xhr", "")
	post("/sockjs/000/abc/xhr_send", `["hello","world"]`)
	post("/sockjs/000/abc/xhr", "")
	// Output:
	// 200 "o\n"
	// 204 ""
	// 200 "a[\"hello\",\"world\"]\n"
}

// A client that finds a way by itself, where the proxy in front of the server lets no
// WebSocket through.
func ExampleDialer() {
	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil)))
	site := sockjs.Mount("/sockjs", ep, http.DefaultServeMux)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		site.ServeHTTP(w, r)
	}))
	defer server.Close()

	d := sockjs.NewDialer(gobwas.New(nil), &sockjs.DialerOptions{
		Failed: func(name string, err error) { fmt.Println("no", name) },
	})
	over := make(chan struct{})
	conn, err := d.Dial(context.Background(), server.URL+"/sockjs", nil, func(c transport.Conn) transport.Receiver {
		return &printer{c, over}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if n, ok := transport.As[sockjs.TransportNamer](conn); ok {
		fmt.Println("over", n.TransportName())
	}
	_, _ = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("hello")}}) // there is room for the first
	<-over
	// Output:
	// no websocket
	// over xhr-streaming
	// hello
}

// printer prints one message.
type printer struct {
	conn transport.Conn
	over chan struct{}
}

func (p *printer) Receive(m transport.Message) {
	fmt.Println(string(m.Data))
	_ = p.conn.Close(transport.StatusNormalClosure, "")
}

func (p *printer) Writable()    {}
func (p *printer) Closed(error) { close(p.over) }
