// Command stomp is a message broker for STOMP clients, over WebSocket and over TCP:
// topics, queues with acknowledgements, and destinations of one user.
package main

import (
	"context"
	"log"
	"net"
	"net/http"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/tcp"
)

// verify lets everybody in under the name that they give.
func verify(_ context.Context, c middleware.Credentials) (middleware.Identity, error) {
	return middleware.Identity{User: c.User}, nil
}

func main() {
	b := broker.New(nil)
	auth := middleware.NewAuthenticator(verify, &middleware.AuthOptions{ConnectLater: true})

	mux := handler.NewMux()
	mux.Use(auth.Authenticate)
	mux.Route("/topic/", b) // SEND and SUBSCRIBE, by whoever is connected
	mux.Route("/queue/", b)
	mux.Route("SUBSCRIBE /user/", b) // what the server sends with b.PublishToUser

	speak := handler.WithSubProtocols(stomp.New(nil))
	http.Handle("/stomp", handler.NewEndpoint(gobwas.New(nil), mux, speak))

	ln, err := net.Listen("tcp", "127.0.0.1:61613")
	if err != nil {
		log.Fatal(err)
	}
	overTCP := handler.NewEndpoint(tcp.New(nil), mux, speak)
	go func() { log.Fatal(overTCP.Serve(context.Background(), ln)) }()
	log.Println("STOMP on ws://127.0.0.1:8080/stomp and tcp://127.0.0.1:61613")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
