// Command quickstart sends every message back. With it running, talk to it:
//
//	npx wscat -c ws://127.0.0.1:8080/ws
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport/gobwas"
)

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil // Connect and Disconnect are messages too
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}

func main() {
	ep := handler.NewEndpoint(
		gobwas.New(nil),                        // how bytes travel
		handler.HandlerFunc(echo),              // what the application does
		handler.WithSubProtocols(raw.New(nil)), // how bytes become messages
	)
	http.Handle("/ws", ep)
	fmt.Println("listening on ws://127.0.0.1:8080/ws")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
