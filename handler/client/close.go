package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Close ends all subscriptions, sends what is queued, says Disconnect and waits for the
// receipt where the sub-protocol has them, and closes the connection. Nothing new is
// accepted meanwhile. When Options.CloseTimeout or ctx ends first the connection is closed at once. The error says
// that ctx has ended, or how many messages were not sent, because there is no connection. A
// function of a subscription that is running is not waited for; its context has ended.
//
// Later calls wait for the same end.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing && c.state != Closed
	c.closing = true
	for _, s := range c.subs {
		s.end(ErrClosed)
	}
	l := c.link
	up := first && l != nil && l.up
	c.broadcast()
	c.mu.Unlock()
	c.regulate()
	if up {
		c.part(ctx, l)
	}
	if first {
		c.abort(ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state != Closed || len(c.links) > 0 {
		if err := c.wait(ctx); err != nil {
			return fmt.Errorf("client: not closed yet: %w", err)
		}
	}
	if first && c.unsent > 0 {
		return fmt.Errorf("client: closed with %d messages unsent", c.unsent)
	}
	return nil
}

// part sends what is queued for l and then Disconnect, and waits until that was done.
func (c *Client) part(ctx context.Context, l *link) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CloseTimeout)
	defer cancel()
	if l.features.Disconnect && l.features.Receipts {
		e := &entry{
			link: l, msg: &subprotocol.Message{Kind: subprotocol.KindDisconnect},
			call: &call{last: true, done: make(chan struct{})},
		}
		// However that ends, the connection is closed next.
		_, _ = c.do(ctx, e)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !l.dead && (c.writing || len(c.queue) > 0) {
		if c.wait(ctx) != nil {
			return
		}
	}
}

// abort closes the client because of why, and all its connections.
func (c *Client) abort(why error) {
	c.mu.Lock()
	c.finish(why)
	links := make([]*link, 0, len(c.links))
	for l := range c.links {
		links = append(links, l)
	}
	c.mu.Unlock()
	for _, l := range links {
		l.end(transport.StatusNormalClosure, "", ErrClosed)
	}
}

// finish makes the client Closed because of why. It is called with mu held.
func (c *Client) finish(why error) {
	if c.state == Closed {
		return
	}
	c.setState(Closed, why)
	c.cancel()
	over := ErrClosed
	if !errors.Is(why, ErrClosed) {
		over = fmt.Errorf("%w: %w", ErrClosed, why)
	}
	for _, s := range c.subs {
		s.end(over)
	}
	if !c.writing {
		c.forget(c.link)
	}
}
