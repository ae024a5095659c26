package sockjs_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

// An endpoint that echoes, in front of a router, and what a client says to it that can only
// poll.
func ExampleMount() {
	echo := handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Type: r.Message.Type, Body: r.Message.Body})
		return err
	})
	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), echo, handler.WithSubProtocols(raw.New(nil)))
	server := httptest.NewServer(sockjs.Mount("/sockjs", ep, http.DefaultServeMux))
	defer server.Close()

	post := func(path, body string) {
		resp, err := http.Post(server.URL+path, "", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		fmt.Printf("%d %q\n", resp.StatusCode, text)
	}
	post("/sockjs/000/abc/xhr", "")
	post("/sockjs/000/abc/xhr_send", `["hello","world"]`)
	post("/sockjs/000/abc/xhr", "")
	// Output:
	// 200 "o\n"
	// 204 ""
	// 200 "a[\"hello\",\"world\"]\n"
}
