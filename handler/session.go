package handler

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Session is one client over one sub-protocol. An endpoint makes it when it admits
// a handshake; it ends when its connection has ended and its last message, a
// Disconnect, was handled.
//
// All methods may be called from any goroutine at any time, also before the
// connection is open and after the session has ended.
type Session struct {
	endpoint *Endpoint
	spoken   *protocol
	framer   subprotocol.Framer
	tally    *tally
	id       string
	path     string
	remote   net.Addr
	protocol string
	user     atomic.Pointer[string]
	ctx      context.Context
	cancel   context.CancelCauseFunc

	// Written by Open under mu and constant from then on.
	conn transport.Conn

	// The reader's side, see inbound.go.
	in        atomic.Uint64
	inMu      sync.Mutex
	win       *window     // guarded by inMu
	connected atomic.Bool // the handler accepted Connect

	// The writer's side, see outbox.go. Guarded by mu.
	mu        sync.Mutex
	queued    int32
	phase     phase
	writing   bool // a goroutine is inside Conn.Write
	waiting   bool // nothing may be written before Writable
	writable  bool // Writable came while writing
	scheduled bool // the flush workers have it
	bytes     int  // that the queue keeps alive, see entry.held
	ring      *ring
	extra     *extra
	dialogue  *dialogue // nil where there are only bodies

	next *Session // in the run queue, guarded by flusher.mu

	// Guarded by the registry's lock.
	userNext, userPrev *Session
}

// extra is what few sessions need.
type extra struct {
	values  map[any]any
	key     string // what WithSessionsPerKey counts it under
	waiters []*waiter
	code    transport.StatusCode
	reason  string
	why     error
	timer   *time.Timer
}

// more returns the extra, which mu guards.
func (s *Session) more() *extra {
	if s.extra == nil {
		s.extra = new(extra)
	}
	return s.extra
}

// ID is a name for this session that nobody can guess. It may be shown to the
// client itself; whoever knows it can do no more than the application lets them.
func (s *Session) ID() string { return s.id }

// User is who the application says that this is, "" for nobody in particular.
func (s *Session) User() string {
	if u := s.user.Load(); u != nil {
		return *u
	}
	return ""
}

// Connected reports that the handler has accepted Connect. A Connect that comes
// later shows fresh credentials.
func (s *Session) Connected() bool { return s.connected.Load() }

// SetUser says who this is. Sessions.User finds the session under the name once
// its Connect is accepted.
func (s *Session) SetUser(name string) { s.endpoint.sessions.setUser(s, name) }

// Context ends with the session, before the handler sees Disconnect; context.Cause
// then says why and unwraps to net.ErrClosed. It does not descend from the context of the HTTP request.
func (s *Session) Context() context.Context { return s.ctx }

// Path is the path of the request that opened the session.
func (s *Session) Path() string { return s.path }

// RemoteAddr is the other end of the connection, nil where the transport has no
// addresses. Behind a proxy it is the proxy's.
func (s *Session) RemoteAddr() net.Addr { return s.remote }

// SubProtocol is the sub-protocol that both sides agreed on, "" if the client
// asked for none.
func (s *Session) SubProtocol() string { return s.protocol }

// Transport is the name of the transport that carries the session.
func (s *Session) Transport() string { return s.endpoint.transport.Name() }

// Features are what the sub-protocol has. They are constant once the handler has
// accepted Connect.
func (s *Session) Features() subprotocol.Features { return s.framer.Features() }

// Codec returns the endpoint's codec for a content type, parameters ignored,
// and the first one for "". It is nil if the endpoint has none that fits.
func (s *Session) Codec(contentType string) codec.Codec { return s.endpoint.codec(contentType) }

// Conn is the connection, for the optional interfaces that package transport
// finds with As, such as Pinger; nil before it is open. It must not be written to
// or closed: a Conn has one writer at a time, and that is the session. Use Send and
// Close.
func (s *Session) Conn() transport.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Value returns what SetValue keeps under key, nil for nothing.
func (s *Session) Value(key any) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	return s.extra.values[key]
}

// SetValue keeps value under key for as long as the session lives; a nil value
// removes it. Keys are compared as in context.WithValue: use a type of your own.
func (s *Session) SetValue(key, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.more()
	if value == nil {
		delete(x.values, key)
		return
	}
	if x.values == nil {
		x.values = make(map[any]any)
	}
	x.values[key] = value
}

// Close ends the session. What is queued is still sent, for at most the
// endpoint's close timeout; then the connection is closed with code and reason.
// Nothing is accepted for sending from here on, and messages that were not
// handled yet are discarded, except that the handler sees its Disconnect. Close
// returns at once. Over a transport without close frames, such as tcp, a client of a
// sub-protocol that ends with every error is sent one of code "closed" with the
// reason, unless the code is 1000.
//
// Only the first Close counts; later ones return an error that unwraps to
// net.ErrClosed. A code or a reason that may not be sent is an error too, and
// nothing happens.
func (s *Session) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	s.explain(code, reason)
	return s.end(code, reason, nil, false)
}

// explain has the last word of a sub-protocol say why the session ends, where the
// transport can't: a stream of bytes has no close frame.
func (s *Session) explain(code transport.StatusCode, reason string) {
	if code == transport.StatusNormalClosure || s.endpoint.transport.Features().Boundaries ||
		!s.framer.Features().FatalErrors || s.in.Load()&inReady == 0 {
		return
	}
	e := subprotocol.Error{Code: "closed", Text: cmp.Or(reason, fmt.Sprintf("the server ends with status %d", code)), Fatal: true, Status: code}
	// What can't be sent was counted.
	_, _ = s.reply(s.endpoint.pools.scratch(&subprotocol.Message{Kind: subprotocol.KindError, Error: &e}))
}

// phase is how far the end of a session has come.
type phase uint8

const (
	phaseOpen     phase = iota
	phaseDraining       // Close was called; the queue is still sent
	phaseClosed         // Conn.Close was called, or a Write failed; nothing is queued
	phaseOver           // the connection has ended
)

// end closes the session because of why, nil if the application wanted it. With
// now the queue is dropped instead of drained.
func (s *Session) end(code transport.StatusCode, reason string, why error, now bool) error {
	s.mu.Lock()
	first := s.phase == phaseOpen
	if !first && (!now || s.phase != phaseDraining) {
		s.mu.Unlock()
		return errSessionClosed
	}
	s.in.Or(inStopped)
	x := s.more()
	if first {
		x.code, x.reason, x.why = code, reason, why
		s.phase = phaseDraining
		s.failWaiters()
	}
	s.stopTimers()
	if !now && (s.queued > 0 || s.writing) {
		x.timer = time.AfterFunc(s.endpoint.cfg.closeTimeout, s.drainTimeout)
		s.mu.Unlock()
		return nil
	}
	s.hangUp()
	return nil
}

func (s *Session) drainTimeout() {
	s.mu.Lock()
	if s.phase != phaseDraining {
		s.mu.Unlock()
		return
	}
	s.hangUp()
}

// hangUp drops what is queued and closes the connection. It is called with mu
// held, in phaseDraining, and releases it.
func (s *Session) hangUp() {
	s.phase = phaseClosed
	x := s.extra
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
	d := s.dropQueue(DroppedClosed)
	conn := s.conn
	s.mu.Unlock()
	s.dropped(d)
	if conn != nil {
		// An error says that the connection is over already: Closed tells why.
		_ = conn.Close(x.code, x.reason)
	}
}

// cause is what Session.Context ends with when the connection ended with err.
// It is called with mu held.
func (s *Session) cause(err error) error {
	if err == nil {
		err = errSessionClosed
	}
	if x := s.extra; x != nil && x.why != nil {
		return &transport.EndError{Code: x.code, Err: x.why}
	}
	return err
}
