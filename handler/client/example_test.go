package client_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/pipe"
)

// started is a broker that speaks STOMP, and what stops it.
func started() (*pipe.Transport, func()) {
	p, b := pipe.New(nil), broker.New(nil)
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /topic/", b)
	mux.Route("SUBSCRIBE /queue/", b)
	mux.Route("SEND /queue/", b)
	mux.Route("SEND /app/double", handler.Func(func(_ context.Context, _ handler.Request, text string) (string, error) {
		return text + text, nil
	}))
	ep := handler.NewEndpoint(p, mux, handler.WithSubProtocols(stomp.New(nil)))
	return p, func() {
		_ = ep.Shutdown(context.Background())
		b.Close()
	}
}

// A function gets what is published.
func ExampleClient_Subscribe() {
	dialer, stop := started()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", dialer, stomp.New(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	got := make(chan string)
	_, err = c.Subscribe(ctx, "/topic/news", nil, func(_ context.Context, d *client.Delivery) { got <- string(d.Body) })
	if err != nil {
		fmt.Println(err)
		return
	}
	err = c.Send(ctx, &subprotocol.Message{Destination: "/topic/news", Body: []byte("hello")})
	fmt.Println(<-got, err)
	// Output:
	// hello <nil>
}

// A worker takes jobs from a queue and acknowledges each.
func ExampleSubscription_Messages() {
	dialer, stop := started()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", dialer, stomp.New(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	for _, job := range []string{"wash", "dry", "stop"} {
		_ = c.Send(ctx, &subprotocol.Message{Destination: "/queue/jobs", Body: []byte(job)})
	}
	sub, err := c.Subscribe(ctx, "/queue/jobs", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for d, err := range sub.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", d.Body)
		if err := d.Ack(ctx); err != nil || string(d.Body) == "stop" {
			break
		}
	}
	// Output:
	// wash
	// dry
	// stop
}

// The result of a job and its acknowledgement are done together.
func ExampleClient_Begin() {
	dialer, stop := started()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", dialer, stomp.New(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	_ = c.Send(ctx, &subprotocol.Message{Destination: "/queue/jobs", Body: []byte("job")})
	sub, err := c.Subscribe(ctx, "/queue/jobs", &client.SubscribeOptions{AckMode: subprotocol.AckClient}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for d, err := range sub.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = tx.Ack(ctx, d)
		_ = tx.Send(ctx, &subprotocol.Message{Destination: "/queue/results", Body: append(d.Body, " done"...)})
		fmt.Println("committed:", tx.Commit(ctx))
		break
	}
	// Output:
	// committed: <nil>
}

// A request has an answer.
func ExampleClient_Request() {
	dialer, stop := started()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", dialer, stomp.New(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)

	reply, err := c.Request(ctx, &subprotocol.Message{Destination: "/app/double", Body: []byte("ha")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", reply.Body)
	// Output:
	// haha
}

// Credentials are asked for before each attempt, and the hook sees each state.
func ExampleOptions() {
	dialer, stop := started()
	defer stop()
	ctx := context.Background()
	done := make(chan struct{})
	c, err := client.Dial(ctx, "pipe://localhost/", dialer, stomp.New(nil), &client.Options{
		Connect: func(_ context.Context, _ http.Header, m *subprotocol.Message) error {
			m.Header = subprotocol.Header{{Name: "login", Value: "ann"}, {Name: "passcode", Value: "secret"}}
			return nil
		},
		Hooks: client.Hooks{State: func(ch client.StateChange) {
			fmt.Println(ch.State)
			if ch.State == client.Closed {
				close(done)
			}
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = c.Close(ctx)
	<-done
	// Output:
	// connecting
	// connected
	// closed
}
