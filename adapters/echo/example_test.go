package echo_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	labstack "github.com/labstack/echo/v5"

	weftecho "github.com/weftws/weft/adapters/echo"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// Clients are let in as whom echo's middleware has found them to be.
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

	r := labstack.New()
	r.GET("/ws", weftecho.Handler(ep), authenticate)
	server := httptest.NewServer(r)
	defer server.Close()
	defer ep.Shutdown(context.Background())

	url := "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"
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

func authenticate(next labstack.HandlerFunc) labstack.HandlerFunc {
	return func(c *labstack.Context) error {
		name := c.Request().Header.Get("X-User")
		if name == "" {
			return c.String(http.StatusUnauthorized, "who are you?")
		}
		c.Set("user", name)
		return next(c)
	}
}

// client passes on what it receives.
type client struct{ messages chan string }

func (c *client) Receive(m transport.Message) { c.messages <- string(m.Data) }
func (c *client) Writable()                   {}
func (c *client) Closed(error)                {}
