package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// printer is a client that prints the answers that it gets.
type printer struct{ gone chan struct{} }

func (p printer) Receive(m transport.Message) {
	var f frame
	if err := json.Unmarshal(m.Data, &f); err != nil {
		panic(err)
	}
	fmt.Println(strings.TrimSpace(fmt.Sprintf("client: %s %s %s", f.Type, f.Receipt, f.Code)))
}
func (p printer) Writable()    {}
func (p printer) Closed(error) { close(p.gone) }

// talk sends messages as a client would, and leaves.
func talk(p *pipe.Transport, ep *handler.Endpoint, cfg *transport.DialConfig, messages ...string) {
	c := printer{make(chan struct{})}
	conn, err := p.Dial(context.Background(), "pipe://localhost/", cfg, func(transport.Conn) transport.Receiver { return c })
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range messages {
		_, _ = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(m)}})
	}
	<-c.gone
	_ = ep.Shutdown(context.Background())
}

// welcome accepts everything.
var welcome = handler.HandlerFunc(func(context.Context, handler.Request) error { return nil })

// Everything that most applications want, in the order that makes sense.
func Example() {
	verify := func(_ context.Context, c middleware.Credentials) (middleware.Identity, error) {
		if c.Token != "k7Rz" {
			return middleware.Identity{}, errors.New("no such token")
		}
		return middleware.Identity{User: "ann", Expires: time.Now().Add(time.Hour)}, nil
	}
	auth := middleware.NewAuthenticator(verify, nil)
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, welcome,
		handler.WithSubProtocols(envelope.NewJSON(nil)),
		handler.WithMiddleware(
			middleware.RequestID,
			middleware.Recover,
			middleware.RateLimit(50, 100),
			middleware.Timeout(5*time.Second),
			auth.Authenticate,
			middleware.Authorize(
				middleware.Deny("SEND /app/admin/"),
				middleware.Allow("SEND /app/", middleware.SignedIn),
			),
		))
	talk(p, ep, nil,
		`{"type":"connect","version":"1","header":[["authorization","Bearer k7Rz"]]}`,
		`{"type":"send","destination":"/app/say","receipt":"1"}`,
		`{"type":"send","destination":"/app/admin/stop","receipt":"2"}`,
		`{"type":"disconnect","receipt":"3"}`)
	// Output:
	// client: connected
	// client: receipt 1
	// client: error 2 forbidden
	// client: receipt 3
}

// A client without the right token is refused before there is a connection.
func ExampleAuthenticator_Accept() {
	verify := func(context.Context, middleware.Credentials) (middleware.Identity, error) {
		return middleware.Identity{}, errors.New("the database says no")
	}
	auth := middleware.NewAuthenticator(verify, &middleware.AuthOptions{
		QueryParameter: "token",
		Refused:        func(_ *handler.Session, err error) { fmt.Println("refused:", err) },
	})
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, welcome, handler.WithSubProtocols(raw.New(nil)),
		handler.WithAccept(auth.Accept), handler.WithMiddleware(auth.Authenticate))
	talk(p, ep, &transport.DialConfig{Header: map[string][]string{"Authorization": {"Bearer guess"}}})
	// Output:
	// refused: the database says no
	// transport: handshake refused with status 401: "the credentials were not accepted"
}

// One line for each message.
func ExampleLog() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "session", "duration", "remote", "cause":
				return slog.Attr{} // different each time
			}
			return a
		},
	}))
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, welcome, handler.WithSubProtocols(envelope.NewJSON(nil)),
		handler.WithMiddleware(middleware.Log(log)))
	talk(p, ep, nil,
		`{"type":"connect","version":"1"}`,
		`{"type":"send","destination":"/app/say","receipt":"b","body":"not logged"}`,
		`{"type":"disconnect","receipt":"c"}`)
	// Unordered output:
	// level=INFO msg="session connected" kind=CONNECT user="" transport=pipe subprotocol="" path=/
	// level=DEBUG msg="message handled" kind=SEND destination=/app/say user="" transport=pipe subprotocol=""
	// level=INFO msg="session ended" kind=DISCONNECT user="" transport=pipe subprotocol=""
	// client: connected
	// client: receipt b
	// client: receipt c
}

// What comes again after a lost connection is handled once.
func ExampleDeduplicate() {
	orders := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			fmt.Printf("an order: %s\n", r.Message.Body)
		}
		return nil
	})
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, orders, handler.WithSubProtocols(envelope.NewJSON(nil)),
		handler.WithMiddleware(middleware.Deduplicate(nil)))
	talk(p, ep, nil,
		`{"type":"connect","version":"1"}`,
		`{"type":"send","destination":"/orders","id":"17","receipt":"1","body":"tea"}`,
		`{"type":"send","destination":"/orders","id":"17","receipt":"2","body":"tea"}`,
		`{"type":"disconnect"}`)
	// Unordered output:
	// an order: "tea"
	// client: connected
	// client: receipt 1
	// client: receipt 2
}

// Everybody reads the news; each user has a corner that nobody else gets into.
func ExampleAuthorize() {
	rules := middleware.Authorize(
		middleware.Allow("SUBSCRIBE /news/", middleware.Anyone),
		middleware.Allow("/users/{user}/", func(r handler.Request) bool {
			return middleware.SignedIn(r) && r.PathValue("user") == r.Session.User()
		}),
	)
	h := rules(welcome)
	for _, m := range []*subprotocol.Message{
		{Kind: subprotocol.KindSubscribe, Destination: "/news/sports"},
		{Kind: subprotocol.KindSend, Destination: "/news/sports"},
		{Kind: subprotocol.KindSubscribe, Destination: "/users/ann/inbox"},
		{Kind: subprotocol.KindSubscribe, Destination: "/News/../users//ann"},
	} {
		fmt.Println(h.Handle(context.Background(), handler.Request{Session: new(handler.Session), Message: m}))
	}
	// Output:
	// <nil>
	// subprotocol: forbidden: SEND is not allowed here
	// subprotocol: forbidden: SUBSCRIBE is not allowed here
	// subprotocol: forbidden: SUBSCRIBE is not allowed here
}

// Hooks count what is handled, by kind and result.
func ExampleTrace() {
	counted := make(map[string]int)
	var mu sync.Mutex
	trace := middleware.Trace(middleware.TraceHooks{
		End: func(_ context.Context, r handler.Request, err error) {
			mu.Lock()
			defer mu.Unlock()
			counted[fmt.Sprint(r.Message.Kind, " failed=", err != nil)]++
		},
	})
	h := trace(middleware.RateLimit(1, 2)(welcome))
	s := new(handler.Session)
	for range 5 {
		_ = h.Handle(context.Background(), handler.Request{Session: s, Message: &subprotocol.Message{Kind: subprotocol.KindSend}})
	}
	fmt.Println(counted)
	// Output:
	// map[SEND failed=false:2 SEND failed=true:3]
}
