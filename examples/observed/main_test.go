package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestObserved: all three see the same message of the same session, over a WebSocket and over
// HTTP.
func TestObserved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		over, subProtocol string
		ws                transport.Dialer
	}{
		{"websocket", "v12.stomp", gobwas.New(nil)},
		{"xhr-streaming", "none", nil},
	} {
		t.Run(tt.over, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			spans := tracetest.NewSpanRecorder()
			ep, ins, h := site(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
			server := httptest.NewServer(h)
			defer server.Close()
			defer ins.Close()

			var over string
			c, err := client.Dial(ctx, server.URL+"/sockjs",
				sockjs.NewDialer(tt.ws, &sockjs.DialerOptions{Opened: func(name string) { over = name }}), stomp.New(nil), nil)
			require.NoError(t, err)
			require.Equal(t, tt.over, over)
			sub, err := c.Subscribe(ctx, "/topic/chat", nil, nil)
			require.NoError(t, err)
			require.NoError(t, c.SendReceipt(ctx, &subprotocol.Message{
				Destination: "/app/say", ContentType: "application/json", Body: []byte(`{"text":"hello"}`),
			}))
			for d, err := range sub.Messages(ctx) {
				require.NoError(t, err)
				require.JSONEq(t, `{"text":"hello"}`, string(d.Body))
				break
			}

			page := get(t, server, "/inspect/", "")
			_, rest, _ := strings.Cut(page, `name="token" content="`)
			token, _, found := strings.Cut(rest, `"`)
			require.True(t, found)
			sessions := get(t, server, "/inspect/sessions", token)
			require.Contains(t, sessions, `"endpoint":"chat"`)
			require.Contains(t, sessions, `"transport":"sockjs"`)

			require.NoError(t, c.Close(ctx))
			require.NoError(t, ep.Shutdown(ctx)) // all is handled then
			figures := get(t, server, "/metrics", "")
			for _, line := range []string{
				`weft_received_messages_total{class="/app",endpoint="chat",kind="SEND",result="ok",subprotocol="%s",transport="sockjs"} 1`,
				`weft_sessions_closed_total{cause="disconnect",code="1000",endpoint="chat",subprotocol="%s",transport="sockjs"} 1`,
			} {
				require.Contains(t, strings.Split(figures, "\n"), fmt.Sprintf(line, tt.subProtocol))
			}

			parents := make(map[string]string) // by name of span
			names := make(map[string]string)   // by ID
			for _, s := range spans.Ended() {
				names[s.SpanContext().SpanID().String()] = s.Name()
			}
			for _, s := range spans.Ended() {
				parents[s.Name()] = names[s.Parent().SpanID().String()]
			}
			require.Equal(t, "publish /topic", parents["deliver /topic"])
			require.Equal(t, "handle SEND /app", parents["publish /topic"])
			require.Equal(t, "receive SEND /app", parents["handle SEND /app"])
			require.Contains(t, parents, "disconnect")
		})
	}
}

// get asks as the page at /inspect/ does, which has the token.
func get(t *testing.T, server *httptest.Server, path, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	require.NoError(t, err)
	if token != "" {
		r.Header.Set("X-Weft-Inspect", token)
	}
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	return string(body)
}
