package otel_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

// TestHandshake: connect belongs to the request that opened the session, where the Connect comes
// with it and where it comes later.
func TestHandshake(t *testing.T) {
	for _, protocol := range []string{"raw", "json"} {
		for _, tt := range []struct {
			name           string
			request, trust bool // HTTP middleware makes a span; clients are trusted
		}{
			{"header", false, false}, {"header/trusted", false, true}, {"request", true, false}, {"request/trusted", true, true},
		} {
			t.Run(protocol+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				w := watch(t, &otel.Options{TrustClients: tt.trust})
				s := serve(t, "gobwas", protocol, handler.HandlerFunc(nothing), w.Options()...)
				s.stop()
				answered := make(chan struct{})
				srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					defer close(answered)
					if tt.request {
						ctx, span := w.provider.Tracer("http").Start(r.Context(), "GET /chat", trace.WithSpanKind(trace.SpanKindServer))
						defer span.End()
						r = r.WithContext(ctx)
					}
					s.ep.ServeHTTP(rw, r)
				}))
				defer srv.Close()
				s.url = "ws" + strings.TrimPrefix(srv.URL, "http") + "/chat"
				ctx, open := w.provider.Tracer("app").Start(t.Context(), "open")
				c := s.dial(t, &client.Options{Connect: func(_ context.Context, h http.Header, _ *subprotocol.Message) error {
					propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
					return nil
				}})
				open.End()
				s.end(t, c)
				<-answered

				connect := w.one(t, "connect")
				switch {
				case tt.request:
					requireChild(t, w.one(t, "GET /chat"), connect)
					require.Empty(t, connect.Links)
				case tt.trust:
					requireChild(t, w.one(t, "open"), connect)
				default:
					requireLinked(t, open.SpanContext(), connect)
				}
			})
		}
	}
}

// TestHandshakeAndConnect: a Connect of another trace than the request's is linked.
func TestHandshakeAndConnect(t *testing.T) {
	t.Parallel()
	w := watch(t, &otel.Options{TrustClients: true})
	s := serve(t, "pipe", "stomp", handler.HandlerFunc(nothing), w.Options()...)
	ctx, request := w.provider.Tracer("http").Start(t.Context(), "request")
	other, open := w.provider.Tracer("app").Start(t.Context(), "open")
	a, err := s.ep.Accept(&transport.Handshake{Header: http.Header{}, Context: ctx, SubProtocols: []string{"v12.stomp"}})
	require.NoError(t, err)
	r := a.Open(mute{})
	m := &subprotocol.Message{Kind: subprotocol.KindConnect, Version: "1.2"}
	w.Inject(other, m)
	connect := "CONNECT\naccept-version:1.2\nhost:x\ntraceparent:" + m.Header.Get("traceparent") + "\n\n\x00"
	r.Receive(textMessage(connect))
	r.Receive(textMessage(connect)) // STOMP has no second one
	r.Closed(nil)
	request.End()
	open.End()
	s.end(t)
	got := w.one(t, "connect")
	requireChild(t, w.one(t, "request"), got)
	require.Len(t, got.Links, 1)
	require.Equal(t, open.SpanContext().SpanID(), got.Links[0].SpanContext.SpanID())
}

// mute is a connection that takes everything.
type mute struct{}

func (mute) Write(b []transport.Message) (int, error) { return len(b), nil }
func (mute) Close(transport.StatusCode, string) error { return nil }
func (mute) SubProtocol() string                      { return "v12.stomp" }

func TestRefusedConnect(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{
		"bad-login": &subprotocol.Error{Code: "bad-login", Text: "who are you?"}, "internal": errors.New("secret"),
	} {
		w := watch(t, nil)
		s := serve(t, "gobwas", "stomp", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindConnect {
				return refusal
			}
			return nil
		}), w.Options()...)
		_, err := client.Dial(t.Context(), s.url, gobwas.New(nil), s.sp, &client.Options{Reconnect: client.Reconnect{Disabled: true}})
		require.Error(t, err)
		s.end(t)
		got := w.one(t, "connect")
		require.Equal(t, codes.Error, got.Status.Code)
		require.Equal(t, name, attributes(got)["error.type"])
		require.Equal(t, map[string]string{"bad-login": "who are you?"}[name], got.Status.Description)
		require.Equal(t, []string{"connect"}, w.names(), "what was refused sees no Disconnect")
	}
}

// TestDisconnect: the span says how the session ended, and who ended it.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	leave := func(_ *handler.Session, c *client.Client) error { return c.Close(context.Background()) }
	for name, tc := range map[string]struct {
		protocol   string
		end        func(*handler.Session, *client.Client) error
		by, status string
	}{
		"server": {"raw", func(s *handler.Session, _ *client.Client) error { return s.Close(4001, "enough") }, "server", "4001"},
		"client": {"raw", leave, "client", "1000"},
		// The server closes the connection of a client that has said that it goes.
		"disconnect": {"stomp", leave, "client", "1000"},
		"lost": {"raw", func(s *handler.Session, _ *client.Client) error {
			c, _ := transport.As[*pipe.Conn](s.Conn())
			c.Cut()
			return nil
		}, "", "1006"},
	} {
		w := watch(t, nil)
		sessions := make(chan *handler.Session, 1)
		s := serve(t, "pipe", tc.protocol, handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindConnect {
				sessions <- r.Session
			}
			return nil
		}), w.Options()...)
		c := s.dial(t, nil)
		sess := <-sessions
		require.NoError(t, tc.end(sess, c), name)
		<-c.Done()
		<-sess.Context().Done()
		require.NoError(t, s.ep.Shutdown(t.Context()))
		s.stop()
		got := attributes(w.one(t, "disconnect"))
		require.Equal(t, tc.by, got["weft.close.by"], name)
		require.Equal(t, tc.status, got["weft.close.status"], name)
	}
}
