package sockjs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// errInterrupted is the cause of sessions whose client broke off a receive request.
var errInterrupted = errors.New("sockjs: receive request was interrupted")

// state is how far a session has come.
type state uint8

const (
	stateOpening state = iota // the acceptor is asked, or the open frame on its way
	stateOpen
	stateClosing // Close was called; the close frame was not sent yet
	stateOver    // only the close frame is left, for whoever comes
)

// A session is one connection over requests that come and go: a receive request is a leg
// while it is attached.
type session struct {
	t      *Transport
	key    key
	opener legID // how the session was opened
	sub    string
	in     inbox

	mu      sync.Mutex
	state   state
	counted bool    // as one that is open
	leg     *leg    // attached: it takes the frames
	writing *leg    // the latest that is in a write
	legs    int     // receive requests that have not ended
	sends   int     // send requests that have not ended
	frame   *[]byte // a batch that was taken and is not being written
	owed    int     // Writes that were short and have had no Writable
	goodbye []byte  // the close frame, while closing and afterwards
	endErr  error   // the argument of Closed if closing goes well
	timer   *time.Timer
	due     time.Time // when it is to fire; one that fires earlier was late to stop
}

var (
	_ transport.Conn    = (*session)(nil)
	_ transport.Yielder = (*session)(nil)
	_ transport.Pauser  = (*session)(nil)
)

// SubProtocol returns what the acceptor chose.
func (s *session) SubProtocol() string { return s.sub }

// Write takes one array's worth of messages if a leg waits for them.
func (s *session) Write(batch []transport.Message) (accepted int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state >= stateClosing:
		return 0, errOver
	case len(batch) == 0:
		return 0, nil
	case s.leg == nil || s.frame != nil || s.leg.ctx.Err() != nil:
		s.owed++
		return 0, nil
	}
	buf := s.t.buffers.get()
	p, n, err := appendArray((*buf)[:0], "a[", maxFrame, batch)
	*buf = p
	if n == 0 {
		s.t.buffers.put(buf)
		return 0, err
	}
	s.frame = buf
	s.leg.awake()
	if err == nil && n < len(batch) {
		s.owed++
	}
	return n, err
}

// Close sends the close frame to the leg, or to the next one.
func (s *session) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	return s.end(code, reason, transport.ErrLocalClose)
}

func (s *session) end(code transport.StatusCode, reason string, cause error) error {
	s.mu.Lock()
	if s.state >= stateClosing {
		s.mu.Unlock()
		return errOver
	}
	s.state = stateClosing
	s.goodbye = appendClose(nil, code, reason)
	s.endErr = &transport.EndError{Code: code, Err: cause}
	s.arm(s.t.opts.CloseTimeout)
	if s.leg != nil {
		s.leg.awake()
	}
	s.mu.Unlock()
	s.in.discard()
	return nil
}

// Yield is that of the contract.
func (s *session) Yield() bool {
	ok, _ := s.in.yield()
	return ok
}

// Pause is that of the contract; send requests wait meanwhile.
func (s *session) Pause() { s.in.pause() }

// Resume is that of the contract.
func (s *session) Resume() { s.in.resume() }

// arm sets the timer. The lock is held, as for all below that don't say otherwise.
func (s *session) arm(d time.Duration) {
	s.due = time.Now().Add(d)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.expired)
	} else {
		s.timer.Reset(d)
	}
}

func (s *session) disarm() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.due = time.Time{}
}

// expired is what the timer calls, without the lock.
func (s *session) expired() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.IsZero() || time.Now().Before(s.due) {
		return
	}
	switch s.state {
	case stateOpen:
		s.settle(&transport.EndError{
			Code: transport.StatusAbnormalClosure,
			Err:  fmt.Errorf("%w: no receive request for %v", transport.ErrTimeout, s.t.opts.DisconnectDelay),
		})
		s.t.forget(s)
	case stateClosing:
		e, _ := errors.AsType[*transport.EndError](s.endErr)
		s.settle(&transport.EndError{Code: e.Code, Err: fmt.Errorf("%w: %w", e.Err, transport.ErrTimeout)})
		if l := s.writing; l != nil {
			l.kill()
		}
	case stateOver:
		s.t.forget(s)
	}
}

// settle ends the session; its close frame lives on for a while.
func (s *session) settle(err error) {
	if s.state == stateOver {
		return
	}
	s.state = stateOver
	s.frame, s.owed = nil, 0
	if s.leg != nil {
		s.leg.awake()
		s.leg = nil
	}
	s.arm(s.t.opts.DisconnectDelay)
	s.uncount()
	s.in.settle(err)
}

func (s *session) uncount() {
	if s.counted {
		s.counted = false
		s.t.stats.ended(s.opener)
	}
}

// interrupt ends the session because a receive request was broken off.
func (s *session) interrupt() {
	switch s.state {
	case stateOpen:
		s.goodbye = appendClose(nil, codeInterrupted, textInterrupted)
		s.settle(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: errInterrupted})
	case stateClosing:
		s.settle(s.endErr)
	}
}

// detach lets the next receive request come. What was taken and not begun waits for it.
func (s *session) detach(l *leg) {
	if s.leg == l {
		s.leg = nil
	}
}

// left notes that a receive request is done.
func (s *session) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.legs--
	if s.legs == 0 && s.leg == nil && s.state == stateOpen {
		s.arm(s.t.opts.DisconnectDelay)
	}
}

// attach makes l the leg of s, or returns the close frame that it gets instead.
func (s *session) attach(l *leg) (goodbye []byte) {
	s.mu.Lock()
	if s.leg != nil && s.leg.ctx.Err() != nil && s.state == stateOpen { // its own goroutine was not so quick
		if s.frame != nil && s.leg.kind.poll { // and has not begun
			s.leg.awake()
			s.detach(s.leg)
		} else {
			s.interrupt()
		}
	}
	switch {
	case s.state == stateOver:
		goodbye = s.goodbye
	case s.state == stateClosing && s.leg == nil && s.frame == nil:
		goodbye = s.goodbye
		s.settle(s.endErr)
	case s.state == stateClosing && s.leg != nil:
		goodbye = s.goodbye
	case s.state == stateOpening || s.leg != nil:
		goodbye = appendClose(nil, codeAnotherOpen, textAnotherOpen)
	}
	if goodbye != nil {
		s.mu.Unlock()
		return goodbye
	}
	s.leg = l
	s.legs++
	owed := 0
	if s.state == stateOpen {
		s.disarm()
		if s.frame == nil {
			owed, s.owed = s.owed, 0
		}
	}
	s.mu.Unlock()
	s.in.notify(owed)
	return nil
}

// serve writes to l until it has had its share, or is gone.
func (s *session) serve(l *leg) {
	defer s.left()
	timer := time.NewTimer(s.t.opts.HeartbeatInterval)
	defer timer.Stop()
	for s.step(l) {
		select {
		case <-l.wake:
		case <-l.ctx.Done():
		case <-timer.C:
			if !s.heartbeat(l) {
				return
			}
		}
		timer.Reset(s.t.opts.HeartbeatInterval)
	}
}

// step writes all that is there, and reports whether there may be more later.
func (s *session) step(l *leg) bool {
	for {
		s.mu.Lock()
		aborted := l.ctx.Err() != nil
		if s.leg != l {
			over, goodbye := s.state == stateOver, s.goodbye
			s.mu.Unlock()
			if over && !aborted {
				_ = l.write(goodbye, true)
			}
			return false
		}
		switch {
		case aborted && s.frame != nil && !l.begun && s.state == stateOpen:
			// Nothing was lost: the next one gets it.
			s.detach(l)
			s.mu.Unlock()
			return false
		case aborted:
			s.detach(l)
			s.interrupt()
			s.mu.Unlock()
			return false
		case s.writing != nil:
			// The answer before this one has not left: if it fails, what follows it may
			// not come in its place.
			s.mu.Unlock()
			return true
		case s.frame != nil:
			if !s.give(l) {
				return false
			}
		case s.state == stateClosing:
			s.detach(l)
			s.writing = l
			goodbye := s.goodbye
			s.mu.Unlock()
			_ = l.write(goodbye, true)
			s.mu.Lock()
			s.wrote(l)
			s.settle(s.endErr)
			s.mu.Unlock()
			return false
		default:
			s.mu.Unlock()
			return true
		}
	}
}

// give writes the frame to l, and reports whether l can take another one. It is called
// with the lock and releases it.
func (s *session) give(l *leg) bool {
	p := s.frame
	s.frame = nil
	last := l.last(len(*p))
	owed := 0
	if last {
		// Before the client can have the end of this response, it may not be told
		// that it is still there.
		s.detach(l)
	} else if s.state == stateOpen {
		owed, s.owed = s.owed, 0
	}
	s.writing = l
	s.mu.Unlock()
	s.in.notify(owed)
	err := l.write(*p, last)
	s.t.buffers.put(p)
	s.mu.Lock()
	s.wrote(l)
	if err != nil {
		s.detach(l)
		s.interrupt()
	}
	s.mu.Unlock()
	return err == nil && !last
}

func (s *session) wrote(l *leg) {
	if s.writing == l {
		s.writing = nil
		if s.leg != nil && s.leg != l {
			s.leg.awake() // it was waiting for this one
		}
	}
}

// heartbeat writes one if nothing else is to be written, and reports whether l goes on.
func (s *session) heartbeat(l *leg) bool {
	s.mu.Lock()
	if s.leg != l || s.frame != nil || s.writing != nil || s.state != stateOpen || l.ctx.Err() != nil {
		s.mu.Unlock()
		return true
	}
	s.frame = s.t.buffers.get()
	*s.frame = append((*s.frame)[:0], frameHeartbeat...)
	return s.give(l)
}

// begin opens a new session on l: it asks the acceptor, writes the open frame, and hands
// the session over.
func (s *session) begin(l *leg, w http.ResponseWriter, h *transport.Handshake, a transport.Acceptor) {
	opened := false
	defer func() {
		if !opened { // refused, gone, or the application panics
			s.fail()
		}
	}()
	ctx, cancel := context.WithTimeout(l.ctx, s.t.opts.HandshakeTimeout)
	h.Context = ctx
	admission, err := a.Accept(h)
	cancel()
	if err != nil {
		upgrade.WriteRefusal(w, upgrade.Refusal(err))
		return
	}
	s.sub = admission.SubProtocol()
	last := l.last(len(frameOpen))
	s.mu.Lock()
	s.legs++
	if last {
		s.state = stateOpen // the next request may come before this one has ended
	}
	s.mu.Unlock()
	if err = l.start(); err == nil {
		err = l.write([]byte(frameOpen), last)
	}
	if err != nil {
		admission.Abort(err)
		return
	}
	s.mu.Lock()
	if !last {
		s.state, s.leg = stateOpen, l
	}
	s.t.stats.opened(s.opener)
	s.counted = true
	if s.state == stateOver { // the next request has done that
		s.uncount()
	}
	s.mu.Unlock()
	s.in.open(admission.Open(s))
	opened = true
	if last {
		s.left()
		return
	}
	s.serve(l)
}

// fail ends a session that was not handed over, without the lock.
func (s *session) fail() {
	s.mu.Lock()
	s.state = stateOver
	s.uncount()
	s.goodbye = appendClose(nil, codeInterrupted, textInterrupted)
	if s.leg != nil {
		s.leg.awake()
		s.leg = nil
	}
	s.mu.Unlock()
	s.in.discard() // nobody will receive it, and send requests wait for that
	s.t.forget(s)
}
