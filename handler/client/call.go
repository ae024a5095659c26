package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weftws/weft/subprotocol"
)

// call is a request that an answer is expected to.
type call struct {
	id   string // its receipt
	sub  *Subscription
	last bool // the Disconnect of Close
	done chan struct{}

	// Guarded by Client.mu, until done is closed.
	link  *link // that it went over, nil while it is queued
	reply *subprotocol.Message
	err   error
}

// Send sends m to its Destination and returns once it is written or queued; whether the
// server got it nobody learns. Kind is set by the client. m is the caller's again when
// Send returns. Messages that one goroutine sends go out in that order.
//
// Without a connection m is queued for the next one, unless that makes too much:
// ErrQueueFull. While a connection has no room Send waits for it until ctx ends. Other
// errors are ErrClosed, or say that the sub-protocol can't express m. A message that is
// queued and can't be expressed goes to Hooks.Error.
func (c *Client) Send(ctx context.Context, m *subprotocol.Message) error {
	s := *m
	s.Kind = subprotocol.KindSend
	return c.send(ctx, &entry{msg: &s})
}

// SendReceipt is Send that waits until the server says that it has done what there is
// to do: nil. An error that is a *ServerError is the server's refusal.
// ErrConnectionLost says that the connection ended in between; nothing is sent
// again. When ctx ends while m is still queued it is not sent.
func (c *Client) SendReceipt(ctx context.Context, m *subprotocol.Message) error {
	s := *m
	s.Kind = subprotocol.KindSend
	_, err := c.request(ctx, &s, nil)
	return err
}

// Request is SendReceipt that returns the server's Reply, which is the caller's;
// ErrNoReply if the server has handled the request without one. Where the sub-protocol does
// not tie replies to receipts, such as STOMP, the request has the header reply-to, which
// weft's servers know.
func (c *Client) Request(ctx context.Context, m *subprotocol.Message) (*subprotocol.Message, error) {
	s := *m
	s.Kind = subprotocol.KindSend
	if !c.Features().Replies {
		c.mu.Lock()
		s.Receipt = c.newID("r")
		c.mu.Unlock()
		s.Header = append(slices.Clone(s.Header), subprotocol.Field{Name: "reply-to", Value: s.Receipt})
	}
	reply, err := c.request(ctx, &s, nil)
	if err == nil && reply == nil {
		err = ErrNoReply
	}
	return reply, err
}

// request sends m, over l alone if that is not nil, and waits for the answer.
func (c *Client) request(ctx context.Context, m *subprotocol.Message, l *link) (*subprotocol.Message, error) {
	k := &call{done: make(chan struct{})}
	return c.do(ctx, &entry{msg: m, call: k, link: l})
}

// do sends e, which is a call, and waits for the answer.
func (c *Client) do(ctx context.Context, e *entry) (*subprotocol.Message, error) {
	k := e.call
	c.mu.Lock()
	if !c.features.Receipts {
		c.mu.Unlock()
		return nil, unsupported("receipts")
	}
	if e.msg.Receipt == "" {
		e.msg.Receipt = c.newID("r")
	}
	k.id = e.msg.Receipt
	c.mu.Unlock()
	if err := c.send(ctx, e); err != nil {
		return nil, err
	}
	c.regulate()
	select {
	case <-k.done:
	case <-ctx.Done():
		if c.abandon(k) {
			return nil, fmt.Errorf("client: no answer yet: %w", ctx.Err())
		}
		<-k.done
	}
	return k.reply, k.err
}

// abandon no longer expects an answer to k, and reports whether that was still to
// come. What is queued is not sent.
func (c *Client) abandon(k *call) bool {
	defer c.regulate()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[k.id] != k {
		return false
	}
	delete(c.calls, k.id)
	i := slices.IndexFunc(c.queue, func(e *entry) bool { return e.call == k })
	if i >= 0 && !c.queue[i].busy {
		c.bytes -= c.queue[i].size
		c.queue = slices.Delete(c.queue, i, i+1)
		c.broadcast()
	}
	return true
}

// expect notes that k waits for its answer. It is called with mu held.
func (c *Client) expect(k *call) {
	if k != nil {
		c.calls[k.id] = k
		if c.full > 0 {
			c.broadcast() // what is read next may be the answer
		}
	}
}

// conclude ends k, with its answer if err is nil. It is called with mu held.
func (c *Client) conclude(k *call, err error) {
	if k == nil || c.calls[k.id] != k {
		return
	}
	delete(c.calls, k.id)
	if s := k.sub; s != nil {
		switch {
		case errors.Is(err, ErrConnectionLost) || errors.Is(err, ErrStale):
			// The next connection has it again.
		case err != nil:
			s.end(err)
		default:
			s.confirm()
		}
		return
	}
	k.err = err
	close(k.done)
}

// answer ends the call with that receipt. It reports whether there is one.
func (c *Client) answer(receipt string, reply *subprotocol.Message, err error) bool {
	if receipt == "" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[receipt]
	if k == nil {
		return false
	}
	if reply != nil && k.sub == nil {
		k.reply = reply.Clone()
	}
	c.conclude(k, err)
	return true
}

// replied takes a Reply, to a call or to a Subscribe.
func (c *Client) replied(l *link, m *subprotocol.Message) {
	known := c.answer(m.Receipt, m, nil)
	if m.Subscription != "" {
		c.deliver(l, m)
		return
	}
	if !known {
		c.unclaimed(m)
	}
}

// regulate lets the present connection read, or not, as there is room.
func (c *Client) regulate() {
	c.mu.Lock()
	l := c.link
	c.mu.Unlock()
	if l != nil {
		l.regulate()
	}
}

// stuck reports whether nothing more is to be read for now: a subscription has as much as
// it may, or as it should and nobody waits for an answer. It is called with mu held.
func (c *Client) stuck() bool { return c.choked > 0 || c.full > 0 && len(c.calls) == 0 }
