// Package heartbeat is the arithmetic of signs of life, for both sides of a
// connection. It asks no clock and keeps no timer.
package heartbeat

import (
	"time"

	"github.com/weftws/weft/subprotocol"
)

// Heartbeat is what both sides have agreed on, and what the last tick saw. Nothing is
// noted when a message comes or goes: who ticks says whether there was one. It is not
// safe for concurrent use.
type Heartbeat struct {
	// Period is the time between ticks, 0 if nothing was agreed and none are needed.
	Period time.Duration

	send, receive    time.Duration // 0 for none
	silence          time.Duration // of the other side that is too long
	sent, receivedAt time.Time     // of the last tick that saw something go out, or come in
}

// Begin makes the Heartbeat of a side that offers and wants own, while the other one
// offers and wants peer. The other one is lost after tolerance times the interval that was
// agreed.
func Begin(own, peer subprotocol.Heartbeat, tolerance int, now time.Time) Heartbeat {
	send, receive := agree(own.Send, peer.Receive), agree(peer.Send, own.Receive)
	// Timers and networks are late at times, and not every peer tolerates that.
	send -= send / 10
	h := Heartbeat{send: send, receive: receive, silence: time.Duration(tolerance) * receive, sent: now, receivedAt: now}
	switch send /= 2; {
	case receive == 0:
		h.Period = send
	case send == 0:
		h.Period = receive
	default:
		h.Period = min(send, receive)
	}
	return h
}

// agree is what holds if one side promises a sign of life every offer and the other
// wants one every want.
func agree(offer, want time.Duration) time.Duration {
	if offer <= 0 || want <= 0 {
		return 0
	}
	return max(offer, want)
}

// Tick takes what has happened since the last one. It reports whether the other side is lost,
// and else whether this one must say something because it would be silent for too
// long before the next tick.
func (h *Heartbeat) Tick(now time.Time, sent, received bool) (beat, lost bool) {
	if received {
		h.receivedAt = now
	}
	if h.receive > 0 && now.Sub(h.receivedAt) >= h.silence {
		return false, true
	}
	if sent {
		h.sent = now
	}
	return h.send > 0 && now.Sub(h.sent)+2*h.Period > h.send, false
}
