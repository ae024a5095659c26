package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftws/weft/subprotocol"
)

// Transaction is what the server is to do together, or not at all. It belongs to the
// connection that it began on: once that has ended every method returns ErrStale, and nothing
// of it was done unless Commit says otherwise. Its methods may be called from any goroutine.
type Transaction struct {
	client *Client
	link   *link
	name   string
}

// Begin begins a transaction. While there is no connection it waits for one.
func (c *Client) Begin(ctx context.Context) (*Transaction, error) {
	l, name, err := c.beginOn(ctx)
	if err != nil {
		return nil, err
	}
	t := &Transaction{client: c, link: l, name: name}
	return t, t.send(ctx, &subprotocol.Message{Kind: subprotocol.KindBegin})
}

func (c *Client) beginOn(ctx context.Context) (*link, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch l := c.link; {
		case c.closing || c.state == Closed:
			return nil, "", ErrClosed
		case !c.features.Transactions:
			return nil, "", unsupported("transactions")
		case l != nil && l.up:
			return l, c.newID("t"), nil
		}
		if err := c.wait(ctx); err != nil {
			return nil, "", fmt.Errorf("client: no connection for a transaction: %w", err)
		}
	}
}

func (t *Transaction) send(ctx context.Context, m *subprotocol.Message) error {
	m.Transaction = t.name
	return t.client.send(ctx, &entry{link: t.link, msg: m})
}

// Send is Client.Send within the transaction.
func (t *Transaction) Send(ctx context.Context, m *subprotocol.Message) error {
	s := *m
	s.Kind = subprotocol.KindSend
	return t.send(ctx, &s)
}

// Ack is Delivery.Ack within the transaction. A delivery of another connection is
// ErrStale.
func (t *Transaction) Ack(ctx context.Context, d *Delivery) error {
	return t.settle(ctx, subprotocol.KindAck, d)
}

// Nack is Delivery.Nack within the transaction.
func (t *Transaction) Nack(ctx context.Context, d *Delivery) error {
	return t.settle(ctx, subprotocol.KindNack, d)
}

func (t *Transaction) settle(ctx context.Context, k subprotocol.Kind, d *Delivery) error {
	if d.link != t.link {
		return ErrStale
	}
	return d.settle(ctx, k, t.name)
}

// Commit has the server do all of it, and waits until it has where the sub-protocol has
// receipts. A *ServerError says that the server has not; ErrConnectionLost that nobody
// knows; ErrStale that nothing was done.
func (t *Transaction) Commit(ctx context.Context) error {
	return t.finish(ctx, subprotocol.KindCommit)
}

// Abort has the server forget all of it. That the connection has ended has the same
// effect, and is no error.
func (t *Transaction) Abort(ctx context.Context) error {
	err := t.finish(ctx, subprotocol.KindAbort)
	if errors.Is(err, ErrStale) || errors.Is(err, ErrConnectionLost) {
		return nil
	}
	return err
}

func (t *Transaction) finish(ctx context.Context, k subprotocol.Kind) error {
	m := &subprotocol.Message{Kind: k, Transaction: t.name}
	if !t.client.Features().Receipts {
		return t.send(ctx, m)
	}
	_, err := t.client.request(ctx, m, t.link)
	return err
}
