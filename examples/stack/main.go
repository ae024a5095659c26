// Command stack serves rooms to talk in: on two WebSocket engines, in two wire formats,
// with two codecs.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

type message struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

func (m message) Validate() error {
	if m.Text == "" {
		return errors.New("text must not be empty")
	}
	return nil
}

func say(_ context.Context, r handler.Request, m message) (message, error) {
	m.Room = r.PathValue("room")
	return m, nil
}

func main() {
	topics := broadcast.New(nil)
	mux := handler.NewMux()
	mux.Use(middleware.Log(slog.Default()), middleware.Recover, middleware.RateLimit(50, 100))
	mux.Route("SEND /app/rooms/{room}/say", handler.Func(say, handler.WithSendTo(topics, "/topic/rooms/{room}")))
	mux.Route("SUBSCRIBE /topic/rooms/{room}", topics)

	parts := []handler.Option{
		handler.WithSubProtocols(envelope.NewJSON(nil), envelope.NewMsgpack(nil)),
		handler.WithCodecs(jsoncodec.New(nil), msgpackcodec.New(nil)),
	}
	http.Handle("/ws", handler.NewEndpoint(gobwas.New(nil), mux, parts...))
	http.Handle("/ws2", handler.NewEndpoint(gorilla.New(nil), mux, parts...))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
