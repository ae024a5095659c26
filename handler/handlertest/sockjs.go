package handlertest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

// RunSockJS checks that another project's router passes on every kind of path that SockJS
// has. mount returns the router, in which ep is mounted at "/of/{tenant}/sockjs", and whose
// middleware gives the context the tenant's name under the key "user".
func RunSockJS(t *testing.T, mount func(ep *handler.Endpoint) http.Handler) {
	paths := make(chan string, 8)
	users := make(chan any, 8)
	ep := handler.NewEndpoint(
		sockjs.New(gobwas.New(nil), &sockjs.Options{CloseTimeout: 50 * time.Millisecond}), handler.HandlerFunc(Echo),
		handler.WithSubProtocols(raw.New(nil)), handler.WithAccept(
			func(ctx context.Context, _ *handler.Session, h *transport.Handshake) error {
				paths <- h.Path
				users <- ctx.Value("user")
				return nil
			}))
	server := httptest.NewServer(mount(ep))
	client := &http.Client{
		Transport:     new(http.Transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer func() {
		if err := ep.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		client.CloseIdleConnections()
		server.Close()
	}()

	do := func(method, path, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(body))
		check(t, err)
		resp, err := client.Do(req)
		check(t, err)
		return resp
	}
	want := func(method, path, body string, status int, text string) {
		t.Helper()
		resp := do(method, path, body)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		check(t, err)
		if resp.StatusCode != status || !strings.HasPrefix(string(got), text) {
			t.Fatalf("%s %s is answered with %d %q, want %d %q", method, path, resp.StatusCode, got, status, text)
		}
	}
	accepted := func(tenant string) {
		t.Helper()
		if path, user := <-paths, <-users; path != "/of/"+tenant+"/sockjs" || user != tenant {
			t.Fatalf("the hook is told of path %q and user %v", path, user)
		}
	}
	line := func(br *bufio.Reader, want string) {
		t.Helper()
		got, err := br.ReadString('\n')
		check(t, err)
		if !strings.HasPrefix(got, want) {
			t.Fatalf("the stream has %.40q, want %q", got, want)
		}
	}

	const ann = "/of/ann/sockjs"
	want("GET", ann, "", 200, "Welcome to SockJS!\n")
	want("GET", ann+"/", "", 200, "Welcome to SockJS!\n")
	want("GET", ann+"/info", "", 200, `{"websocket":true`)
	want("OPTIONS", ann+"/000/abc/xhr", "", 204, "")
	for _, path := range []string{"//", "/a/b", "/000//xhr", "/000/abc/unknown", "/iframe"} {
		want("POST", ann+path, "", 404, "")
	}

	for _, id := range []string{"abc", "a%20b", "a%2Bb"} {
		under := ann + "/000/" + id
		want("POST", under+"/xhr", "", 200, "o\n")
		accepted("ann")
		want("POST", under+"/xhr_send", `["hello"]`, 204, "")
		want("POST", under+"/xhr", "", 200, "a[\"hello\"]\n")
	}

	stream := do("POST", "/of/bob/sockjs/000/def/xhr_streaming", "")
	defer stream.Body.Close()
	br := bufio.NewReader(stream.Body)
	line(br, "hhh") // the prelude
	line(br, "o\n")
	accepted("bob")
	want("POST", "/of/bob/sockjs/000/def/xhr_send", `["streamed"]`, 204, "")
	line(br, "a[\"streamed\"]\n")

	frames := make(frames, 8)
	conn, err := gobwas.New(nil).Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/of/eve/sockjs/000/ghi/websocket", nil,
		func(transport.Conn) transport.Receiver { return frames })
	check(t, err)
	accepted("eve")
	if f := <-frames; f != "o" {
		t.Fatalf("the WebSocket begins with %q", f)
	}
	_, err = conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(`["over a WebSocket"]`)}})
	check(t, err)
	if f := <-frames; f != `a["over a WebSocket"]` {
		t.Fatalf("the WebSocket has %q", f)
	}
	check(t, conn.Close(transport.StatusNormalClosure, ""))
}

// frames are what comes in on a WebSocket.
type frames chan string

func (f frames) Receive(m transport.Message) { f <- string(m.Data) }
func (f frames) Writable()                   {}
func (f frames) Closed(error)                {}
