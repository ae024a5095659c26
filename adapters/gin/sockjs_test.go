package gin_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gingonic "github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/adapters/gin"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

// TestSockJS: every kind of path that the protocol has, in a group with a parameter and
// behind middleware that knows who asks.
func TestSockJS(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 8)
	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), &sockjs.Options{CloseTimeout: 50 * time.Millisecond}), handler.HandlerFunc(handlertest.Echo),
		handler.WithSubProtocols(raw.New(nil)), handler.WithAccept(
			func(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
				s.SetUser(ctx.Value("user").(string))
				paths <- h.Path
				return nil
			}))
	r := gingonic.New()
	r.Use(gingonic.Recovery())
	group := r.Group("/of/:tenant", func(c *gingonic.Context) { c.Set("user", c.Param("tenant")) })
	gin.Mount(group, "/sockjs", ep)
	server := httptest.NewServer(r)
	defer server.Close()
	defer func() { require.NoError(t, ep.Shutdown(t.Context())) }()

	get := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]string{"": "Welcome to SockJS!\n", "/": "Welcome to SockJS!\n", "/info": `{"websocket":true`} {
		status, body := get("GET", "/of/ann/sockjs"+path, "")
		require.Equal(t, 200, status, path)
		require.Contains(t, body, want)
	}
	status, _ := get("OPTIONS", "/of/ann/sockjs/000/abc/xhr", "")
	require.Equal(t, 204, status)
	for _, path := range []string{"//", "/a/b", "/000//xhr", "/000/abc/unknown", "/iframe"} {
		status, _ := get("POST", "/of/ann/sockjs"+path, "")
		require.Equal(t, 404, status, path)
	}

	for _, id := range []string{"abc", "a%20b"} {
		under := "/of/ann/sockjs/000/" + id
		_, body := get("POST", under+"/xhr", "")
		require.Equal(t, "o\n", body)
		require.Equal(t, "/of/ann/sockjs", <-paths)
		status, _ = get("POST", under+"/xhr_send", `["hello"]`)
		require.Equal(t, 204, status)
		_, body = get("POST", under+"/xhr", "")
		require.Equal(t, "a[\"hello\"]\n", body)
	}
	require.Equal(t, "ann", first(ep).User())

	ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/of/bob/sockjs/000/def/xhr_streaming", nil)
	require.NoError(t, err)
	stream, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	_, err = lines.ReadString('\n') // the prelude
	require.NoError(t, err)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "o\n", line)
	get("POST", "/of/bob/sockjs/000/def/xhr_send", `["streamed"]`)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "a[\"streamed\"]\n", line)

	c := &client{messages: make(chan string, 8)}
	conn, err := gobwas.New(nil).Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/of/eve/sockjs/000/ghi/websocket", nil,
		func(transport.Conn) transport.Receiver { return c })
	require.NoError(t, err)
	require.Equal(t, "o", <-c.messages)
	_, err = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(`["over a WebSocket"]`)}})
	require.NoError(t, err)
	require.Equal(t, `a["over a WebSocket"]`, <-c.messages)
	require.NoError(t, conn.Close(transport.StatusNormalClosure, ""))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// first is the oldest session.
func first(ep *handler.Endpoint) (oldest *handler.Session) {
	for s := range ep.Sessions().User("ann") {
		oldest = s
	}
	return oldest
}

type client struct{ messages chan string }

func (c *client) Receive(m transport.Message) { c.messages <- string(m.Data) }
func (c *client) Writable()                   {}
func (c *client) Closed(error)                {}
