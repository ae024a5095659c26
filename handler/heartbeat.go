package handler

import (
	"errors"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// ErrNoConnect is in the cause of a session whose client sent no Connect in time: see
// WithConnectTimeout.
var ErrNoConnect = errors.New("handler: no connect in time")

// ErrNoHeartbeat is in the cause of a session whose client was silent for longer
// than it promised: see WithHeartbeat.
var ErrNoHeartbeat = errors.New("handler: no heartbeat in time")

// heartbeat is what both sides have agreed on, and what the last tick saw. Nothing
// is noted when a message comes or goes: who ticks compares counters.
type heartbeat struct {
	send, receive time.Duration // 0 for none
	period        time.Duration // of ticks
	sent          bool          // something went out since the last tick
	seq           uint64        // of Session.in
	sentAt        time.Time     // of the last tick that saw something go out,
	receivedAt    time.Time     // or come in
}

// early is how often a heartbeat is sent that is promised every d: timers and networks are
// late at times, and not every peer tolerates that.
func early(d time.Duration) time.Duration { return d - d/10 }

// agree is what holds if one side promises a sign of life every offer and the other
// wants one every want.
func agree(offer, want time.Duration) time.Duration {
	if offer <= 0 || want <= 0 {
		return 0
	}
	return max(offer, want)
}

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
	own := &s.endpoint.cfg.heartbeat
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dialogue
	d.heartbeat = heartbeat{send: early(agree(own.Send, client.Receive)), receive: agree(client.Send, own.Receive)}
	h := &d.heartbeat
	switch send := h.send / 2; {
	case h.receive == 0:
		h.period = send
	case send == 0:
		h.period = h.receive
	default:
		h.period = min(send, h.receive)
	}
	if h.period == 0 {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
		return
	}
	if s.phase != phaseOpen {
		return
	}
	h.seq = s.in.Load() / inSeq
	h.sentAt = time.Now()
	h.receivedAt = h.sentAt
	if d.timer == nil {
		d.timer = time.AfterFunc(h.period, s.tick)
		return
	}
	d.timer.Reset(h.period)
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
	h := &d.heartbeat
	if h.period == 0 {
		s.mu.Unlock()
		if s.in.Load()&inBegun == 0 {
			s.endpoint.counts.connectTimeouts.Add(1)
			s.stop(transport.StatusPolicyViolation, "no connect in time", ErrNoConnect)
		}
		return
	}
	now := time.Now()
	// Silence while a handler keeps this side from reading is not the client's.
	st := s.in.Load()
	if seq := st / inSeq; seq != h.seq || st&inBusy != 0 {
		h.seq, h.receivedAt = seq, now
	}
	if h.receive > 0 && now.Sub(h.receivedAt) >= 2*h.receive {
		s.mu.Unlock()
		s.endpoint.counts.heartbeatsMissed.Add(1)
		s.in.Or(inStopped)
		_ = s.end(transport.StatusPolicyViolation, "no heartbeat in time", ErrNoHeartbeat, true)
		return
	}
	if h.sent || s.queued > 0 || s.writing {
		h.sent, h.sentAt = false, now
	}
	beat := h.send > 0 && now.Sub(h.sentAt)+2*h.period > h.send
	d.timer.Reset(h.period)
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
		s.dialogue.heartbeat.sent = true
	}
}
