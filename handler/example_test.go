package handler_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// printer is a client that prints what it gets.
type printer struct{ gone chan struct{} }

func (p printer) Receive(m transport.Message) { fmt.Printf("received %s\n", m.Data) }
func (p printer) Writable()                   {}
func (p printer) Closed(err error) {
	fmt.Println("closed with", transport.CloseStatus(err))
	close(p.gone)
}

// dialPrinter connects a printer to what is bound to p.
func dialPrinter(p *pipe.Transport) (transport.Conn, printer) {
	c := printer{make(chan struct{})}
	conn, err := p.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return c })
	if err != nil {
		panic(err)
	}
	return conn, c
}

// An endpoint that answers every message with itself.
func Example() {
	echo := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		if string(r.Message.Body) == "bye" {
			return r.Session.Close(transport.StatusNormalClosure, "")
		}
		_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
		return err
	})
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, echo, handler.WithSubProtocols(raw.New(nil)))

	conn, client := dialPrinter(p)
	for _, text := range []string{"hello", "bye"} {
		_, _ = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}})
	}
	<-client.gone
	_ = ep.Shutdown(context.Background())
	// Output:
	// received hello
	// closed with 1000
}

// One message to everybody is encoded once.
func ExampleNewPublication() {
	p := pipe.New(nil)
	nothing := handler.HandlerFunc(func(context.Context, handler.Request) error { return nil })
	ep := handler.NewEndpoint(p, nothing, handler.WithSubProtocols(raw.New(nil)))
	_, a := dialPrinter(p)
	_, b := dialPrinter(p)

	news := handler.NewPublication(&subprotocol.Message{Body: []byte("news")})
	for s := range ep.Sessions().All() {
		if _, err := s.Publish(news, "", ""); err != nil {
			fmt.Println(err)
		}
	}
	_ = ep.Shutdown(context.Background())
	<-a.gone
	<-b.gone
	// Unordered output:
	// received news
	// received news
	// closed with 1001
	// closed with 1001
}

// A hook decides who may connect, and as whom.
func ExampleWithAccept() {
	p := pipe.New(nil)
	hello := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		fmt.Println(r.Message.Kind, r.Session.User())
		return nil
	})
	handler.NewEndpoint(p, hello, handler.WithSubProtocols(raw.New(nil)),
		handler.WithAccept(func(_ context.Context, s *handler.Session, h *transport.Handshake) error {
			if h.Query != "token=secret" {
				return &transport.Refusal{Status: 401, Text: "a token is missing"}
			}
			s.SetUser("ann")
			return nil
		}))
	for _, query := range []string{"", "?token=secret"} {
		_, err := p.Dial(context.Background(), "pipe://localhost/"+query, nil, func(transport.Conn) transport.Receiver {
			return printer{make(chan struct{})}
		})
		if refusal, ok := errors.AsType[*transport.Refusal](err); ok {
			fmt.Println(refusal.Status, refusal.Text)
			continue
		}
		break
	}
	// Output:
	// 401 a token is missing
	// CONNECT ann
}

// A middleware that tells how long handling takes.
func ExampleWithMiddleware() {
	var once sync.Once
	timed := func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			begin := time.Now()
			err := next.Handle(ctx, r)
			once.Do(func() { fmt.Println(r.Message.Kind, "took less than a minute:", time.Since(begin) < time.Minute) })
			return err
		})
	}
	p := pipe.New(nil)
	nothing := handler.HandlerFunc(func(context.Context, handler.Request) error { return nil })
	handler.NewEndpoint(p, nothing, handler.WithSubProtocols(raw.New(nil)), handler.WithMiddleware(timed))
	conn, client := dialPrinter(p)
	_ = conn.Close(transport.StatusNormalClosure, "")
	<-client.gone
	// Output:
	// CONNECT took less than a minute: true
	// closed with 0
}
