package handler

import (
	"errors"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// ErrFrameTimeout is in the cause of a session whose client did not complete a frame in
// time: see WithFrameTimeout.
var ErrFrameTimeout = errors.New("handler: a frame was not complete in time")

// awaitRest times a frame whose end is still to come, from the Receive that brought
// its beginning.
func (s *Session) awaitRest() {
	p, ok := s.framer.(subprotocol.Partialer)
	if !ok {
		return
	}
	d, limit := s.dialogue, s.endpoint.cfg.frameTimeout
	partial := limit > 0 && p.Partial() > 0
	if partial == d.waiting && !(partial && d.whole) {
		return
	}
	d.waiting, d.whole = partial, false
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase != phaseOpen:
	case !partial && d.rest != nil:
		d.rest.Stop()
	case !partial:
	case d.rest == nil:
		d.rest = time.AfterFunc(limit, s.noRest)
	default:
		d.rest.Reset(limit)
	}
}

// noRest closes the session of a client that owes the end of a frame.
func (s *Session) noRest() {
	if s.in.Load()&inBusy != 0 { // the rest may be what is being handled
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.phase == phaseOpen {
			s.dialogue.rest.Reset(s.endpoint.cfg.frameTimeout)
		}
		return
	}
	s.stop(transport.StatusPolicyViolation, "a frame was not complete in time", ErrFrameTimeout)
}
