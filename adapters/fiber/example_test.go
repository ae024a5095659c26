package fiber_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	gofiber "github.com/gofiber/fiber/v3"

	weftfiber "github.com/weftws/weft/adapters/fiber"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// Clients are let in as whom fiber's middleware has found them to be.
func ExampleHandler() {
	greet := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Body: []byte("hello, " + r.Session.User())})
		return err
	})
	admit := func(ctx context.Context, s *handler.Session, _ *transport.Handshake) error {
		user, _ := ctx.Value("user").(string)
		s.SetUser(user)
		return nil
	}
	ep := handler.NewEndpoint(gobwas.New(nil), greet, handler.WithSubProtocols(raw.New(nil)), handler.WithAccept(admit))

	app := gofiber.New()
	app.Server().KeepHijackedConns = true
	app.Get("/ws", authenticate, weftfiber.Handler(ep, nil))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	stop := serve(app, ln) // app.Listener, and app.Shutdown
	defer func() {
		if err := errors.Join(ep.Shutdown(context.Background()), stop()); err != nil {
			fmt.Println(err)
		}
	}()

	url := "ws://" + ln.Addr().String() + "/ws"
	for _, name := range []string{"ann", ""} {
		c := &client{messages: make(chan string, 1)}
		conn, err := gobwas.New(nil).Dial(context.Background(), url,
			&transport.DialConfig{Header: http.Header{"X-User": {name}}}, func(transport.Conn) transport.Receiver { return c })
		if err != nil {
			fmt.Println(err)
			continue
		}
		if _, err := conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("hi")}}); err != nil {
			fmt.Println(err)
		}
		fmt.Println(<-c.messages)
	}
	// Output:
	// hello, ann
	// transport: handshake refused with status 401: "who are you?"
}

func authenticate(c gofiber.Ctx) error {
	name := c.Get("X-User")
	if name == "" {
		return c.Status(http.StatusUnauthorized).SendString("who are you?")
	}
	c.Locals("user", name)
	return c.Next()
}

type client struct{ messages chan string }

func (c *client) Receive(m transport.Message) { c.messages <- string(m.Data) }
func (c *client) Writable()                   {}
func (c *client) Closed(error)                {}
