package otel_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/pipe"
)

// One message through the house: from a client to the server, to a topic, and back to the client
// that has subscribed to that. In a program the two ends have providers of their own, and export in
// batches.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	tel := otel.New(&otel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		TrustClients:   true, // so that there is one trace
	})

	b := broker.New(nil)
	mux := handler.NewMux()
	mux.Route("SEND /app/say", handler.Func(func(_ context.Context, _ handler.Request, text string) (string, error) {
		return text + "!", nil
	}, handler.WithSendTo(tel.Publisher(b), "/topic/chat")))
	mux.Route("SUBSCRIBE /topic/", b)
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, tel.Handler(mux),
		append(tel.Options(), handler.WithSubProtocols(stomp.New(nil)), handler.WithCodecs(jsoncodec.New(nil)))...)

	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", p, stomp.New(nil), nil)
	if err != nil {
		panic(err)
	}
	sub, err := c.Subscribe(ctx, "/topic/chat", nil, nil)
	if err != nil {
		panic(err)
	}

	m := &subprotocol.Message{Destination: "/app/say", Body: []byte("hello")}
	sending, end := tel.StartSend(ctx, m)
	end(c.SendReceipt(sending, m))

	for d, err := range sub.Messages(ctx) {
		if err != nil {
			panic(err)
		}
		_, end := tel.StartReceive(ctx, &d.Message)
		fmt.Printf("%s\n\n", d.Body)
		end(nil)
		break
	}
	_ = c.Close(ctx)
	_ = ep.Shutdown(ctx)

	var tree func(parent trace.SpanID, indent string)
	tree = func(parent trace.SpanID, indent string) {
		for _, s := range spans.GetSpans() {
			if s.Parent.SpanID() == parent {
				fmt.Println(indent + s.Name)
				tree(s.SpanContext.SpanID(), indent+"  ")
			}
		}
	}
	for _, s := range spans.GetSpans() {
		if s.Name == "send /app" {
			fmt.Println(s.Name)
			tree(s.SpanContext.SpanID(), "  ")
		}
	}
	// Output:
	// hello!
	//
	// send /app
	//   receive SEND /app
	//     handle SEND /app
	//       publish /topic
	//         deliver /topic
	//         receive /topic
}
