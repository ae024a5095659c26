package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// lines lets clients without envelopes use the same handlers. Each of their
// messages is a line of a kind, a destination and a body:
//
//	SEND /app/rooms/lobby/say {"text":"hello"}
//
// What comes back is the body alone; what went wrong is a trouble.
func lines(next handler.Handler) handler.Handler {
	kinds := map[string]subprotocol.Kind{
		"SEND": subprotocol.KindSend, "SUBSCRIBE": subprotocol.KindSubscribe, "UNSUBSCRIBE": subprotocol.KindUnsubscribe,
	}
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return next.Handle(ctx, r) // Connect and Disconnect
		}
		kind, rest, _ := strings.Cut(string(r.Message.Body), " ")
		destination, body, _ := strings.Cut(rest, " ")
		m := *r.Message
		m.Kind, m.Destination, m.Body = kinds[kind], destination, []byte(body)
		if m.Kind != subprotocol.KindSend {
			m.Subscription = destination // there is one for each, so that will do
		}
		err := problem("malformed", "A line is a kind, a destination and a body, with blanks between them.")
		if m.Kind != 0 {
			line := r
			line.Message = &m
			err = next.Handle(ctx, line)
		}
		if err == nil {
			return nil
		}
		shown, ok := errors.AsType[*subprotocol.Error](err)
		if !ok {
			shown = &subprotocol.Error{Code: "internal", Text: "The message could not be handled."}
		}
		text, failed := json.Marshal(trouble{"error", destination, shown.Code, shown.Text})
		if failed != nil {
			return failed
		}
		_, failed = r.Reply(&subprotocol.Message{Type: transport.MessageText, Body: text})
		return failed
	})
}
