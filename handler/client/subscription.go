package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/weftws/weft/subprotocol"
)

// Subscription is what a client wants to get from one destination. It outlives
// connections: every new one begins with it. All methods may be called from any
// goroutine at any time.
type Subscription struct {
	client      *Client
	number      uint64
	id          string
	destination string
	opts        SubscribeOptions
	handle      func(context.Context, *Delivery) // nil for Messages
	ctx         context.Context                  // of handle
	cancel      context.CancelFunc
	done        chan struct{}

	// Guarded by Client.mu.
	items     []*Delivery
	bytes     int
	level     int           // 0, 1 if there is as much as there should, 2 as there may be
	working   bool          // a goroutine calls handle
	more      chan struct{} // closed when something comes; nil if nobody waits
	call      *call         // the latest Subscribe
	confirmed bool          // the server has it, or had
	ended     bool
	err       error
}

// Delivery is a message that came for a subscription, and remembers what Ack needs.
// It is the application's.
type Delivery struct {
	subprotocol.Message

	sub  *Subscription
	link *link
	size int
}

// Subscribe begins a subscription on destination. It returns when the server has
// confirmed that, so that nothing can be missed any more; where the sub-protocol has no
// receipts, when the Subscribe was sent. An Idle client notes the subscription for its first
// connection and does not wait. While there is no connection Subscribe waits for one; when
// ctx ends there is no subscription. A refusal of the server is a *ServerError.
//
// If handle is not nil it is called for one delivery after the other, on a goroutine that
// is there only while there are any; its context ends with the subscription. If handle is
// nil deliveries wait for Messages. A nil opts is the zero SubscribeOptions.
//
// Where the sub-protocol has no subscriptions the server decides what comes: there can be
// one Subscription then, with the destination "", and it gets everything.
func (c *Client) Subscribe(
	ctx context.Context, destination string, opts *SubscribeOptions, handle func(context.Context, *Delivery),
) (*Subscription, error) {
	s := &Subscription{client: c, destination: destination, handle: handle, done: make(chan struct{})}
	if opts != nil {
		s.opts = *opts
	}
	s.opts.Header = append(subprotocol.Header(nil), s.opts.Header...)
	s.opts.BufferMessages = positive("BufferMessages", s.opts.BufferMessages, c.opts.BufferMessages)
	s.opts.BufferBytes = positive("BufferBytes", s.opts.BufferBytes, c.opts.BufferBytes)
	if handle != nil {
		s.ctx, s.cancel = context.WithCancel(c.ctx)
	}
	if err := s.begin(ctx); err != nil {
		s.cease(err)
		return nil, err
	}
	return s, nil
}

// begin enters s and waits until it is in force.
func (s *Subscription) begin(ctx context.Context) error {
	c := s.client
	c.mu.Lock()
	if err := s.enter(); err != nil {
		c.mu.Unlock()
		return err
	}
	if c.state == Idle {
		c.mu.Unlock()
		return nil
	}
	var e *entry
	if c.link != nil && c.link.up {
		e = s.request(c.link)
	}
	c.mu.Unlock()
	if e != nil {
		// If the connection has ended the next one begins with s.
		if err := c.send(ctx, e); err != nil && !errors.Is(err, ErrStale) {
			return err
		}
	}
	c.regulate()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !s.confirmed && !s.ended {
		if err := c.wait(ctx); err != nil {
			return fmt.Errorf("client: not subscribed yet: %w", err)
		}
	}
	return s.err
}

// enter puts s into the table. It is called with mu held.
func (s *Subscription) enter() error {
	c := s.client
	c.last++
	s.number = c.last
	switch {
	case c.closing || c.state == Closed:
		return ErrClosed
	case c.features.Subscriptions:
		if s.id = s.opts.ID; s.id == "" {
			s.id = c.newID("s")
		}
	case s.destination != "" || s.opts.ID != "" || s.opts.AckMode != subprotocol.AckAuto:
		return unsupported("subscriptions")
	}
	if s.opts.AckMode != subprotocol.AckAuto && !c.features.Acks {
		return unsupported("acknowledgements")
	}
	if c.subs[s.id] != nil {
		return fmt.Errorf("client: there is a subscription %q already", s.id)
	}
	c.subs[s.id] = s
	return nil
}

// request is the Subscribe that l needs, nil if it needs none. It is called with mu held.
func (s *Subscription) request(l *link) *entry {
	if !l.features.Subscriptions {
		s.confirm()
		return nil
	}
	e := &entry{link: l, msg: &subprotocol.Message{
		Kind: subprotocol.KindSubscribe, Subscription: s.id, Destination: s.destination,
		AckMode: s.opts.AckMode, Header: s.opts.Header,
	}}
	if !l.features.Receipts {
		s.confirm()
		return e
	}
	e.msg.Receipt = s.client.newID("r")
	s.call = &call{id: e.msg.Receipt, sub: s}
	e.call = s.call
	return e
}

// confirm is called with mu held.
func (s *Subscription) confirm() {
	s.confirmed = true
	s.client.broadcast()
}

// end takes s out of the table because of err, nil if that was wanted. What is in the
// buffer can still be taken unless nobody wants it. It is called with mu held.
func (s *Subscription) end(err error) {
	if s.ended {
		return
	}
	s.ended, s.err = true, err
	c := s.client
	if c.subs[s.id] == s {
		delete(c.subs, s.id)
	}
	if s.call != nil && c.calls[s.call.id] == s.call {
		delete(c.calls, s.call.id)
	}
	unwanted := err == nil || errors.Is(err, ErrClosed)
	if unwanted {
		s.items, s.bytes = nil, 0
	}
	if s.cancel != nil && (unwanted || !s.working) {
		s.cancel()
	}
	s.measure()
	s.wake()
	close(s.done)
	c.broadcast()
}

// cease ends s without the server's word.
func (s *Subscription) cease(err error) {
	c := s.client
	c.mu.Lock()
	l := c.link
	tell := !s.ended && c.subs[s.id] == s && l != nil && l.up
	s.end(err)
	c.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	if tell && l.features.Subscriptions {
		// Nobody waits for room here: what then comes is unclaimed.
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.send(ctx, &entry{link: l, msg: s.unsubscribe()})
	}
	c.regulate()
}

// ID is the name under which the server has the subscription.
func (s *Subscription) ID() string { return s.id }

// Destination is what was subscribed to.
func (s *Subscription) Destination() string { return s.destination }

// Done is closed when the subscription has ended: by Unsubscribe, by the server, or with
// the client.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err says why the subscription has ended: ErrEnded or a *ServerError if that was the
// server, ErrClosed if the client is closed. It is nil before, and after Unsubscribe.
func (s *Subscription) Err() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.err
}

// Unsubscribe ends the subscription, and waits until the server has confirmed it where
// the sub-protocol has receipts. What has come and was not taken is dropped at once. A
// second call does nothing.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	c := s.client
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return nil
	}
	l := c.link
	f := c.features
	s.end(nil)
	c.mu.Unlock()
	c.regulate()
	if l == nil || !l.up || !f.Subscriptions {
		return nil
	}
	var err error
	if f.Receipts {
		_, err = c.request(ctx, s.unsubscribe(), l)
	} else {
		err = c.send(ctx, &entry{link: l, msg: s.unsubscribe()})
	}
	if errors.Is(err, ErrStale) || errors.Is(err, ErrConnectionLost) {
		return nil // the connection has taken the subscription with it
	}
	return err
}

func (s *Subscription) unsubscribe() *subprotocol.Message {
	return &subprotocol.Message{
		Kind: subprotocol.KindUnsubscribe, Subscription: s.id, Destination: s.destination, Header: s.opts.Header,
	}
}

// Messages ranges over what comes, and waits for it. After an Unsubscribe of this side the
// range ends; the end of ctx, or of the subscription, is one error, with a nil Delivery, and
// then it ends too. Leaving the range leaves the subscription as it is. Several
// ranges at once share what comes. It panics if the subscription has a function for
// its deliveries.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Delivery, error] {
	if s.handle != nil {
		panic("client: Messages of a Subscription that has a function")
	}
	return func(yield func(*Delivery, error) bool) {
		for {
			d, err := s.take(ctx)
			if d == nil && err == nil || !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// take waits for the next delivery. It returns nothing once the subscription has ended
// because that was wanted.
func (s *Subscription) take(ctx context.Context) (*Delivery, error) {
	c := s.client
	c.mu.Lock()
	for {
		if len(s.items) > 0 {
			d := s.pop()
			c.mu.Unlock()
			c.regulate()
			return d, nil
		}
		if s.ended {
			c.mu.Unlock()
			return nil, s.err
		}
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		c.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c.mu.Lock()
	}
}

// work calls handle for what there is.
func (s *Subscription) work() {
	c := s.client
	for {
		c.mu.Lock()
		if len(s.items) == 0 {
			s.working = false
			if s.ended {
				s.cancel()
			}
			c.mu.Unlock()
			return
		}
		d := s.pop()
		c.mu.Unlock()
		c.regulate()
		s.handle(s.ctx, d)
	}
}

// deliver gives m to its subscription.
func (c *Client) deliver(l *link, m *subprotocol.Message) {
	c.mu.Lock()
	s := c.find(l, m)
	c.mu.Unlock()
	if s == nil {
		// What answers a Request without being tied to it is named after it.
		if !c.answer(m.Subscription, m, nil) {
			c.unclaimed(m)
			return
		}
		c.mu.Lock()
		l.answered = m.Subscription
		c.mu.Unlock()
		return
	}
	d := &Delivery{Message: *m.Clone(), sub: s, link: l, size: sizeOf(m)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.ended && !l.dead {
		s.push(d)
	}
}

// find is the subscription that m is for, nil if there is none. It is called with mu
// held.
func (c *Client) find(l *link, m *subprotocol.Message) *Subscription {
	if !l.features.Subscriptions {
		return c.subs[""]
	}
	if s := c.subs[m.Subscription]; s != nil {
		return s
	}
	// A server may know subscriptions by their destinations alone.
	if m.Subscription != "" && !strings.HasPrefix(m.Subscription, "\x00") {
		return nil
	}
	for _, s := range c.subs {
		if s.destination == m.Destination {
			return s
		}
	}
	return nil
}

// unsubscribed takes an Unsubscribe of the server's.
func (c *Client) unsubscribed(m *subprotocol.Message) {
	if !c.refused(m.Subscription, ErrEnded) {
		c.unclaimed(m)
	}
}

// refused ends a subscription because of err. It reports whether there is one of that
// id.
func (c *Client) refused(id string, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subs[id]
	if s == nil || id == "" {
		return false
	}
	s.end(err)
	return true
}

// push, pop and forget change the buffer, with mu held.

func (s *Subscription) push(d *Delivery) {
	s.items = append(s.items, d)
	s.bytes += d.size
	s.measure()
	if s.handle != nil && !s.working {
		s.working = true
		go s.work()
	}
	s.wake()
}

func (s *Subscription) pop() *Delivery {
	d := s.items[0]
	s.items[0] = nil
	s.items = s.items[1:]
	if len(s.items) == 0 {
		s.items = nil
	}
	s.bytes -= d.size
	s.measure()
	return d
}

// forget drops what came over l and can't be acknowledged any more: it will come again.
func (s *Subscription) forget(l *link) {
	if s.opts.AckMode == subprotocol.AckAuto {
		return
	}
	var left []*Delivery
	s.bytes = 0
	for _, d := range s.items {
		if d.link != l {
			left = append(left, d)
			s.bytes += d.size
		}
	}
	s.items = left
	s.measure()
}

func (s *Subscription) wake() {
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// measure finds the level of the buffer, which has to sink to the half before it counts
// as less than full.
func (s *Subscription) measure() {
	o := &s.opts
	n, level := len(s.items), 0
	switch {
	case n >= overrun*o.BufferMessages || s.bytes >= overrun*o.BufferBytes:
		level = 2
	case n >= o.BufferMessages || s.bytes >= o.BufferBytes:
		level = 1
	case s.level > 0 && (n > o.BufferMessages/2 || s.bytes > o.BufferBytes/2):
		level = 1
	}
	if level == s.level {
		return
	}
	c := s.client
	for _, at := range []struct {
		level int
		count *int
	}{{1, &c.full}, {2, &c.choked}} {
		if s.level < at.level && level >= at.level {
			*at.count++
		}
		if s.level >= at.level && level < at.level {
			*at.count--
		}
	}
	if level < s.level {
		c.broadcast()
	}
	s.level = level
}

// Ack says that the application has taken the delivery (and in mode AckClient all before
// it); it returns once that is written or queued. ErrStale says that the server has
// forgotten about it, because the connection it came over or the subscription has ended:
// it will come again, to whoever is subscribed. It is ErrNoAck in mode AckAuto.
func (d *Delivery) Ack(ctx context.Context) error {
	return d.settle(ctx, subprotocol.KindAck, "")
}

// Nack says that the application has not taken the delivery. What the server then does
// is the server's choice. Otherwise it is as Ack.
func (d *Delivery) Nack(ctx context.Context) error {
	return d.settle(ctx, subprotocol.KindNack, "")
}

// Subscription is the one that the delivery came for.
func (d *Delivery) Subscription() *Subscription { return d.sub }

func (d *Delivery) settle(ctx context.Context, k subprotocol.Kind, transaction string) error {
	c := d.sub.client
	switch {
	case d.sub.opts.AckMode == subprotocol.AckAuto || d.ID == "":
		return ErrNoAck
	case k == subprotocol.KindNack && !c.Features().Nacks:
		return unsupported("nack")
	}
	return c.send(ctx, &entry{link: d.link, sub: d.sub, msg: &subprotocol.Message{
		Kind: k, ID: d.ID, Subscription: d.sub.id, Transaction: transaction,
	}})
}
