package main

import (
	"context"
	"crypto/subtle"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// newBroker is behind all STOMP endpoints, so that clients of one meet those of another.
func newBroker() *broker.Broker {
	return broker.New(&broker.Options{TopicPrefixes: []string{"/topic/", "/exchange/"}, QueuePrefixes: []string{"/queue/"}})
}

func newSTOMP(t transport.Transport, b *broker.Broker) *handler.Endpoint {
	mux := handler.NewMux()
	mux.Route("CONNECT", handler.HandlerFunc(login))
	for _, prefix := range []string{"/topic/", "/queue/", "/exchange/"} {
		mux.Route("SUBSCRIBE "+prefix, b)
		mux.Route("SEND "+prefix, b)
	}
	return handler.NewEndpoint(t, mux,
		handler.WithSubProtocols(stomp.New(nil)),
		handler.WithMaxFrame(maxMessage),
		handler.WithQueue(handler.Limits{Messages: 4096, Bytes: 2 * maxMessage}), // more than one of the largest
		handler.WithTransactions(8, handler.Limits{Messages: 4096, Bytes: maxMessage}),
		handler.WithHeartbeat(heartbeat, heartbeat),
	)
}

// login knows one user. There is one virtual host, whatever the client calls it.
func login(_ context.Context, r handler.Request) error {
	const guest = "guest"
	user, passcode := r.Message.Header.Get("login"), r.Message.Header.Get("passcode")
	if user != guest || subtle.ConstantTimeCompare([]byte(passcode), []byte(guest)) != 1 {
		return &subprotocol.Error{Code: "unauthorized", Text: "login and passcode are not valid"}
	}
	r.Session.SetUser(user)
	return nil
}
