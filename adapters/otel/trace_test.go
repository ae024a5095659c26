package otel_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
)

// TestEndToEnd: what one client sends is handled, published, and delivered to another one, and
// all of that can be told from the spans.
func TestEndToEnd(t *testing.T) {
	for _, carrier := range []string{"pipe", "gobwas"} {
		for _, protocol := range []string{"stomp", "json", "msgpack"} {
			for _, trust := range []bool{false, true} {
				name := carrier + "/" + protocol + "/public"
				if trust {
					name = carrier + "/" + protocol + "/trusted"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					endToEnd(t, carrier, protocol, trust)
				})
			}
		}
	}
}

func endToEnd(t *testing.T, carrier, protocol string, trust bool) {
	w := watch(t, &otel.Options{TrustClients: trust})
	b := broker.New(nil)
	mux := handler.NewMux()
	mux.Route("SEND /app/say", handler.Func(func(_ context.Context, _ handler.Request, in string) (string, error) {
		return in + "!", nil
	}, handler.WithSendTo(w.Publisher(b), "/topic/chat")))
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		r.Session.SetUser("ann")
		return nil
	}))
	s := serve(t, carrier, protocol, w.Handler(mux), w.Options()...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	app := w.provider.Tracer("app")
	ctx, click := app.Start(ctx, "click")
	ann := s.dial(t, &client.Options{Connect: connectWith(ctx, w)})
	bob := s.dial(t, nil)
	sub, err := bob.Subscribe(ctx, "/topic/chat", nil, nil)
	require.NoError(t, err)

	m := &subprotocol.Message{Destination: "/app/say", Body: []byte("hello")}
	sending, end := w.StartSend(ctx, m)
	end(ann.SendReceipt(sending, m))
	for d, err := range sub.Messages(ctx) {
		require.NoError(t, err)
		require.Equal(t, "hello!", string(d.Body))
		_, end := w.StartReceive(context.Background(), &d.Message)
		end(nil)
		break
	}
	click.End()
	s.end(t, ann, bob)

	clicked, send := w.one(t, "click"), w.one(t, "send /app")
	receive, handle, publish := w.one(t, "receive SEND /app"), w.one(t, "handle SEND /app"), w.one(t, "publish /topic")
	deliver, got := w.one(t, "deliver /topic"), w.one(t, "receive /topic")
	requireChild(t, clicked, send)
	connects := w.all("connect")
	require.Len(t, connects, 2)
	if trust {
		requireChild(t, send, receive)
		requireChild(t, clicked, connects[0])
	} else {
		requireLinked(t, send.SpanContext, receive)
		requireLinked(t, clicked.SpanContext, connects[0])
	}
	require.Empty(t, connects[1].Links)
	requireChild(t, receive, handle)
	requireChild(t, handle, publish)
	requireChild(t, publish, deliver)
	requireChild(t, publish, got)
	require.Len(t, w.all("disconnect"), 2)
	w.one(t, "receive SUBSCRIBE /topic")
	for _, s := range []struct {
		tracetest.SpanStub
		trace.SpanKind
	}{
		{connects[0], trace.SpanKindServer}, {send, trace.SpanKindProducer}, {receive, trace.SpanKindConsumer},
		{handle, trace.SpanKindInternal}, {publish, trace.SpanKindProducer}, {deliver, trace.SpanKindProducer},
		{got, trace.SpanKindConsumer},
	} {
		require.Equal(t, s.SpanKind, s.SpanStub.SpanKind, s.Name)
		require.Equal(t, codes.Unset, s.Status.Code, s.Name)
	}
	from := attributes(receive)
	require.NotEmpty(t, from["session.id"])
	delete(from, "session.id")
	delete(from, "weft.subprotocol")
	require.Equal(t, map[string]string{
		"messaging.system": "weft", "messaging.operation.name": "receive", "messaging.operation.type": "process",
		"messaging.destination.template": "/app", "messaging.destination.name": "/app/say", "messaging.message.body.size": "5",
		"weft.kind": "SEND", "user.id": "ann", "weft.transport": carrier,
	}, from)
	to := attributes(deliver)
	require.Contains(t, []string{"queued", "sent"}, to["weft.status"])
	require.Equal(t, "/topic/chat", to["messaging.destination.name"])
	require.Equal(t, attributes(connects[1])["session.id"], to["session.id"], "bob's")
	require.Equal(t, "/chat", attributes(connects[0])["url.path"])
	require.Equal(t, "ann", attributes(connects[0])["user.id"])
}

// connectWith has a client's Connect carry the trace of ctx.
func connectWith(ctx context.Context, w *watched) func(context.Context, http.Header, *subprotocol.Message) error {
	return func(_ context.Context, _ http.Header, m *subprotocol.Message) error {
		w.Inject(ctx, m)
		return nil
	}
}
