package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// result is what a row gives.
type result struct {
	messages int // sent and received by the clients
	times    []time.Duration
}

// use has one client ask and another one listen, and checks every answer.
func (r row) use(ctx context.Context, url string, c *certificate) (res result, err error) {
	listener, err := dial(ctx, r, url+"/listen", c)
	if err != nil {
		return res, fmt.Errorf("the listener: %w", err)
	}
	defer listener.close()
	asker, err := dial(ctx, r, url+"/ask", c)
	if err != nil {
		return res, fmt.Errorf("the asker: %w", err)
	}
	defer asker.close()

	has := asker.framer.Features()
	if has.Subscriptions {
		m := &subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/topic/sums", Receipt: "s"}
		if _, err := listener.ask(ctx, m, subprotocol.KindReceipt); err != nil {
			return res, fmt.Errorf("subscribing: %w", err)
		}
	} else if err := listener.hear(ctx); err != nil {
		return res, fmt.Errorf("listening: %w", err)
	}
	for i := range int64(requests) {
		began := time.Now()
		m, err := asker.request(ctx, numbers{i, i})
		if err != nil {
			return res, fmt.Errorf("request %d: %w", i, err)
		}
		res.times = append(res.times, time.Since(began))
		published, err := listener.next(ctx, subprotocol.KindDeliver)
		if err != nil {
			return res, fmt.Errorf("publication %d: %w", i, err)
		}
		for _, m := range []*subprotocol.Message{m, published} {
			var got sum
			if err := r.format.codec.Unmarshal(m.Body, &got); err != nil {
				return res, fmt.Errorf("an answer: %w", err)
			}
			if got.Sum != 2*i {
				return res, fmt.Errorf("%d and %d are not %d", i, i, got.Sum)
			}
		}
	}
	if has.Errors {
		_, err := asker.request(ctx, numbers{maxNumber + 1, 0})
		if refused, ok := errors.AsType[*subprotocol.Error](err); !ok || refused.Code != "invalid" {
			return res, errors.Join(errors.New("a number that is too large was not refused as such"), err)
		}
	}
	res.messages = asker.messages + listener.messages
	return res, nil
}

// hear waits until what is published reaches c, where it was the server that has
// subscribed it: only an answer tells that the server has begun.
func (c *client) hear(ctx context.Context) error {
	if _, err := c.request(ctx, numbers{}); err != nil {
		return err
	}
	_, err := c.next(ctx, subprotocol.KindDeliver)
	return err
}

// client is the other end of any stack. One goroutine uses it.
type client struct {
	conn     transport.Conn
	framer   subprotocol.Framer
	codec    codec.Codec
	done     <-chan struct{}
	got      chan *subprotocol.Message
	room     chan struct{} // has room for one: Writable came
	over     chan struct{} // closed in the end
	cause    error         // constant then
	messages int
	receipts int
}

func dial(ctx context.Context, r row, url string, cert *certificate) (*client, error) {
	c := &client{
		codec: r.format.codec, done: ctx.Done(),
		got: make(chan *subprotocol.Message, 16), room: make(chan struct{}, 1), over: make(chan struct{}),
	}
	cfg := &transport.DialConfig{SubProtocols: r.format.subProtocol.Names(), TLS: cert.client}
	_, err := r.carrier.transport.Dial(ctx, url, cfg, func(conn transport.Conn) transport.Receiver {
		c.conn = conn
		c.framer = r.format.subProtocol.NewFramer(conn.SubProtocol(), subprotocol.FramerConfig{Client: true})
		return c
	})
	if err != nil {
		return nil, err
	}
	if !c.framer.Features().Connect {
		return c, nil
	}
	if _, err = c.ask(ctx, &subprotocol.Message{Kind: subprotocol.KindConnect}, subprotocol.KindConnected); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// request asks for a sum, in the way that the sub-protocol has.
func (c *client) request(ctx context.Context, in numbers) (*subprotocol.Message, error) {
	body, err := c.codec.Append(nil, in)
	if err != nil {
		return nil, err
	}
	m := &subprotocol.Message{Kind: subprotocol.KindSend, Body: body}
	if !c.framer.Features().Replies {
		return c.ask(ctx, m, subprotocol.KindDeliver) // raw: a message is a message
	}
	c.receipts++
	m.Destination, m.Receipt = "/app/add", strconv.Itoa(c.receipts)
	return c.ask(ctx, m, subprotocol.KindReply)
}

// ask sends m and waits for a message of kind want.
func (c *client) ask(ctx context.Context, m *subprotocol.Message, want subprotocol.Kind) (*subprotocol.Message, error) {
	b, typ, err := c.framer.Append(nil, m)
	if err != nil {
		return nil, err
	}
	for {
		n, err := c.conn.Write([]transport.Message{{Type: typ, Data: b}})
		if err != nil {
			return nil, err
		}
		if n == 1 {
			break
		}
		select {
		case <-c.room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.messages++
	return c.next(ctx, want)
}

func (c *client) next(ctx context.Context, want subprotocol.Kind) (*subprotocol.Message, error) {
	select {
	case m := <-c.got:
		c.messages++
		if m.Kind == subprotocol.KindError {
			return nil, m.Error
		}
		if m.Kind != want {
			return nil, fmt.Errorf("got %v, want %v", m.Kind, want)
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.over:
		return nil, fmt.Errorf("the connection is over: %w", c.cause)
	}
}

// close ends the connection and waits for that, which the transport bounds.
func (c *client) close() {
	_ = c.conn.Close(transport.StatusNormalClosure, "") // an error says that it is over
	<-c.over
}

// The transport calls these.

func (c *client) Receive(m transport.Message) {
	if err := c.framer.Decode(m, c); err != nil {
		_ = c.conn.Close(transport.StatusProtocolError, "")
	}
}

func (c *client) Writable() {
	select {
	case c.room <- struct{}{}:
	default:
	}
}

func (c *client) Closed(err error) {
	c.cause = err
	close(c.over)
}

// Emit is the sink of the framer.
func (c *client) Emit(m *subprotocol.Message) error {
	select {
	case c.got <- m.Clone():
		return nil
	case <-c.done:
		return context.Canceled
	}
}
