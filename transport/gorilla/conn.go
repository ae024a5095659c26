package gorilla

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// conn is one WebSocket connection. One goroutine reads through gorilla; whoever has
// something to send lets gorilla encode it into memory and writes that itself,
// without waiting, under mu. What the socket refuses is sent by a goroutine that
// lives as long as the refusal.
type conn struct {
	opts   *Options
	ws     *websocket.Conn
	s      wire.Stream
	sub    string
	client bool
	level  *Compression // nil: no compression on this connection

	// The reader's.
	in      wire.Buffer
	guard   guard
	refused error    // why there is nothing more to read, a *violation if the guard says so
	ioErr   error    // the same, once gorilla was told
	limited bool     // a read deadline is set
	beyond  [16]byte // where the first bytes go that have no room

	// turn is odd while Receive runs. The reader makes it odd; whoever adds one to
	// that odd number first, the reader after Receive or Yield, decides who reads on.
	turn    atomic.Uint64
	alive   atomic.Bool // something came since the last ping of the keep-alive
	paused  atomic.Bool
	excused atomic.Bool // a Pause came since the read deadline was set
	stopped atomic.Bool // as closing: what comes is dropped

	mu   sync.Mutex
	recv transport.Receiver // nil until Open has returned

	// Where gorilla's bytes go, under mu.
	out      []byte
	borrow   bool // do not copy a frame but remember it in borrowed
	borrowed []byte

	// What must be sent before anything else, under mu; while waiting, rest and
	// tail are the waiter's.
	rest    []byte // of the message that was sent in part
	piece   []byte // the memory of rest, if it is to be given back
	tail    []byte // behind rest; bytes that never change
	pong    []byte // answers to pings
	control []byte // pings and the close frame
	writing bool   // a Write is between two system calls
	waiting bool   // the waiter runs; nobody else writes
	want    int    // calls of Writable that are owed: one for each short Write
	calling int    // waiters in Writable

	// The end, under mu.
	closing    bool  // the close frame is queued, or the connection broken: nothing is taken any more
	cause      error // of Closed; the first one counts
	closeTimer *time.Timer
	settled    chan struct{} // if not nil, closed when the waiter or a Write has ended
	resume     chan struct{} // if not nil, closed by Resume and at the end

	// The keep-alive and Ping, under mu.
	keepAlive *time.Timer
	asked     bool // a ping of the keep-alive waits for any sign of life
	pingID    uint64
	autoPing  uint64 // the keep-alive's latest
	autoAt    time.Time
	pings     map[uint64]*ping
	roundTrip atomic.Int64
}

type ping struct {
	at   time.Time
	done chan struct{}
	rtt  time.Duration // 0: the connection ended
}

var (
	_ transport.Conn           = (*conn)(nil)
	_ transport.Yielder        = (*conn)(nil)
	_ transport.Pauser         = (*conn)(nil)
	_ transport.Pinger         = (*conn)(nil)
	_ transport.RoundTripTimer = (*conn)(nil)
)

// start opens a connection whose handshake is done and begins to read. early is what
// the peer sent behind its handshake.
func (t *Transport) start(ws *websocket.Conn, s *socket, client, deflate bool, early []byte, open func(transport.Conn) transport.Receiver) *conn {
	wire.SetNotSentLowat(s.Conn, t.opts.NotSentLowat)
	c := &conn{opts: &t.opts, ws: ws, s: wire.New(s.Conn), sub: ws.Subprotocol(), client: client}
	c.in.Preload(early)
	c.guard.deflate = deflate
	limit := int64(t.opts.MaxMessageSize)
	if deflate {
		c.level = t.opts.Compression
		_ = ws.SetCompressionLevel(c.level.Level)
		// What gorilla counts is what comes over the wire, and that may be more than
		// what it inflates to.
		limit = addSat(limit, limit/64+1024)
	}
	ws.SetReadLimit(limit)
	ws.SetPingHandler(c.gotPing)
	ws.SetPongHandler(c.gotPong)
	ws.SetCloseHandler(func(int, string) error { return nil })
	s.c = c
	recv := open(c)

	c.mu.Lock()
	c.recv = recv
	if t.opts.PingInterval > 0 && !c.closing {
		c.keepAlive = time.AfterFunc(t.opts.PingInterval, c.tick)
	}
	owed := 0
	if !c.waiting {
		owed, c.want = c.want, 0
	}
	c.mu.Unlock()
	for range owed {
		recv.Writable()
	}
	go c.read()
	return c
}

func (c *conn) SubProtocol() string { return c.sub }

func (c *conn) RoundTrip() time.Duration { return time.Duration(c.roundTrip.Load()) }

// end makes err the cause, if it is the first, and lets nothing more be taken. The
// caller holds mu.
func (c *conn) end(err error) {
	if c.cause == nil {
		c.cause = err
	}
	c.closing = true
	c.stopped.Store(true)
	c.want = 0
	c.wakePaused()
}

// broken ends the connection without a close frame; the reader finds out.
func (c *conn) broken(err error) {
	c.mu.Lock()
	c.end(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: err})
	c.mu.Unlock()
	c.drop()
}

// drop closes the socket. TLS would say goodbye first, but not while a goroutine
// of ours is stuck in a write.
func (c *conn) drop() { _ = c.s.Conn().Close() }

func (c *conn) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return c.cause
	}
	c.end(&transport.EndError{Code: code, Err: transport.ErrLocalClose})
	c.sendClose(code, reason)
	return nil
}

// sendClose queues the close frame behind what was taken, and gives the peer
// CloseTimeout from now for all that is left. The caller holds mu and has called
// end.
func (c *conn) sendClose(code transport.StatusCode, reason string) {
	if c.closeTimer != nil {
		return
	}
	c.closeTimer = time.AfterFunc(c.opts.CloseTimeout, c.drop)
	c.control = c.appendClose(c.control, websocket.FormatCloseMessage(int(code), reason))
	c.flushControl()
}

// Ping implements transport.Pinger.
func (c *conn) Ping(ctx context.Context) (time.Duration, error) {
	p := &ping{at: time.Now(), done: make(chan struct{})}
	c.mu.Lock()
	if c.closing {
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
func (c *conn) newPing() uint64 {
	c.pingID++
	if len(c.control) < maxControl {
		c.control = c.appendControl(c.control, websocket.PingMessage, binary.BigEndian.AppendUint64(nil, c.pingID))
	}
	return c.pingID
}

// gotPing answers a ping. gorilla calls it while it reads.
func (c *conn) gotPing(body string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil
	}
	if len(c.pong) >= maxControl {
		c.pong = c.pong[:0] // the latest is enough (section 5.5.3)
	}
	c.pong = c.appendControl(c.pong, websocket.PongMessage, []byte(body))
	c.flushControl()
	return nil
}

// gotPong matches a pong with its ping, and with those before it: a peer may answer
// only the latest (section 5.5.3). Others are allowed and mean nothing.
func (c *conn) gotPong(body string) error {
	if len(body) != 8 {
		return nil
	}
	id := binary.BigEndian.Uint64([]byte(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 || id > c.pingID {
		return nil
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
	return nil
}

// tick is the keep-alive: a ping every PingInterval, and PongTimeout after it the
// question whether anything came. Silence that this side causes does not count.
func (c *conn) tick() {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	if !c.asked {
		c.alive.Store(false)
		c.autoPing, c.autoAt = c.newPing(), time.Now()
		c.asked = true
		c.flushControl()
		c.keepAlive.Reset(c.opts.PongTimeout)
		c.mu.Unlock()
		return
	}
	c.asked = false
	// While something waits to be sent, the ping may wait behind it: WriteTimeout
	// judges the peer then.
	late := c.waiting && c.opts.WriteTimeout > 0
	if !c.alive.Load() && !c.paused.Load() && c.turn.Load()&1 == 0 && !late {
		c.mu.Unlock()
		c.broken(errSilent)
		return
	}
	c.keepAlive.Reset(max(c.opts.PingInterval-c.opts.PongTimeout, 1))
	c.mu.Unlock()
}

var errSilent = &cause{"no sign of life after a ping", transport.ErrTimeout}

// cause is a text in front of one of the contract's sentinels.
type cause struct {
	text string
	err  error
}

func (e *cause) Error() string { return e.text + ": " + e.err.Error() }
func (e *cause) Unwrap() error { return e.err }

// Pause implements transport.Pauser.
func (c *conn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.paused.Store(true)
		c.excused.Store(true)
	}
}

// Resume implements transport.Pauser.
func (c *conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakePaused()
}

func (c *conn) wakePaused() {
	if c.paused.Swap(false) {
		c.alive.Store(true) // what the peer sent meanwhile was not looked at
	}
	if c.resume != nil {
		close(c.resume)
		c.resume = nil
	}
}

// waitResume waits while the connection is paused.
func (c *conn) waitResume() {
	for {
		c.mu.Lock()
		if !c.paused.Load() {
			c.mu.Unlock()
			return
		}
		if c.resume == nil {
			c.resume = make(chan struct{})
		}
		resume := c.resume
		c.mu.Unlock()
		<-resume
	}
}

// finish ends the connection: it is the last thing that the reader does.
func (c *conn) finish() {
	c.drop()
	c.mu.Lock()
	if c.closeTimer != nil {
		c.closeTimer.Stop()
	}
	if c.keepAlive != nil {
		c.keepAlive.Stop()
	}
	for id, p := range c.pings {
		delete(c.pings, id)
		close(p.done)
	}
	for c.waiting || c.writing || c.calling > 0 {
		settled := c.settle()
		c.mu.Unlock()
		<-settled
		c.mu.Lock()
	}
	c.rest, c.piece, c.tail, c.pong, c.control = nil, nil, nil, nil, nil
	err := c.cause
	c.mu.Unlock()
	c.in.Release()
	c.recv.Closed(err)
}

// settle returns a channel that closes when the waiter or a Write has ended. The
// caller holds mu.
func (c *conn) settle() chan struct{} {
	if c.settled == nil {
		c.settled = make(chan struct{})
	}
	return c.settled
}

// readError is how a failed read ends the connection.
func readError(err error) error {
	if errors.Is(err, net.ErrClosed) {
		err = errDropped
	}
	return &transport.EndError{Code: transport.StatusAbnormalClosure, Err: err}
}

var errDropped = errors.New("socket closed")

// addSat is a+b for numbers that are not negative, at most the largest one.
func addSat(a, b int64) int64 {
	if s := a + b; s >= 0 {
		return s
	}
	return a
}
