package handler

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// The reader's role is Session.in: whoever sets inBusy decodes and handles, one
// goroutine at a time, until it takes inBusy back. While it is handed over, later
// Receives only copy into the window, and the goroutine that has the role works it
// off before it gives the role back.
const (
	inBusy    = 1 << iota // somebody has the reader's role
	inHanded              // it was handed over: there is a window; set and cleared under inMu or with the role
	inEnded               // Closed came
	inStopped             // nothing more is handled but Disconnect
	inDone                // Disconnect is being handled, or was
	inBegun               // Connect came, or there is none
	inParted              // the client's own Disconnect came
	inReady               // Append may encode all kinds: Connected was appended, or there is none

	inSeq = 1 << 8 // added by each Receive, so that the watchdog tells them apart
)

// ErrDisconnected is in the cause of a session that the client has ended with a
// Disconnect of the sub-protocol.
var ErrDisconnected = errors.New("handler: the client disconnected")

// errStopped ends a Decode whose session handles nothing more.
var errStopped = errors.New("handler: session is closing")

// receiver and sink keep what a transport and a framer call out of Session's
// exported methods.
type (
	receiver Session
	sink     Session
)

var (
	_ transport.Receiver = (*receiver)(nil)
	_ subprotocol.Sink   = (*sink)(nil)
)

// Receive handles one transport message, or leaves it to who has the role.
func (r *receiver) Receive(m transport.Message) {
	s := (*Session)(r)
	for {
		st := s.in.Load()
		switch {
		case st&inStopped != 0:
			s.discard()
			return
		case st&inBusy != 0:
			if s.take(m) {
				return
			}
		case s.in.CompareAndSwap(st, (st+inSeq)|inBusy):
			s.read(m)
			return
		}
	}
}

// Writable lets the workers write again.
func (r *receiver) Writable() {
	s := (*Session)(r)
	s.mu.Lock()
	switch {
	case s.writing:
		s.writable = true
	case s.waiting && s.conn != nil:
		s.waiting = false
		s.schedule()
	}
	s.mu.Unlock()
}

// Closed ends the session. The last one to have the reader's role handles
// Disconnect.
func (r *receiver) Closed(err error) {
	s := (*Session)(r)
	if !s.over(err) {
		return
	}
	for {
		st := s.in.Load()
		if !s.in.CompareAndSwap(st, st|inEnded|inBusy) {
			continue
		}
		if st&inBusy == 0 {
			s.finish()
		}
		return
	}
}

// over ends the writer's side and the context. It reports whether that was to be
// done.
func (s *Session) over(err error) bool {
	s.mu.Lock()
	if s.phase == phaseOver {
		s.mu.Unlock()
		return false
	}
	s.phase = phaseOver
	s.failWaiters()
	if x := s.extra; x != nil && x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
	s.stopTimers()
	d := s.dropQueue(DroppedClosed)
	cause := s.cause(err)
	s.mu.Unlock()
	s.cancel(cause)
	s.endpoint.sessions.hide(s)
	s.dropped(d)
	return true
}

// read has the reader's role, and gives it back.
func (s *Session) read(m transport.Message) {
	w := &s.endpoint.watchdog
	slot := w.enter(s)
	defer func() {
		w.leave(slot)
		s.finish()
	}()
	s.decode(m)
}

// decode handles what m holds. A panic, or a Goexit, ends the session and goes
// no further than its own goroutine demands.
func (s *Session) decode(m transport.Message) {
	if s.in.Load()&inStopped != 0 {
		s.discard()
		return
	}
	ok := false
	defer func() {
		if !ok {
			s.crashed(recover())
		}
	}()
	s.tally.in(len(m.Data))
	// Behind Data may lie what the transport has not parsed yet, and a handler may append
	// to a Body.
	m.Data = m.Data[:len(m.Data):len(m.Data)]
	if err := s.framer.Decode(m, (*sink)(s)); err != nil && !errors.Is(err, errStopped) {
		s.malformed(err)
	}
	if s.dialogue != nil {
		s.awaitRest()
	}
	ok = true
}

// finish handles what has come in meanwhile, then gives the reader's role back, or
// handles Disconnect if the session is over.
func (s *Session) finish() {
	for {
		st := s.in.Load()
		switch {
		case st&inHanded != 0:
			if m, ok := s.nextInWindow(); ok {
				s.decodeLate(m)
			}
		case st&inEnded != 0:
			if s.in.CompareAndSwap(st, st|inStopped|inDone) {
				s.disconnect()
				return
			}
		case s.in.CompareAndSwap(st, st&^inBusy):
			return
		}
	}
}

// decodeLate handles what was in the window. A Goexit takes this goroutine out of finish,
// so that its work is done before.
func (s *Session) decodeLate(m transport.Message) {
	ok := false
	defer func() {
		if !ok {
			s.finish()
		}
	}()
	s.decode(m)
	ok = true
	expire(m.Data)
}

// window is what has come in while the reader's role was handed over.
type window struct {
	messages []transport.Message
	bytes    int
	paused   bool
	room     sync.Cond
}

// take copies m into the window. It reports false if the reader's role is free
// again.
func (s *Session) take(m transport.Message) bool {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	l := &s.endpoint.cfg.window
	for {
		st := s.in.Load()
		if st&inStopped != 0 {
			s.discard()
			return true
		}
		if st&inBusy == 0 {
			return false
		}
		if st&inHanded == 0 && !s.in.CompareAndSwap(st, st|inHanded) {
			continue
		}
		w := s.win
		if w == nil {
			w = new(window)
			w.room.L = &s.inMu
			s.win = w
		}
		s.in.Add(inSeq)
		w.messages = append(w.messages, transport.Message{Type: m.Type, Data: append([]byte(nil), m.Data...)})
		w.bytes += len(m.Data)
		if !w.full(l) {
			return true
		}
		if p, ok := transport.As[transport.Pauser](s.conn); ok && !w.paused {
			w.paused = true
			p.Pause()
			s.endpoint.counts.pauses.Add(1)
			return true
		}
		// A Conn that can't pause, or pauses late, waits instead.
		for w.full(l) {
			w.room.Wait()
		}
		return true
	}
}

func (w *window) full(l *Limits) bool { return len(w.messages) >= l.Messages || w.bytes >= l.Bytes }

// nextInWindow takes the first message out of the window. If there is none it ends
// the hand-over.
func (s *Session) nextInWindow() (transport.Message, bool) {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	w := s.win
	if w == nil || len(w.messages) == 0 {
		s.win = nil
		s.in.And(^uint64(inHanded))
		return transport.Message{}, false
	}
	m := w.messages[0]
	w.messages[0] = transport.Message{}
	w.messages = w.messages[1:]
	w.bytes -= len(m.Data)
	w.room.Broadcast()
	l := &s.endpoint.cfg.window
	if w.paused && len(w.messages) <= l.Messages/2 && w.bytes <= l.Bytes/2 {
		w.paused = false
		if p, ok := transport.As[transport.Pauser](s.conn); ok {
			p.Resume()
		}
	}
	return m, true
}

// handOver lets the transport go on reading while the Receive that the watchdog
// saw as st still runs.
func (s *Session) handOver(st uint64) {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	// The lock keeps that Receive from ending before Yield has returned, so that
	// Yield can't hit a later one.
	y, ok := transport.As[transport.Yielder](s.conn)
	if ok && s.in.CompareAndSwap(st, st|inHanded) && y.Yield() {
		s.endpoint.counts.yields.Add(1)
	}
}

// discard counts a transport message that came too late to be handled.
func (s *Session) discard() { s.endpoint.counts.discarded.Add(1) }

// Emit handles one message of the client's. This is where the kinds that the
// session itself answers branch off.
func (k *sink) Emit(m *subprotocol.Message) error {
	s := (*Session)(k)
	if s.in.Load()&inStopped != 0 {
		return errStopped
	}
	if !s.connected.Load() && m.Kind != subprotocol.KindConnect && m.Kind != subprotocol.KindHeartbeat {
		return s.fail(&subprotocol.Error{Code: "not-connected", Text: "the first message must be a connect", Receipt: m.Receipt, Fatal: true})
	}
	if s.dialogue != nil {
		s.dialogue.whole = true
	}
	switch {
	case m.Kind == subprotocol.KindConnect:
		return s.connect(m)
	case m.Kind == subprotocol.KindDisconnect:
		s.part(m)
		return errStopped
	case m.Kind == subprotocol.KindHeartbeat:
		if m.NeedReply && s.in.Load()&inReady != 0 {
			s.beat()
		}
		return nil
	case s.dialogue != nil:
		return s.converse(m)
	default:
		return s.show(s.handle(m, nil))
	}
}

// converse handles a message of a sub-protocol that has more than bodies.
func (s *Session) converse(m *subprotocol.Message) error {
	switch m.Kind {
	case subprotocol.KindSubscribe:
		return s.subscribe(m)
	case subprotocol.KindUnsubscribe:
		return s.unsubscribe(m)
	case subprotocol.KindBegin:
		return s.beginTransaction(m)
	case subprotocol.KindCommit:
		return s.commit(m)
	case subprotocol.KindAbort:
		return s.abort(m)
	case subprotocol.KindAck, subprotocol.KindNack:
		if m.Subscription != "" && !s.complete(m) {
			if m.Transaction != "" {
				s.dialogue.refused(m.Transaction)
			}
			return s.deny(m, "no-subscription", "this session has no subscription "+quoted(m.Subscription))
		}
	}
	if m.Transaction != "" {
		return s.enlist(m)
	}
	return s.show(s.handle(m, nil))
}

// handle has the handler handle m, which may be a part of a transaction, and gives the
// receipt that m asked for, or leaves that to the transaction. It returns what the
// client is to be shown if it failed.
func (s *Session) handle(m *subprotocol.Message, tx *transaction) *subprotocol.Error {
	// The handler may change m.
	kind, receipt, sub := m.Kind, m.Receipt, m.Subscription
	if s.dialogue != nil {
		s.dialogue.answered.Store(false)
	}
	err := s.endpoint.handler.Handle(s.ctx, Request{Session: s, Message: m, tx: tx, receipt: receipt})
	if kind == subprotocol.KindDisconnect && errors.Is(err, net.ErrClosed) {
		err = nil // the end that was asked for
	}
	if err == nil {
		if tx == nil && !s.replied() {
			s.done(receipt)
		}
		return nil
	}
	if errors.Is(err, net.ErrClosed) && s.in.Load()&(inStopped|inEnded) != 0 {
		// The handler reports the end of its own session, which has a cause.
		if tx != nil {
			tx.cut = true
		}
		return nil
	}
	s.handlerError(m, err)
	shown := s.shownError(err, subprotocol.Error{
		Code: "internal", Text: "the message could not be handled", Status: transport.StatusInternalError,
	})
	shown.Receipt = cmp.Or(shown.Receipt, receipt)
	shown.Subscription = cmp.Or(shown.Subscription, sub)
	if tx == nil && shown.Receipt == receipt && s.replied() {
		shown.Receipt = "" // that has its answer
	}
	return &shown
}

// shownError is what the client learns of err: of one that was not made for it only
// what other says, unless the hook of WithShownErrors knows better.
func (s *Session) shownError(err error, other subprotocol.Error) subprotocol.Error {
	other = shown(err, other)
	if hook := s.endpoint.cfg.shownErrors; hook != nil {
		s.endpoint.callHook(func() {
			if e := hook(s, err); e != nil {
				other = *e
			}
		})
	}
	return other
}

// shown is err if it was made for the client, else other.
func shown(err error, other subprotocol.Error) subprotocol.Error {
	if typed, ok := errors.AsType[*subprotocol.Error](err); ok {
		return *typed
	}
	return other
}

// show shows a failure, if there is one.
func (s *Session) show(failure *subprotocol.Error) error {
	if failure == nil {
		return nil
	}
	return s.fail(failure)
}

// part handles the client's own Disconnect. As with the one that a session makes
// for its handler, the context has ended before and nothing comes after.
func (s *Session) part(m *subprotocol.Message) {
	s.in.Or(inStopped | inParted)
	s.cancel(&transport.EndError{Code: transport.StatusNormalClosure, Err: ErrDisconnected})
	// The session ends either way, with the status of a fatal error or with this one.
	_ = s.show(s.handle(m, nil))
	s.stop(transport.StatusNormalClosure, "", ErrDisconnected)
}

// disconnect ends the session: the handler sees Disconnect if it has accepted
// Connect and not seen one, and the endpoint lets go.
func (s *Session) disconnect() {
	defer s.endpoint.ended(s)
	if !s.connected.Load() || s.in.Load()&inParted != 0 {
		return
	}
	ok := false
	defer func() {
		if !ok {
			s.crashed(recover())
		}
	}()
	m := &subprotocol.Message{Kind: subprotocol.KindDisconnect}
	if err := s.endpoint.handler.Handle(s.ctx, Request{Session: s, Message: m}); err != nil && !errors.Is(err, net.ErrClosed) {
		s.handlerError(m, err)
	}
	ok = true
}

// malformed answers bytes that the framer could not make sense of.
func (s *Session) malformed(err error) {
	s.endpoint.counts.decodeErrors.Add(1)
	typed, ok := errors.AsType[*subprotocol.Error](err)
	if !ok {
		s.stop(transport.StatusProtocolError, "", err)
		return
	}
	if s.dialogue != nil {
		s.dialogue.refused("")
	}
	shown := s.shownError(typed, *typed)
	shown.Fatal = typed.Fatal
	shown.Status = cmp.Or(shown.Status, typed.Status)
	_ = s.fail(&shown)
}

// fail shows e to the client where the sub-protocol can, and closes after a fatal
// one: then it returns errStopped.
func (s *Session) fail(e *subprotocol.Error) error {
	f := s.framer.Features()
	if f.Errors {
		shown := expressible(e)
		m := subprotocol.Message{
			Kind: subprotocol.KindError, Receipt: shown.Receipt, Subscription: shown.Subscription, Error: shown,
		}
		// What can't be sent was counted; a fatal error closes either way.
		_, _ = s.reply(s.endpoint.pools.scratch(&m))
	}
	if !e.Fatal && !f.FatalErrors {
		return nil
	}
	s.failed(e)
	return errStopped
}

// failed closes after e was shown.
func (s *Session) failed(e *subprotocol.Error) {
	status := e.Status
	switch {
	case status.Sendable():
	case e.Fatal:
		status = transport.StatusProtocolError
	default: // a refusal that only this sub-protocol ends with
		status = transport.StatusPolicyViolation
	}
	s.stop(status, closeReason(e.Text), e)
}

// expressible is e, or what a wire format can say of it: a request whose Error is malformed
// must not be left without an answer.
func expressible(e *subprotocol.Error) *subprotocol.Error {
	all := [...]string{e.Code, e.Text, e.Receipt, e.Subscription}
	if e.Code != "" && !slices.ContainsFunc(all[:], func(s string) bool { return !utf8.ValidString(s) }) {
		return e
	}
	const mark = "\uFFFD"
	c := *e
	c.Code = cmp.Or(strings.ToValidUTF8(e.Code, mark), "internal")
	c.Text = strings.ToValidUTF8(e.Text, mark)
	c.Receipt = strings.ToValidUTF8(e.Receipt, mark)
	c.Subscription = strings.ToValidUTF8(e.Subscription, mark)
	return &c
}

// stop handles nothing more and closes because of why.
func (s *Session) stop(code transport.StatusCode, reason string, why error) {
	s.in.Or(inStopped)
	// An error says that the session is ending already.
	_ = s.end(code, reason, why, false)
}

// closeReason shortens text to what a close frame has room for.
func closeReason(text string) string {
	if !utf8.ValidString(text) {
		return ""
	}
	if len(text) <= transport.MaxCloseReason {
		return text
	}
	n := transport.MaxCloseReason
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// handlerError counts an error of the handler and tells the hook.
func (s *Session) handlerError(m *subprotocol.Message, err error) {
	e := s.endpoint
	e.counts.handlerErrors.Add(1)
	e.tell(func(h *Hooks) {
		if h.HandlerError != nil {
			h.HandlerError(s, m, err)
		}
	})
}

// crashed ends the session after a panic with v, or a Goexit if v is nil.
func (s *Session) crashed(v any) {
	s.stop(transport.StatusInternalError, "internal error", errPanic)
	s.endpoint.panicked(s, v)
}

var (
	errGoexit = errors.New("handler: a handler or a hook called runtime.Goexit")
	errPanic  = errors.New("a handler panicked")
)
