package otel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// next takes a delivery of sub.
func next(t *testing.T, sub *client.Subscription) *client.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for d, err := range sub.Messages(ctx) {
		require.NoError(t, err)
		return d
	}
	t.Fatal("the subscription has ended")
	return nil
}

// TestTransaction: what a part publishes follows at the commit, and belongs to that part.
func TestTransaction(t *testing.T) {
	for _, protocol := range []string{"stomp", "json"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := watch(t, nil)
			b := broker.New(nil)
			mux := handler.NewMux()
			mux.Use(middleware.Timeout(time.Hour)) // whose context has ended at the commit
			mux.Route("SEND /app/say", handler.Func(func(_ context.Context, _ handler.Request, in string) (string, error) {
				return in, nil
			}, handler.WithSendTo(w.Publisher(b), "/topic/chat")))
			mux.Route("SEND /queue/", b)
			mux.Route("SUBSCRIBE /topic/", b)
			s := serve(t, "pipe", protocol, mux, w.Options()...)
			c := s.dial(t, nil)
			sub, err := c.Subscribe(t.Context(), "/topic/chat", nil, nil)
			require.NoError(t, err)
			send := func(commit bool) {
				tx, err := c.Begin(t.Context())
				require.NoError(t, err)
				require.NoError(t, tx.Send(t.Context(), &subprotocol.Message{Destination: "/app/say", Body: []byte("hello")}))
				require.NoError(t, tx.Send(t.Context(), &subprotocol.Message{Destination: "/queue/x"}))
				if commit {
					require.NoError(t, tx.Commit(t.Context()))
				} else {
					require.NoError(t, tx.Abort(t.Context()))
				}
			}
			send(false)
			require.Empty(t, w.all("publish /topic"))
			require.Empty(t, w.all("receive SEND /app"), "what was aborted is not handled")
			send(true)
			next(t, sub)
			s.end(t, c)
			w.one(t, "receive SEND /queue")
			requireChild(t, w.one(t, "receive SEND /app"), w.one(t, "publish /topic"))
			requireChild(t, w.one(t, "publish /topic"), w.one(t, "deliver /topic"))
		})
	}
}

// TestRedelivery: each attempt is a delivery of the same publication.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	b := broker.New(&broker.Options{RedeliveryDelay: time.Millisecond})
	defer b.Close()
	s := serve(t, "pipe", "json", b, w.Options()...)
	c := s.dial(t, nil)
	sub, err := c.Subscribe(t.Context(), "/queue/jobs", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual}, nil)
	require.NoError(t, err)
	require.NoError(t, w.Publisher(b).Publish(t.Context(), "/queue/jobs", &subprotocol.Message{Body: []byte("1")}))
	d := next(t, sub)
	require.NoError(t, d.Nack(t.Context()))
	again := next(t, sub)
	require.Equal(t, d.Header.Get("traceparent"), again.Header.Get("traceparent"))
	require.NotEmpty(t, again.Header.Get("traceparent"))
	require.NoError(t, again.Ack(t.Context()))
	s.end(t, c)
	deliveries := w.all("deliver /queue")
	require.Len(t, deliveries, 2)
	for i, want := range []string{"", "2"} {
		requireChild(t, w.one(t, "publish /queue"), deliveries[i])
		require.Equal(t, want, attributes(deliveries[i])["weft.delivery.count"])
	}
	w.one(t, "receive NACK /queue")
	w.one(t, "receive ACK /queue")
}

// TestManySubscribers: a few deliveries have a span, the others are counted.
func TestManySubscribers(t *testing.T) {
	for _, tt := range []struct{ max, spans, rest int }{{0, 16, 24}, {3, 3, 37}, {-1, 0, 0}, {100, 40, 0}} {
		t.Run(fmt.Sprint(tt.max), func(t *testing.T) {
			t.Parallel()
			w := watch(t, &otel.Options{MaxDeliveries: tt.max})
			b := broker.New(nil)
			s := serve(t, "pipe", "json", b, w.Options()...)
			var all []*client.Client
			for range 40 {
				c := s.dial(t, nil)
				_, err := c.Subscribe(t.Context(), "/topic/x", nil, nil)
				require.NoError(t, err)
				all = append(all, c)
			}
			for range 2 {
				require.NoError(t, w.Publisher(b).Publish(t.Context(), "/topic/x", &subprotocol.Message{}))
			}
			s.end(t, all...)
			require.Len(t, w.all("deliver /topic"), 2*tt.spans)
			require.EqualValues(t, 2*tt.rest, w.metrics(t)["weft.telemetry.problems{weft.reason=delivery-limit}"])
		})
	}
}

// TestUnsampled: nothing is recorded, and the decision goes on to whoever gets the message.
func TestUnsampled(t *testing.T) {
	t.Parallel()
	w := watch(t, nil, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	b := broker.New(nil)
	s := serve(t, "pipe", "json", w.Handler(b), w.Options()...)
	c := s.dial(t, nil)
	sub, err := c.Subscribe(t.Context(), "/topic/x", nil, nil)
	require.NoError(t, err)
	m := &subprotocol.Message{Destination: "/topic/x", Header: subprotocol.Header{{Name: "traceparent", Value: traceparent}}}
	require.NoError(t, c.SendReceipt(t.Context(), m))
	first := next(t, sub)
	require.NoError(t, w.Publisher(b).Publish(t.Context(), "/topic/x", m))
	second := next(t, sub)
	for _, d := range []*client.Delivery{first, second} {
		got := d.Header.Get("traceparent")
		require.Len(t, got, len(traceparent))
		require.NotContains(t, got, traceparent[3:35], "it is the server's trace")
		require.Contains(t, "02468ace", got[54:], "it is not sampled")
	}
	require.Equal(t, traceparent, m.Header.Get("traceparent"), "the message is the caller's")
	s.end(t, c)
	require.Empty(t, w.names())
	require.EqualValues(t, 1, w.metrics(t)["messaging.process.duration{messaging.destination.template=/topic,"+
		"messaging.operation.name=receive,messaging.operation.type=process,messaging.system=weft,weft.kind=SEND,"+
		"weft.subprotocol=v1.json.weft,weft.transport=pipe}"], "it is measured all the same")
}

// TestUserPublisher: as Publisher, for one user.
func TestUserPublisher(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	b := broker.New(nil)
	s := serve(t, "pipe", "stomp", handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindConnect {
			r.Session.SetUser("ann")
		}
		return b.Handle(ctx, r)
	}), w.Options()...)
	c := s.dial(t, nil)
	sub, err := c.Subscribe(t.Context(), "/user/queue/news", nil, nil)
	require.NoError(t, err)
	ctx, span := w.provider.Tracer("app").Start(t.Context(), "cron")
	require.NoError(t, w.UserPublisher(b).PublishToUser(ctx, "ann", "/queue/news", &subprotocol.Message{Body: []byte("1")}))
	require.Error(t, w.UserPublisher(b).PublishToUser(ctx, "", "/queue/news", &subprotocol.Message{}))
	span.End()
	next(t, sub)
	s.end(t, c)
	published := w.all("publish /queue")
	require.Len(t, published, 2)
	requireChild(t, w.one(t, "cron"), published[0])
	requireChild(t, published[0], w.one(t, "deliver /user"))
	require.Equal(t, codes.Error, published[1].Status.Code)
	require.Equal(t, "internal", attributes(published[1])["error.type"])
}

// TestRaw: where there are no headers a trace ends at the wire.
func TestRaw(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	b := broker.New(nil)
	s := serve(t, "pipe", "raw", handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		switch r.Message.Kind {
		case subprotocol.KindConnect:
			return b.Subscribe(r.Session, "s", "/topic/x")
		case subprotocol.KindSend:
			return w.Publisher(b).Publish(ctx, "/topic/x", r.Message)
		}
		return nil
	}), w.Options()...)
	c := s.dial(t, nil)
	sub, err := c.Subscribe(t.Context(), "", nil, nil)
	require.NoError(t, err)
	m := &subprotocol.Message{Body: []byte("hello")}
	_, end := w.StartSend(t.Context(), m)
	end(c.Send(t.Context(), m))
	d := next(t, sub)
	require.Equal(t, "hello", string(d.Body))
	require.Empty(t, d.Header)
	s.end(t, c)
	receive := w.one(t, "receive SEND")
	require.False(t, receive.Parent.IsValid())
	require.Empty(t, receive.Links)
	requireChild(t, receive, w.one(t, "publish /topic"))
	requireChild(t, w.one(t, "publish /topic"), w.one(t, "deliver /topic"))
}

// TestErrors: what a handler returns is told by its type, and its text only to whom it is for.
func TestErrors(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	failures := map[string]error{
		"internal": errors.New("password is hunter2"),
		"no":       fmt.Errorf("hunter2: %w", &subprotocol.Error{Code: "no", Text: "not you"}),
		"timeout":  fmt.Errorf("hunter2: %w", context.DeadlineExceeded),
		"panic":    nil,
		"canceled": context.Canceled,
	}
	opts := append(w.Options(), handler.WithMiddleware(middleware.Recover))
	s := serve(t, "pipe", "json", w.Handler(handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		name := strings.TrimPrefix(r.Message.Destination, "/app/")
		if name == "panic" {
			panic("hunter2")
		}
		return failures[name]
	})), opts...)
	c := s.dial(t, nil)
	for name := range failures {
		require.Error(t, c.SendReceipt(t.Context(), &subprotocol.Message{Destination: "/app/" + name}))
	}
	s.end(t, c)
	for _, kind := range []string{"receive", "handle"} {
		got := w.all(kind + " SEND /app")
		require.Len(t, got, len(failures))
		for _, span := range got {
			a := attributes(span)
			name := strings.TrimPrefix(a["messaging.destination.name"], "/app/")
			if kind == "receive" {
				require.Equal(t, name, a["error.type"])
			}
			require.Equal(t, codes.Error, span.Status.Code)
			require.Equal(t, map[string]string{"no": "not you"}[a["error.type"]], span.Status.Description)
			require.Empty(t, span.Events)
			require.NotContains(t, fmt.Sprint(span), "hunter2")
		}
	}
	require.EqualValues(t, 1, w.metrics(t)["messaging.process.duration{error.type=no,messaging.destination.template=/app,"+
		"messaging.operation.name=receive,messaging.operation.type=process,messaging.system=weft,weft.kind=SEND,"+
		"weft.subprotocol=v1.json.weft,weft.transport=pipe}"])
}

// TestPanicPasses: without Recover the session ends, and the span has ended before.
func TestPanicPasses(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	s := serve(t, "pipe", "json", w.Handler(handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			panic("oops")
		}
		return nil
	})), w.Options()...)
	c := s.dial(t, nil)
	require.NoError(t, c.Send(t.Context(), &subprotocol.Message{Destination: "/app/x"}))
	<-c.Done()
	s.end(t)
	for _, name := range []string{"receive SEND /app", "handle SEND /app"} {
		require.Equal(t, "panic", attributes(w.one(t, name))["error.type"])
	}
	w.one(t, "disconnect")
}

// TestEndIsNoError: a handler that found its own session ended has not failed.
func TestEndIsNoError(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	s := serve(t, "pipe", "json", handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindDisconnect {
			return ctx.Err()
		}
		return nil
	}), w.Options()...)
	s.end(t, s.dial(t, nil))
	got := w.one(t, "disconnect")
	require.Equal(t, codes.Unset, got.Status.Code)
	require.NotContains(t, attributes(got), "error.type")
}

// TestDropped: a delivery says when a session had no room.
func TestDropped(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	b := broker.New(nil)
	opts := append(w.Options(), handler.WithOutbound(func(next handler.Sender) handler.Sender {
		return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
			if o.Message.Kind == subprotocol.KindDeliver {
				return handler.Dropped, handler.ErrQueueFull
			}
			return next.Send(o)
		})
	}))
	s := serve(t, "pipe", "json", b, opts...)
	c := s.dial(t, nil)
	_, err := c.Subscribe(t.Context(), "/topic/x", nil, nil)
	require.NoError(t, err)
	require.NoError(t, w.Publisher(b).Publish(t.Context(), "/topic/x", &subprotocol.Message{}))
	s.end(t, c)
	got := w.one(t, "deliver /topic")
	require.Equal(t, "dropped", attributes(got)["weft.status"])
	require.Equal(t, "queue-full", attributes(got)["error.type"])
	require.Equal(t, codes.Error, got.Status.Code)
}

// TestReplies: the answer to a request is a part of the request.
func TestReplies(t *testing.T) {
	t.Parallel()
	w := watch(t, nil)
	s := serve(t, "pipe", "json", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		r.Message.Kind = subprotocol.KindReply // with all that it has
		_, err := r.Reply(r.Message)
		return err
	}), append([]handler.Option{handler.WithMiddleware(middleware.RequestID)}, w.Options()...)...)
	c := s.dial(t, nil)
	m := &subprotocol.Message{Destination: "/app/x"}
	ctx, end := w.StartSend(t.Context(), m)
	r, err := c.Request(ctx, m)
	end(err)
	require.NoError(t, err)
	s.end(t, c)
	receive := w.one(t, "receive SEND /app")
	require.Contains(t, r.Header.Get("traceparent"), receive.SpanContext.TraceID().String())
	require.NotEmpty(t, attributes(receive)["weft.request"])
	require.ElementsMatch(t, []string{"connect", "send /app", "receive SEND /app", "disconnect"}, w.names())
}
