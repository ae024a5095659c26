package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/sockjs"
)

// stack is one way to the chat. The page offers all that there are.
type stack struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Socket   string `json:"socket"` // what the page connects with, "websocket" or "sockjs"
	Client   string `json:"client"` // what the page speaks there
	Title    string `json:"title"`
	endpoint *handler.Endpoint
}

// newStacks makes a chat and all ways to it. They have the same handlers; what
// differs is what stands here.
func newStacks(l *slog.Logger) []stack {
	jsonCodec, msgpackCodec := jsoncodec.New(nil), msgpackcodec.New(nil)
	mux := newChat(jsonCodec, msgpackCodec).mux(l)

	inJSON := handler.WithSubProtocols(envelope.NewJSON(nil))
	inMsgpack := handler.WithSubProtocols(envelope.NewMsgpack(nil))
	inLines := handler.WithSubProtocols(raw.New(nil))
	inSTOMP := handler.WithSubProtocols(stomp.New(nil))

	overGobwas := gobwas.New(&gobwas.Options{MaxMessageSize: maxMessage})
	overGorilla := gorilla.New(&gorilla.Options{MaxMessageSize: maxMessage})
	sockJSOptions := &sockjs.Options{MaxMessageSize: maxMessage, MaxSessions: maxSessions}
	// On their WebSockets messages are quoted.
	sockJSOverGobwas := sockjs.New(gobwas.New(&gobwas.Options{MaxMessageSize: 2 * maxMessage}), sockJSOptions)
	sockJSOverGorilla := sockjs.New(gorilla.New(&gorilla.Options{MaxMessageSize: 2 * maxMessage}), sockJSOptions)

	to := func(t transport.Transport, opts ...handler.Option) *handler.Endpoint {
		return handler.NewEndpoint(t, mux, append(opts, handler.WithMaxSessions(maxSessions), handler.WithMaxFrame(maxMessage))...)
	}
	ws := func(name, client, title string, e *handler.Endpoint) stack {
		return stack{name, "/ws/" + name, "websocket", client, title, e}
	}
	fallback := func(name, client, title string, e *handler.Endpoint) stack {
		return stack{name, "/" + name, "sockjs", client, title, e}
	}
	return []stack{
		ws("gobwas/json", "json", "gobwas, JSON envelope", to(overGobwas, inJSON, handler.WithCodecs(jsonCodec))),
		ws("gorilla/msgpack", "msgpack", "gorilla, msgpack envelope", to(overGorilla, inMsgpack, handler.WithCodecs(msgpackCodec))),
		ws("gobwas/raw", "raw", "gobwas, lines of text", to(overGobwas, inLines, handler.WithCodecs(jsonCodec), handler.WithMiddleware(lines))),
		ws("gorilla/json", "json", "gorilla, JSON envelope", to(overGorilla, inJSON, handler.WithCodecs(jsonCodec))),
		ws("gobwas/msgpack", "msgpack", "gobwas, msgpack envelope", to(overGobwas, inMsgpack, handler.WithCodecs(msgpackCodec))),
		ws("gobwas/stomp", "stomp", "gobwas, STOMP", to(overGobwas, inSTOMP, handler.WithCodecs(jsonCodec))),
		ws("gorilla/stomp", "stomp", "gorilla, STOMP", to(overGorilla, inSTOMP, handler.WithCodecs(jsonCodec))),
		fallback("sockjs/json", "json", "SockJS, JSON envelope", to(sockJSOverGobwas, inJSON, handler.WithCodecs(jsonCodec))),
		fallback("sockjs/stomp", "stomp", "SockJS, STOMP", to(sockJSOverGorilla, inSTOMP, handler.WithCodecs(jsonCodec))),
	}
}

// list tells the page which stacks there are.
func list(stacks []stack) http.Handler {
	text, err := json.Marshal(stacks)
	if err != nil {
		panic(err) // they are constant
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // an error says that the page is gone
	})
}

// shutdown ends all endpoints at the same time.
func shutdown(ctx context.Context, stacks []stack) error {
	ended := make(chan error, len(stacks))
	for _, s := range stacks {
		go func() { ended <- s.endpoint.Shutdown(ctx) }()
	}
	var err error
	for range stacks {
		err = errors.Join(err, <-ended)
	}
	return err
}
