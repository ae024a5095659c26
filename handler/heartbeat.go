package handler

import (
	"errors"
	"time"

	"github.com/weftws/weft/handler/internal/heartbeat"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// ErrNoConnect is in the cause of a session whose client sent no Connect in time: see
// WithConnectTimeout.
var ErrNoConnect = errors.New("handler: no connect in time")

// ErrNoHeartbeat is in the cause of a session whose client was silent for longer
// than it promised: see WithHeartbeat.
var ErrNoHeartbeat = errors.New("handler: no heartbeat in time")

// tolerance is for how many intervals a client may be silent.
const tolerance = 2

// startTimer begins to wait for Connect. It is called with mu held.
func (s *Session) startTimer() {
	if d := s.endpoint.cfg.connectTimeout; d > 0 && s.dialogue != nil && s.framer.Features().Connect {
		s.dialogue.timer = time.AfterFunc(d, s.tick)
	}
}

// stopTimers is called with mu held.
func (s *Session) stopTimers() {
	d := s.dialogue
	if d == nil {
		return
	}
	for _, t := range [...]*time.Timer{d.timer, d.rest} {
		if t != nil {
			t.Stop()
		}
	}
}

// startHeartbeat begins with what the client's Connect and the endpoint want. A session
// without heartbeats keeps no timer.
func (s *Session) startHeartbeat(client subprotocol.Heartbeat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dialogue
	d.heartbeat = heartbeat.Begin(s.endpoint.cfg.heartbeat, client, tolerance, time.Now())
	period := d.heartbeat.Period
	switch {
	case period == 0:
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
	case s.phase != phaseOpen:
	case d.timer == nil:
		d.seen = s.in.Load() / inSeq
		d.timer = time.AfterFunc(period, s.tick)
	default:
		d.seen = s.in.Load() / inSeq
		d.timer.Reset(period)
	}
}

// tick closes the session of a client that does not connect or has fallen silent,
// and sends a heartbeat if this side would be silent for too long before the next
// tick.
func (s *Session) tick() {
	s.mu.Lock()
	d := s.dialogue
	if s.phase != phaseOpen {
		s.mu.Unlock()
		return
	}
	if d.heartbeat.Period == 0 {
		s.mu.Unlock()
		if s.in.Load()&inBegun == 0 {
			s.endpoint.counts.connectTimeouts.Add(1)
			s.stop(transport.StatusPolicyViolation, "no connect in time", ErrNoConnect)
		}
		return
	}
	// Silence while a handler keeps this side from reading is not the client's.
	st := s.in.Load()
	received := st/inSeq != d.seen || st&inBusy != 0
	sent := d.sent || s.queued > 0 || s.writing
	d.seen, d.sent = st/inSeq, false
	beat, lost := d.heartbeat.Tick(time.Now(), sent, received)
	if lost {
		s.mu.Unlock()
		s.endpoint.counts.heartbeatsMissed.Add(1)
		s.in.Or(inStopped)
		_ = s.end(transport.StatusPolicyViolation, "no heartbeat in time", ErrNoHeartbeat, true)
		return
	}
	d.timer.Reset(d.heartbeat.Period)
	s.mu.Unlock()
	if beat {
		s.beat()
	}
}

// beat sends a sign of life. It passes by WithOutbound.
func (s *Session) beat() {
	// What can't be sent was counted.
	_, _ = s.writeOrQueue(s.endpoint.pools.scratch(&subprotocol.Message{Kind: subprotocol.KindHeartbeat}))
}

// noteSent is called with mu held when the transport has taken something.
func (s *Session) noteSent() {
	if s.dialogue != nil {
		s.dialogue.sent = true
	}
}
