package duplex

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/weftws/weft/transport/internal/wire"
)

const (
	opClose = 8
	opPing  = 9
	opPong  = 10

	// maxControl bounds the pings, and the pongs, that wait for a peer that does not
	// read.
	maxControl = 512
)

type ping struct {
	at   time.Time
	done chan struct{}
	rtt  time.Duration // 0: the connection ended
}

// RoundTrip implements transport.RoundTripTimer.
func (c *WebSocket) RoundTrip() time.Duration { return time.Duration(c.roundTrip.Load()) }

// Ping implements transport.Pinger.
func (c *WebSocket) Ping(ctx context.Context) (time.Duration, error) {
	p := &ping{at: time.Now(), done: make(chan struct{})}
	c.mu.Lock()
	if c.cause != nil {
		defer c.mu.Unlock()
		return 0, c.cause
	}
	id := c.newPing()
	if c.pings == nil {
		c.pings = make(map[uint64]*ping)
	}
	c.pings[id] = p
	c.flushControl()
	c.mu.Unlock()

	select {
	case <-p.done:
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.pings, id)
		c.mu.Unlock()
		return 0, ctx.Err()
	}
	if p.rtt == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return 0, c.cause
	}
	return p.rtt, nil
}

// newPing queues a ping with a number of its own. The caller holds mu and flushes.
// While the peer does not read, the queue stays short: a ping that finds it full is
// left out, and its sender waits for nothing.
func (c *WebSocket) newPing() uint64 {
	c.pingID++
	if len(c.control) < maxControl {
		c.control = c.appendControl(c.control, opPing, binary.BigEndian.AppendUint64(nil, c.pingID))
	}
	return c.pingID
}

// GotPing answers a ping.
func (c *WebSocket) GotPing(body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pong) >= maxControl {
		c.pong = c.pong[:0] // the latest is enough (section 5.5.3)
	}
	c.pong = c.appendControl(c.pong, opPong, body)
	c.flushControl()
}

// GotPong matches a pong with its ping, and with those before it: a peer may answer
// only the latest (section 5.5.3). Others are allowed and mean nothing.
func (c *WebSocket) GotPong(body []byte) {
	if len(body) != 8 {
		return
	}
	id := binary.BigEndian.Uint64(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 || id > c.pingID {
		return
	}
	if id == c.autoPing {
		c.roundTrip.Store(int64(max(time.Since(c.autoAt), 1)))
		c.autoPing = 0
	}
	for i, p := range c.pings {
		if i > id {
			continue
		}
		p.rtt = max(time.Since(p.at), 1)
		if i == id {
			c.roundTrip.Store(int64(p.rtt))
		}
		delete(c.pings, i)
		close(p.done)
	}
}

// tick is the keep-alive: a ping every PingInterval, and PongTimeout after it the
// question whether anything came. Silence that this side causes does not count.
func (c *WebSocket) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	if !c.asked {
		c.alive.Store(false)
		c.autoPing, c.autoAt = c.newPing(), time.Now()
		c.asked = true
		c.flushControl()
		c.keepAlive.Reset(c.limits.PongTimeout)
		return
	}
	c.asked = false
	// While something waits to be sent, the ping may wait behind it: WriteTimeout
	// judges the peer then.
	late := c.waiting && c.limits.WriteTimeout > 0
	if !c.alive.Load() && !c.paused.Load() && c.turn.Load()&1 == 0 && !late {
		c.broken(errSilent)
		return
	}
	c.keepAlive.Reset(max(c.limits.PingInterval-c.limits.PongTimeout, 1))
}

// appendControl encodes a control frame behind dst. A client's is masked, by a
// generator that can't be predicted (section 5.3).
func (c *WebSocket) appendControl(dst []byte, op byte, body []byte) []byte {
	if !c.Client {
		return append(append(dst, 0x80|op, byte(len(body))), body...)
	}
	dst = binary.LittleEndian.AppendUint32(append(dst, 0x80|op, 0x80|byte(len(body))), rand.Uint32())
	mask := [4]byte(dst[len(dst)-4:])
	for i, b := range body {
		dst = append(dst, b^mask[i&3])
	}
	return dst
}

// flushControl sends what waits in pong and control, unless a message is under
// way: then whoever sends that does it. The caller holds mu.
func (c *WebSocket) flushControl() {
	if c.waiting || c.writing || !c.HasControl() {
		return
	}
	blk := GetBlock()
	defer PutBlock(blk)
	b := c.TakeControl(blk.B[:0])
	if n, err := c.TryWrite(b); err == nil {
		c.Keep(b[n:], nil)
	}
}

// HasControl reports whether control frames wait. The caller is in a Write.
func (c *WebSocket) HasControl() bool { return len(c.pong)+len(c.control) > 0 }

// TakeControl moves the waiting control frames behind dst. The close frame is the
// last. The caller is in a Write.
func (c *WebSocket) TakeControl(dst []byte) []byte {
	if !c.HasControl() {
		return dst
	}
	dst = append(append(dst, c.pong...), c.control...)
	c.pong, c.control = nil, nil
	return dst
}

// between is the control frames that wait. The caller holds mu.
func (c *WebSocket) between() []byte {
	if !c.HasControl() {
		return nil
	}
	return c.TakeControl(wire.GetPiece(len(c.control) + len(c.pong)))
}

// EndWrite is Conn.EndWrite, and sends a close frame if Close came between two system
// calls.
func (c *WebSocket) EndWrite() {
	c.flushControl()
	c.Conn.EndWrite()
}

// Held is Conn.Held with the control frames.
func (c *WebSocket) Held() int {
	n := c.Conn.Held()
	c.mu.Lock()
	defer c.mu.Unlock()
	return n + cap(c.pong) + cap(c.control)
}
