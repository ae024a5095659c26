// Command chi mounts endpoints in a router of github.com/go-chi/chi. It takes any
// http.Handler, and an endpoint is one. With it running, talk to it:
//
//	npx wscat -c ws://127.0.0.1:8080/ws
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}

// router has a path for WebSocket, and one with all of SockJS below it.
func router(path string, ws, polled http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer, middleware.Compress(5))
	r.Handle(path, ws)
	r.Mount("/sockjs", http.StripPrefix("/sockjs", polled))
	return r
}

func main() {
	h, speak := handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil))
	ws := handler.NewEndpoint(gobwas.New(nil), h, speak)
	polled := handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), h, speak)
	fmt.Println("listening on ws://127.0.0.1:8080/ws, and for SockJS on http://127.0.0.1:8080/sockjs")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", router("/ws", ws, polled)))
}
