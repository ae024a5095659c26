package client

import (
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// heartbeat is what both sides have agreed on, and what the last tick saw.
type heartbeat struct {
	send, receive time.Duration // 0 for none
	period        time.Duration // of ticks
	timer         *time.Timer   // nil if there is nothing to time
	sent          bool          // something went out since the last tick
	seq           uint64        // of link.received
	sentAt        time.Time     // of the last tick that saw something go out,
	receivedAt    time.Time     // or come in
}

// agree is what holds if one side promises a sign of life every offer and the other
// wants one every want.
func agree(offer, want time.Duration) time.Duration {
	if offer <= 0 || want <= 0 {
		return 0
	}
	return max(offer, want)
}

// tolerance is for how many intervals a server may be silent. There are some that leave
// one beat out, and then are late: ActiveMQ after each frame that it sends.
const tolerance = 3

// startHeartbeat begins with what both sides want. It is called with Client.mu held.
func (l *link) startHeartbeat(server subprotocol.Heartbeat) {
	if !l.features.Heartbeats {
		return
	}
	h := &l.beat
	h.send, h.receive = agree(l.offer.Send, server.Receive), agree(server.Send, l.offer.Receive)
	switch send := h.send / 2; {
	case h.receive == 0:
		h.period = send
	case send == 0:
		h.period = h.receive
	default:
		h.period = min(send, h.receive)
	}
	if h.period == 0 {
		return
	}
	h.seq = l.received.Load()
	h.sentAt = time.Now()
	h.receivedAt = h.sentAt
	h.timer = time.AfterFunc(h.period, l.tick)
}

// stopHeartbeat is called with Client.mu held.
func (l *link) stopHeartbeat() {
	if l.beat.timer != nil {
		l.beat.timer.Stop()
	}
}

// tick gives up a server that has fallen silent, and sends a heartbeat if this side
// would be silent for too long before the next tick.
func (l *link) tick() {
	c := l.client
	c.mu.Lock()
	if l.dead {
		c.mu.Unlock()
		return
	}
	h := &l.beat
	now := time.Now()
	// Silence while this side does not read is not the server's.
	if seq := l.received.Load(); seq != h.seq || l.reading.Load() || l.paused.Load() {
		h.seq, h.receivedAt = seq, now
	}
	if h.receive > 0 && now.Sub(h.receivedAt) >= tolerance*h.receive {
		c.mu.Unlock()
		l.end(transport.StatusPolicyViolation, "no heartbeat in time", errNoHeartbeat)
		return
	}
	if h.sent {
		h.sent, h.sentAt = false, now
	}
	beat := h.send > 0 && now.Sub(h.sentAt)+2*h.period > h.send
	h.timer.Reset(h.period)
	c.mu.Unlock()
	if beat {
		l.sendHeartbeat()
	}
}

// sendHeartbeat sends a sign of life, unless there is something under way that is one.
func (l *link) sendHeartbeat() {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.dead || c.writing || l.full {
		return
	}
	e := &entry{msg: &subprotocol.Message{Kind: subprotocol.KindHeartbeat}}
	c.begin(l, e)
	c.mu.Unlock()
	n, bad := l.put(e)
	c.mu.Lock()
	c.wrote(l, n, n == 0 && bad == nil)
	c.finishWriting(l)
}
