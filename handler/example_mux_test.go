package handler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// talker is a client that prints what it gets, but for the random id of its session.
type talker struct{ gone chan struct{} }

func (t talker) Receive(m transport.Message) {
	if !bytes.Contains(m.Data, []byte(`"type":"connected"`)) {
		fmt.Printf("%s\n", m.Data)
	}
}
func (t talker) Writable()    {}
func (t talker) Closed(error) { close(t.gone) }

// converse has a client connect to h, say lines and disconnect.
func converse(h handler.Handler, lines ...string) {
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, h, handler.WithSubProtocols(envelope.NewJSON(nil)), handler.WithCodecs(jsoncodec.New(nil)))
	t := talker{make(chan struct{})}
	conn, err := p.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return t })
	if err != nil {
		panic(err)
	}
	lines = append([]string{`{"type":"connect"}`}, lines...)
	for _, line := range append(lines, `{"type":"disconnect"}`) {
		_, _ = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(line)}})
	}
	<-t.gone
	_ = ep.Shutdown(context.Background())
}

// Say is what clients send, Said what others get of it.
type (
	Say struct {
		Text string `json:"text"`
	}
	Said struct {
		Room string `json:"room"`
		Text string `json:"text"`
	}
)

// Validate keeps silence out.
func (s Say) Validate() error {
	if s.Text == "" {
		return errors.New("the text is missing")
	}
	return nil
}

// Messages find their handlers by kind and destination.
func ExampleMux() {
	mux := handler.NewMux()
	mux.Route("SEND /app/rooms/{room}/say", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		fmt.Printf("in %s: %s\n", r.PathValue("room"), r.Message.Body)
		return nil
	}))
	mux.Route("SUBSCRIBE /topic/", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		fmt.Println(r.Message.Kind, r.Message.Destination)
		return nil
	}))
	converse(mux,
		`{"type":"send","destination":"/app/rooms/blue/say","text":"hello"}`,
		`{"type":"subscribe","subscription":"1","destination":"/topic/news"}`,
		`{"type":"unsubscribe","subscription":"1"}`,
		`{"type":"send","destination":"/topic/news","receipt":"1"}`,
		`{"type":"send","destination":"/elsewhere","receipt":"2"}`)
	// Output:
	// in blue: hello
	// SUBSCRIBE /topic/news
	// UNSUBSCRIBE /topic/news
	// {"type":"error","receipt":"1","code":"not-allowed","message":"\"/topic/news\" does not take SEND"}
	// {"type":"error","receipt":"2","code":"not-found","message":"nothing here handles SEND to \"/elsewhere\""}
}

// A part of the destinations has its own middleware.
func ExampleMux_Mount() {
	admin := handler.NewMux()
	admin.Use(func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Session.User() != "root" {
				return &subprotocol.Error{Code: "forbidden", Text: "this is for root"}
			}
			return next.Handle(ctx, r)
		})
	})
	admin.Route("SEND /kick/{user}", handler.Func(func(_ context.Context, r handler.Request, _ handler.None) (string, error) {
		return r.PathValue("user") + " is gone", nil
	}))

	mux := handler.NewMux()
	mux.Mount("/app/admin/", admin)
	mux.Route("SEND /app/login", handler.Do(func(_ context.Context, r handler.Request, name string) error {
		r.Session.SetUser(name)
		return nil
	}))
	converse(mux,
		`{"type":"send","destination":"/app/admin/kick/bob","receipt":"1"}`,
		`{"type":"send","destination":"/app/login","contentType":"text/plain","text":"root"}`,
		`{"type":"send","destination":"/app/admin/kick/bob","receipt":"2"}`)
	// Output:
	// {"type":"error","receipt":"1","code":"forbidden","message":"this is for root"}
	// {"type":"reply","receipt":"2","contentType":"text/plain","text":"bob is gone"}
}

// A function over Go values answers a request.
func ExampleFunc() {
	mux := handler.NewMux()
	mux.Route("SEND /app/rooms/{room}/say", handler.Func(func(_ context.Context, r handler.Request, in Say) (Said, error) {
		return Said{r.PathValue("room"), in.Text}, nil
	}))
	converse(mux,
		`{"type":"send","receipt":"1","destination":"/app/rooms/blue/say","body":{"text":"hello"}}`,
		`{"type":"send","receipt":"2","destination":"/app/rooms/blue/say","body":{"text":7}}`,
		`{"type":"send","receipt":"3","destination":"/app/rooms/blue/say","body":{}}`)
	// Output:
	// {"type":"reply","receipt":"1","contentType":"application/json","body":{"room":"blue","text":"hello"}}
	// {"type":"error","receipt":"2","code":"bad-body","message":"the field \"text\" of the body has a value of the wrong type"}
	// {"type":"error","receipt":"3","code":"invalid","message":"the text is missing"}
}

// A SUBSCRIBE gets one answer.
func ExampleFunc_subscribe() {
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /app/rooms/{room}/members", handler.Func(
		func(_ context.Context, r handler.Request, _ handler.None) ([]string, error) {
			return []string{"ann", "bob in " + r.PathValue("room")}, nil
		}))
	converse(mux, `{"type":"subscribe","subscription":"1","destination":"/app/rooms/blue/members"}`)
	// Output:
	// {"type":"reply","subscription":"1","contentType":"application/json","body":["ann","bob in blue"]}
}

// What a handler returns goes to all who have subscribed.
func ExampleWithSendTo() {
	b := broadcast.New(nil)
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /app/rooms/{room}/say", handler.Func(
		func(_ context.Context, r handler.Request, in Say) (Said, error) {
			return Said{r.PathValue("room"), in.Text}, nil
		}, handler.WithSendTo(b, "/topic/rooms/{room}")))
	converse(mux,
		`{"type":"subscribe","subscription":"1","destination":"/topic/rooms/blue"}`,
		`{"type":"send","destination":"/app/rooms/blue/say","body":{"text":"hello"}}`,
		`{"type":"send","destination":"/app/rooms/red/say","body":{"text":"nobody hears"}}`)
	// Output:
	// {"type":"deliver","subscription":"1","destination":"/topic/rooms/blue","contentType":"application/json","body":{"room":"blue","text":"hello"}}
}
