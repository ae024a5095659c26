package client

import (
	"time"

	"github.com/weftws/weft/handler/internal/heartbeat"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// tolerance is for how many intervals a server may be silent. There are some that leave
// one beat out, and then are late: ActiveMQ after each frame that it sends.
const tolerance = 3

// startHeartbeat begins with what both sides want. It is called with Client.mu held.
func (l *link) startHeartbeat(server subprotocol.Heartbeat) {
	if !l.features.Heartbeats {
		return
	}
	l.beat = heartbeat.Begin(l.offer, server, tolerance, time.Now())
	if l.beat.Period == 0 {
		return
	}
	l.seen = l.received.Load()
	l.timer = time.AfterFunc(l.beat.Period, l.tick)
}

// stopHeartbeat is called with Client.mu held.
func (l *link) stopHeartbeat() {
	if l.timer != nil {
		l.timer.Stop()
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
	// Silence while this side does not read is not the server's.
	seq := l.received.Load()
	received := seq != l.seen || l.reading.Load() || l.paused.Load()
	beat, lost := l.beat.Tick(time.Now(), l.sent, received)
	l.seen, l.sent = seq, false
	if lost {
		c.mu.Unlock()
		l.end(transport.StatusPolicyViolation, "no heartbeat in time", errNoHeartbeat)
		return
	}
	l.timer.Reset(l.beat.Period)
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
