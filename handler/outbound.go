package handler

import (
	"context"

	"github.com/weftws/weft/subprotocol"
)

// A Sender passes messages on to the client: the shape of middleware on the way
// out, see WithOutbound. Send is called from any goroutine, for many sessions at the same
// time, and must not wait.
type Sender interface {
	Send(o Outgoing) (Status, error)
}

// SenderFunc is a function that is a Sender.
type SenderFunc func(o Outgoing) (Status, error)

// Send calls f.
func (f SenderFunc) Send(o Outgoing) (Status, error) { return f(o) }

// Outgoing is one message and the session that it goes to. It is valid until Send
// returns.
type Outgoing struct {
	Session *Session

	// Message must not be changed, because many sessions may get the same one. A
	// Sender that wants another passes on an Outgoing with a changed
	// Clone, which is then encoded for this session alone.
	Message *subprotocol.Message

	way  way
	ctx  context.Context      // of SendContext
	pub  *Publication         // of Publish
	seen *subprotocol.Message // what Publish showed
}

// way is how an Outgoing goes on behind the last Sender.
type way uint8

const (
	wayQueue way = iota
	wayWait
	wayReply
	wayPublish
)

// outbound is the last Sender: it does what the session would have done at
// once.
type outbound struct{}

func (outbound) Send(o Outgoing) (Status, error) {
	s := o.Session
	p := &s.endpoint.pools
	switch {
	case o.way == wayReply:
		return s.writeOrQueue(p.scratch(o.Message))
	case o.way == wayWait:
		if err := s.sendContext(o.ctx, o.Message); err != nil {
			return Dropped, err
		}
		return Queued, nil
	case o.way == wayPublish && o.Message == o.seen:
		return s.publish(o.pub, o.Message.Subscription, o.Message.ID)
	default:
		return s.queue(o.Message)
	}
}
