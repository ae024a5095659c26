package handler

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Status is what became of a message that was to be sent.
type Status uint8

const (
	// Sent: the transport has taken the message. That does not mean received.
	Sent Status = iota + 1
	// Queued: the message will be sent when those before it are, unless the
	// session ends or an overflow policy drops it first.
	Queued
	// Dropped: the message will not be sent.
	Dropped
	// Closed: the session is ending or over.
	Closed
)

// String returns "sent", "queued", "dropped" or "closed".
func (s Status) String() string {
	switch s {
	case Sent:
		return "sent"
	case Queued:
		return "queued"
	case Dropped:
		return "dropped"
	case Closed:
		return "closed"
	default:
		return "none"
	}
}

// ErrQueueFull is returned for a message that was dropped because there was no
// room for it: the session's own queue or that of all sessions together was
// full.
var ErrQueueFull = errors.New("handler: queue is full")

// ErrNotConnected is returned for a message that was dropped because the session's
// sub-protocol has a Connect of its own and that was not answered yet: nothing may
// reach the client before the answer. The session is connected when the handler
// has accepted its Connect; from then on Endpoint.Sessions has it.
var ErrNotConnected = errors.New("handler: session is not connected yet")

// errSessionClosed is what methods return that find the session ended.
var errSessionClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string { return "handler: session is closed" }
func (closedError) Unwrap() error { return net.ErrClosed }

// Send queues m for the client and never waits; the endpoint's workers write it
// soon. A Kind of 0 becomes KindDeliver. m is the caller's again when Send returns.
// Messages that one goroutine sends arrive in that order.
//
// The error is nil for Queued and Sent. For Closed it unwraps to net.ErrClosed.
// For Dropped it is ErrQueueFull or ErrNotConnected, or says why the sub-protocol
// can't express m. What happens when the queue is full is the endpoint's overflow
// policy; a message over the byte limit is accepted if nothing else is queued.
func (s *Session) Send(m *subprotocol.Message) (Status, error) {
	if s.in.Load()&inReady == 0 {
		return s.tooEarly()
	}
	if s.endpoint.outbound != nil {
		return s.sendOut(Outgoing{Session: s, way: wayQueue}, m)
	}
	return s.queue(m)
}

// sendOut has the Senders see a copy of m with a Kind.
func (s *Session) sendOut(o Outgoing, m *subprotocol.Message) (Status, error) {
	sc := s.endpoint.pools.scratch(m)
	if sc.msg.Kind == 0 {
		sc.msg.Kind = subprotocol.KindDeliver
	}
	o.Message = &sc.msg
	status, err := s.endpoint.outbound.Send(o)
	s.endpoint.pools.freeScratch(sc)
	return status, err
}

// queue is Send behind all Senders.
func (s *Session) queue(m *subprotocol.Message) (Status, error) {
	ent, err := s.encodeSend(m)
	if err != nil {
		return s.refuse(err)
	}
	status, err := s.enqueue(ent)
	s.closeAfter(m)
	return status, err
}

// closeAfter closes if m, which was sent, is an Error after which nothing comes.
func (s *Session) closeAfter(m *subprotocol.Message) {
	if m.Kind == subprotocol.KindError && m.Error != nil && (m.Error.Fatal || s.framer.Features().FatalErrors) {
		s.failed(m.Error)
	}
}

// SendContext queues m for the client, as Send does, and waits for room if the
// queue is full; the overflow policy plays no part. Who waits longer comes first, though a Send
// may pass. It returns nil when m is queued, the error of ctx if that ends
// earlier, and one that unwraps to net.ErrClosed if the session does. It does not
// wait for a session to be connected: see ErrNotConnected.
//
// A Handler that waits here for its own client slows that client's reading
// down, which is often what is wanted.
func (s *Session) SendContext(ctx context.Context, m *subprotocol.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.in.Load()&inReady == 0 {
		_, err := s.tooEarly()
		return err
	}
	if s.endpoint.outbound != nil {
		_, err := s.sendOut(Outgoing{Session: s, way: wayWait, ctx: ctx}, m)
		return err
	}
	return s.sendContext(ctx, m)
}

// sendContext is SendContext behind all Senders.
func (s *Session) sendContext(ctx context.Context, m *subprotocol.Message) error {
	if err := s.waitForRoom(ctx, m); err != nil {
		return err
	}
	s.closeAfter(m)
	return nil
}

// waitForRoom queues m once there is room.
func (s *Session) waitForRoom(ctx context.Context, m *subprotocol.Message) error {
	ent, err := s.encodeSend(m)
	if err != nil {
		_, err = s.refuse(err)
		return err
	}
	s.mu.Lock()
	if s.phase != phaseOpen {
		s.mu.Unlock()
		s.free(&ent)
		return errSessionClosed
	}
	if (s.extra == nil || len(s.extra.waiters) == 0) && s.patient(&ent) {
		s.push(ent)
		s.schedule()
		s.mu.Unlock()
		return nil
	}
	w := &waiter{ent, make(chan error, 1)}
	x := s.more()
	x.waiters = append(x.waiters, w)
	s.mu.Unlock()

	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(x.waiters, w)
	if i < 0 {
		s.mu.Unlock()
		return <-w.done
	}
	x.waiters = slices.Delete(x.waiters, i, i+1)
	s.admitWaiters()
	s.schedule()
	s.mu.Unlock()
	s.free(&w.entry)
	return ctx.Err()
}

// encodeSend makes an entry of a message that nobody asked for.
func (s *Session) encodeSend(m *subprotocol.Message) (entry, error) {
	sc := s.endpoint.pools.scratch(m)
	if sc.msg.Kind == 0 {
		sc.msg.Kind = subprotocol.KindDeliver
	}
	ent, err := s.encode(sc)
	s.endpoint.pools.freeScratch(sc)
	return ent, err
}

// waiter is one SendContext that waits for room.
type waiter struct {
	entry entry
	done  chan error
}

// Reply sends m to the client whose message is being handled. If nothing is queued
// it is written at once, on this goroutine and without waiting for the client;
// else it is queued behind the rest, as Send does.
//
// A Kind of 0 becomes KindReply. The Receipt of a Reply ties it to its request and
// its Subscription to a subscription: where they are empty in m they are those of
// r.Message, and so it is with an Error. Where the sub-protocol does not tie replies to
// receipts, such as STOMP, the Destination is that of r.Message as well, and the Subscription of
// the answer to a SEND what its header reply-to says, and its header correlation-id comes back. Other kinds go out as they are. m is the
// caller's again when Reply returns. r.Message itself may be changed and sent back.
//
// A message that asked for a receipt gets one answer: a Reply where the sub-protocol
// ties it to its request, an Error or a Receipt with that Receipt takes the place of the one
// that the session gives. In a transaction it goes out when that is committed.
func (r Request) Reply(m *subprotocol.Message) (Status, error) {
	if r.Session.in.Load()&inReady == 0 {
		return r.Session.tooEarly()
	}
	sc := r.Session.endpoint.pools.scratch(m)
	if sc.msg.Kind == 0 {
		sc.msg.Kind = subprotocol.KindReply
	}
	if r.Message != nil {
		answer(&sc.msg, r.Message)
		if sc.msg.Kind == subprotocol.KindReply && !r.Session.framer.Features().Replies {
			direct(&sc.msg, r.Message)
		}
	}
	paid := r.pays(&sc.msg)
	if r.tx != nil {
		return r.tx.reply(r.Session, sc, paid)
	}
	status, err := r.Session.reply(sc)
	r.Session.closeAfter(m)
	if paid != "" && (status == Sent || status == Queued) {
		r.Session.dialogue.answered.Store(true)
	}
	return status, err
}

// pays returns the receipt that r asked for if m is its one answer, else "".
func (r Request) pays(m *subprotocol.Message) string {
	asked := r.receipt
	if asked == "" && r.Message != nil {
		asked = r.Message.Receipt // a Request that middleware has made
	}
	if r.Session.dialogue == nil || m.Receipt != asked {
		return ""
	}
	switch m.Kind {
	case subprotocol.KindReply:
		if !r.Session.framer.Features().Replies {
			return ""
		}
	case subprotocol.KindError, subprotocol.KindReceipt:
	default:
		return ""
	}
	return asked
}

// answer fills what ties m to the request that it answers.
func answer(m, request *subprotocol.Message) {
	switch m.Kind {
	case subprotocol.KindError:
		if e := m.Error; e != nil {
			m.Receipt = cmp.Or(m.Receipt, e.Receipt)
			m.Subscription = cmp.Or(m.Subscription, e.Subscription)
		}
	case subprotocol.KindReply:
	default:
		return
	}
	m.Receipt = cmp.Or(m.Receipt, request.Receipt)
	m.Subscription = cmp.Or(m.Subscription, request.Subscription)
}

// replyTo is the header of a Send that names the subscription for the answer, where the
// sub-protocol has no other way to tie one to the other.
const replyTo = "reply-to"

// correlationID is the header by which a client knows what a Reply is the answer to.
const correlationID = "correlation-id"

// direct fills where a Reply goes that is a delivery like any other.
func direct(m, request *subprotocol.Message) {
	m.Destination = cmp.Or(m.Destination, request.Destination)
	m.Subscription = cmp.Or(m.Subscription, request.Header.Get(replyTo))
	if id := request.Header.Get(correlationID); id != "" && m.Header.Get(correlationID) == "" {
		// The header may be the caller's.
		m.Header = append(m.Header[:len(m.Header):len(m.Header)], subprotocol.Field{Name: correlationID, Value: id})
	}
}

// reply sends the message in sc, and frees sc. Before inReady that is Connected or
// an Error, and the caller has the reader's role.
func (s *Session) reply(sc *scratch) (Status, error) {
	if out := s.endpoint.outbound; out != nil {
		status, err := out.Send(Outgoing{Session: s, Message: &sc.msg, way: wayReply})
		s.endpoint.pools.freeScratch(sc)
		return status, err
	}
	return s.writeOrQueue(sc)
}

// writeOrQueue is reply behind all Senders.
func (s *Session) writeOrQueue(sc *scratch) (Status, error) {
	p := &s.endpoint.pools
	s.mu.Lock()
	if s.phase == phaseOpen && s.queued == 0 && !s.writing && !s.waiting {
		s.writing = true
		s.writable = false
		s.mu.Unlock()
		return s.writeNow(sc)
	}
	s.mu.Unlock()
	ent, err := s.encode(sc)
	p.freeScratch(sc)
	if err != nil {
		return s.refuse(err)
	}
	return s.enqueue(ent)
}

// writeNow writes the message in sc. The caller has set writing.
func (s *Session) writeNow(sc *scratch) (Status, error) {
	p := &s.endpoint.pools
	var taken int
	b, typ, err := s.framer.Append(sc.buf[:0], &sc.msg)
	encoded := err == nil
	if encoded {
		if sc.msg.Kind == subprotocol.KindConnected {
			s.ready() // before the client can know
		}
		s.ends(&sc.msg)
		sc.buf = b
		sc.batch[0] = transport.Message{Type: typ, Data: b}
		taken, err = s.conn.Write(sc.batch[:])
	}
	var ent entry
	if err == nil && taken == 0 {
		ent = s.entryOf(sc, typ)
	}
	p.freeScratch(sc)

	s.mu.Lock()
	status := Sent
	switch {
	case err != nil && encoded && errors.Is(err, net.ErrClosed):
		status = Closed
	case err != nil:
		status = Dropped
	case taken > 0:
		s.tally.out(1, len(b))
		s.noteSent()
	case s.phase >= phaseClosed:
		status, err = Closed, errSessionClosed
	default:
		status = Queued
		s.putBack(&ent)
		s.wait()
	}
	var d Drop
	if status == Closed {
		s.free(&ent)
		s.lost()
		d = s.dropQueue(DroppedClosed)
	}
	s.wrote()
	s.dropped(d)
	if status == Dropped {
		s.dropped(Drop{DroppedUnsendable, 1, len(b)})
	}
	return status, err
}

// encode makes an entry of the message in sc.
func (s *Session) encode(sc *scratch) (entry, error) {
	b, typ, err := s.framer.Append(sc.buf[:0], &sc.msg)
	if err != nil {
		return entry{}, err
	}
	s.ends(&sc.msg)
	sc.buf = b
	return s.entryOf(sc, typ), nil
}

// entryOf makes an entry of the message in sc, which is encoded there.
func (s *Session) entryOf(sc *scratch, typ transport.MessageType) entry {
	return entry{
		buf: s.endpoint.pools.buffer(sc.buf), typ: typ,
		key: s.conflationKey(sc), kept: sc.msg.Kind == subprotocol.KindConnected,
	}
}

func (s *Session) conflationKey(sc *scratch) string {
	if key := s.endpoint.cfg.overflow.key; key != nil && sc.msg.Kind != subprotocol.KindConnected {
		return key(&sc.msg)
	}
	return ""
}

// tooEarly refuses a message that the framer can't encode yet.
func (s *Session) tooEarly() (Status, error) {
	s.mu.Lock()
	closed := s.phase != phaseOpen
	s.mu.Unlock()
	if closed {
		return Closed, errSessionClosed
	}
	return s.refuse(ErrNotConnected)
}

// refuse counts a message that could not be encoded.
func (s *Session) refuse(err error) (Status, error) {
	s.dropped(Drop{Reason: DroppedUnsendable, Messages: 1})
	return Dropped, err
}
