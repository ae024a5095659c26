package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler/internal/heartbeat"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// link is one connection of a client.
type link struct {
	client *Client
	opened chan error // has room for one: nil when it is up, or why it did not come to that

	// Written by open and constant from then on.
	conn   transport.Conn
	framer subprotocol.Framer
	offer  subprotocol.Heartbeat

	received atomic.Uint64 // counts Receives
	reading  atomic.Bool   // inside one
	paused   atomic.Bool   // written under gate
	gate     sync.Mutex    // held to pause and resume; taken before Client.mu

	// Guarded by Client.mu.
	greeting *subprotocol.Message
	features subprotocol.Features
	up       bool // connected
	dead     bool // given up
	err      error
	since    time.Time
	first    []*entry // what goes before the client's queue
	full     bool     // Conn.Write had no room
	writable bool     // Writable came while somebody wrote
	beat     heartbeat.Heartbeat
	timer    *time.Timer // of beat, nil if there is nothing to time
	sent     bool        // something went out since the last tick
	seen     uint64      // of received, by the last tick
	answered string      // the latest receipt whose call a Deliver has answered: the Receipt follows
}

// receiver and sink keep what a transport and a framer call out of link's methods.
type (
	receiver link
	sink     link
)

var (
	_ transport.Receiver = (*receiver)(nil)
	_ subprotocol.Sink   = (*sink)(nil)
)

// open takes a connection over, before anything is read.
func (l *link) open(conn transport.Conn, connect *subprotocol.Message) {
	c := l.client
	framer := c.proto.NewFramer(conn.SubProtocol(), c.framer)
	features := framer.Features()
	c.mu.Lock()
	l.conn, l.framer = conn, framer
	c.links[l] = struct{}{}
	if c.state == Closed || c.closing {
		c.mu.Unlock()
		l.end(transport.StatusGoingAway, "", ErrClosed)
		return
	}
	c.link = l
	c.mu.Unlock()
	if !features.Connect {
		l.connected(nil)
		return
	}
	if features.Heartbeats {
		connect.Heartbeat = c.opts.Heartbeat
		l.offer = c.opts.Heartbeat
	}
	b, typ, err := framer.Append(nil, connect)
	if err == nil {
		var n int
		n, err = conn.Write([]transport.Message{{Type: typ, Data: b}})
		if n == 0 && err == nil {
			err = errors.New("client: the transport has no room for a first message")
		}
	}
	if err != nil {
		l.end(transport.StatusInternalError, "", err)
	}
}

// connected makes the link the one that all is sent over. m is the server's Connected,
// nil where there is none.
func (l *link) connected(m *subprotocol.Message) {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.dead || l.up {
		return
	}
	l.up = true
	l.since = time.Now()
	l.features = l.framer.Features()
	c.features = l.features
	if m != nil {
		l.greeting = m.Clone()
		l.startHeartbeat(m.Heartbeat)
	}
	subs := make([]*Subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	slices.SortFunc(subs, func(a, b *Subscription) int { return cmp.Compare(a.number, b.number) })
	for _, s := range subs {
		if e := s.request(l); e != nil {
			c.expect(e.call)
			l.first = append(l.first, e)
		}
	}
	c.setState(Connected, nil)
	l.opened <- nil
	c.kick()
}

// end gives the link up because of why, and closes its connection.
func (l *link) end(code transport.StatusCode, reason string, why error) {
	l.lost(&transport.EndError{Code: code, Err: why}, why)
	// An error says that it is closed already.
	_ = l.conn.Close(code, reason)
	l.regulate() // a connection that is paused may not notice its end
}

// lost gives the link up. err is how it ended, why the part of that which says why it
// did not come up.
func (l *link) lost(err, why error) {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.dead {
		return
	}
	l.dead, l.err = true, err
	l.stopHeartbeat()
	if c.link == l {
		c.link = nil
	}
	if !c.writing {
		c.forget(l)
	}
	for _, s := range c.subs {
		s.forget(l)
	}
	c.broadcast()
	if !l.up {
		l.opened <- why
		return
	}
	c.mu.Unlock()
	again := c.worthwhile(err)
	c.mu.Lock()
	switch {
	case c.state == Closed || c.closing:
	case !again:
		c.finish(err)
	default:
		if time.Since(l.since) >= c.opts.Reconnect.MaxDelay {
			c.doublings = 0
		}
		c.setState(Waiting, err)
		go c.establish(true)
	}
}

// Receive hands what one message holds to those it is for.
func (r *receiver) Receive(m transport.Message) {
	l := (*link)(r)
	l.received.Add(1)
	l.reading.Store(true)
	defer l.reading.Store(false)
	err := l.framer.Decode(m, (*sink)(l))
	switch e, typed := errors.AsType[*subprotocol.Error](err); {
	case err == nil || errors.Is(err, errStopped):
	case typed && !e.Fatal:
		l.client.report(fmt.Errorf("client: what the server sent is malformed: %w", err))
		l.client.answer(e.Receipt, nil, err)
	default:
		status := transport.StatusProtocolError
		if typed && e.Status.Sendable() {
			status = e.Status
		}
		l.end(status, "", fmt.Errorf("client: what the server sent is malformed: %w", err))
	}
	l.regulate()
	l.hold()
}

// Writable has the rest of the queue written.
func (r *receiver) Writable() {
	l := (*link)(r)
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		l.writable = true
		return
	}
	l.full = false
	c.kick()
}

// Closed ends the link.
func (r *receiver) Closed(err error) {
	l := (*link)(r)
	c := l.client
	l.lost(err, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
	c.broadcast()
}

// Emit takes one message of the server's.
func (k *sink) Emit(m *subprotocol.Message) error {
	l := (*link)(k)
	c := l.client
	c.mu.Lock()
	up, dead := l.up, l.dead
	c.mu.Unlock()
	if dead {
		return errStopped
	}
	switch m.Kind {
	case subprotocol.KindConnected:
		if !up {
			l.connected(m)
		}
		return nil
	case subprotocol.KindError:
		return l.failure(m)
	case subprotocol.KindHeartbeat:
		if m.NeedReply && up {
			l.sendHeartbeat()
		}
		return nil
	}
	if !up {
		return l.give(transport.StatusProtocolError, fmt.Errorf("client: the server sends %v before Connected", m.Kind))
	}
	switch m.Kind {
	case subprotocol.KindDeliver:
		c.deliver(l, m)
	case subprotocol.KindReply:
		c.replied(l, m)
	case subprotocol.KindReceipt:
		if !c.answer(m.Receipt, nil, nil) && !l.expected(m.Receipt) {
			c.unclaimed(m)
		}
	case subprotocol.KindUnsubscribe:
		c.unsubscribed(m)
	case subprotocol.KindDisconnect:
		return l.give(transport.StatusNormalClosure, errors.New("client: the server disconnects"))
	default:
		c.unclaimed(m)
	}
	return nil
}

// expected reports whether receipt is that of a call which a Deliver has answered.
func (l *link) expected(receipt string) bool {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if receipt == "" || receipt != l.answered {
		return false
	}
	l.answered = ""
	return true
}

// give is end for Emit.
func (l *link) give(code transport.StatusCode, why error) error {
	l.end(code, "", why)
	return errStopped
}

// failure takes an Error of the server's.
func (l *link) failure(m *subprotocol.Message) error {
	c := l.client
	e := serverError(m)
	c.mu.Lock()
	e.Refused = !l.up
	ends := !l.up || l.features.FatalErrors || e.Message.Error.Fatal
	c.mu.Unlock()
	known := c.answer(cmp.Or(m.Receipt, e.Message.Error.Receipt), nil, e)
	if !known && !l.features.Receipts {
		known = c.refused(cmp.Or(m.Subscription, e.Message.Error.Subscription), e)
	}
	if ends {
		if !known {
			c.blame(e)
		}
		return l.give(transport.StatusNormalClosure, e)
	}
	if !known {
		c.report(e)
	}
	return nil
}

// blame ends the subscriptions that no server has confirmed yet because of e, the last word
// of a connection, which does not say what it is about: what each connection is refused for
// would end them all.
func (c *Client) blame(e *ServerError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if !s.confirmed && s.call != nil {
			s.end(e)
		}
	}
}

func (c *Client) unclaimed(m *subprotocol.Message) {
	if c.opts.Hooks.Unclaimed != nil {
		c.opts.Hooks.Unclaimed(m)
	}
}

// regulate pauses or resumes reading, as the subscriptions have room.
func (l *link) regulate() {
	p, ok := transport.As[transport.Pauser](l.conn)
	if !ok {
		return
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	c := l.client
	c.mu.Lock()
	stop := c.stuck() && l.up && !l.dead
	c.mu.Unlock()
	switch {
	case stop == l.paused.Load():
	case stop:
		p.Pause()
		l.paused.Store(true)
	default:
		l.paused.Store(false)
		p.Resume()
	}
}

// hold keeps Receive until there is room, if the connection can't be paused.
func (l *link) hold() {
	if _, ok := transport.As[transport.Pauser](l.conn); ok {
		return
	}
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.stuck() && l.up && !l.dead {
		_ = c.wait(context.Background())
	}
}
