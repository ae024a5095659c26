package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
)

// heartbeat is short, so that suites need not wait for theirs: a client that wants a
// longer one asks for it.
const heartbeat = 100 * time.Millisecond

func newEnvelope(t transport.Transport) *handler.Endpoint {
	b := broadcast.New(nil)
	mux := handler.NewMux()
	mux.Route("CONNECT", handler.HandlerFunc(connect))
	mux.Route("SEND /app/echo", handler.HandlerFunc(answer))
	mux.Route("SEND /app/add", handler.Func(add))
	mux.Route("SEND /app/whoami", handler.Func(whoAmI))
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /topic/", b)
	return handler.NewEndpoint(t, mux,
		handler.WithSubProtocols(envelope.NewJSON(nil), envelope.NewMsgpack(nil)),
		handler.WithCodecs(jsoncodec.New(&jsoncodec.Options{DisallowUnknownFields: true}), msgpackcodec.New(nil)),
		handler.WithHeartbeat(heartbeat, heartbeat),
	)
}

// connect decides about first and fresh credentials alike. A refusal of fresh ones
// leaves the session as it was.
func connect(_ context.Context, r handler.Request) error {
	token := r.Message.Header.Get("token")
	name, ok := strings.CutPrefix(token, "token of ")
	if token != "" && (!ok || name == "") {
		return &subprotocol.Error{Code: "unauthorized", Text: "the token is not valid"}
	}
	r.Session.SetUser(name)
	return nil
}

// answer does not look into the body.
func answer(_ context.Context, r handler.Request) error {
	_, err := r.Reply(&subprotocol.Message{ContentType: r.Message.ContentType, Body: r.Message.Body})
	return err
}

type addends struct {
	A *int64 `json:"a"`
	B *int64 `json:"b"`
}

func (s addends) Validate() error {
	for _, n := range []*int64{s.A, s.B} {
		if n == nil {
			return errors.New("a and b are needed")
		}
		if *n < -1e6 || *n > 1e6 {
			return errors.New("a and b must be from -1000000 to 1000000")
		}
	}
	return nil
}

type total struct {
	Sum int64 `json:"sum"`
}

func add(_ context.Context, _ handler.Request, in addends) (total, error) {
	return total{*in.A + *in.B}, nil
}

type identity struct {
	User string `json:"user"`
}

func whoAmI(_ context.Context, r handler.Request, _ handler.None) (identity, error) {
	return identity{r.Session.User()}, nil
}
