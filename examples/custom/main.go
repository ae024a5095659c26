// Command custom mounts a sub-protocol and a codec that are no part of weft. With it
// running, talk to it:
//
//	npx wscat -c ws://127.0.0.1:8080/ws -s v1.line.example
//	> SUB 1 /topic/chat
//	> SEND /app/chat hello
//	< MSG 1 /topic/chat hello
//	> SEND /app/nowhere x
//	< ERROR not-found nothing here handles SEND to "/app/nowhere"
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/examples/custom/cborcodec"
	"github.com/weftws/weft/examples/custom/line"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// reading is what /app/readings takes.
type reading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
}

func (r reading) Validate() error {
	if r.Sensor == "" {
		return errors.New("sensor is missing")
	}
	return nil
}

// newEndpoint speaks lines first, and CBOR where a message names no content type,
// which is everywhere in lines. Both stand beside parts of weft.
func newEndpoint(t transport.Transport) *handler.Endpoint {
	b := broadcast.New(nil)
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /app/chat", handler.Func(chat, handler.WithSendTo(b, "/topic/chat")))
	mux.Route("SEND /app/readings", handler.Func(read, handler.WithSendTo(b, "/topic/readings")))
	return handler.NewEndpoint(t, mux,
		handler.WithSubProtocols(line.SubProtocol{}, envelope.NewJSON(nil)),
		handler.WithCodecs(cborcodec.New(), jsoncodec.New(nil)),
	)
}

func chat(_ context.Context, _ handler.Request, text string) (string, error) { return text, nil }

func read(_ context.Context, _ handler.Request, in reading) (reading, error) { return in, nil }

func main() {
	http.Handle("/ws", newEndpoint(gobwas.New(nil)))
	fmt.Println("listening on ws://127.0.0.1:8080/ws")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
