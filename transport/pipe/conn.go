package pipe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/transport"
)

var (
	_ transport.Conn           = (*Conn)(nil)
	_ transport.Yielder        = (*Conn)(nil)
	_ transport.Pauser         = (*Conn)(nil)
	_ transport.Pinger         = (*Conn)(nil)
	_ transport.RoundTripTimer = (*Conn)(nil)
)

// ErrCut is the cause in the EndError of an end whose connection was broken by Cut
// or Vanish.
var ErrCut = errors.New("pipe: connection cut")

// ErrNotUTF8 is the cause in the EndError of an end that was sent a text message
// that is not UTF-8.
var ErrNotUTF8 = errors.New("pipe: text message is not UTF-8")

// errOver is what methods return once the connection is over.
var errOver = fmt.Errorf("pipe: %w", net.ErrClosed)

// A link is what the two ends of a connection have in common. One lock guards both
// ends: a close concerns both, and whoever holds it does not wait.
type link struct {
	opts    *Options
	buffers *buffers

	mu  sync.Mutex
	cut bool // the connection is broken, and both ends may know
}

// A Conn is one end of a connection. Besides what the contract of transport.Conn
// says, it has the controls of a test double: SetDelay, SetFull, Cut and Vanish,
// which may be called from any goroutine at any time.
type Conn struct {
	link *link
	peer *Conn
	sub  string

	// What the goroutines start with; method values made once, so that starting
	// one allocates nothing.
	runFunc, wakeFunc, slowFunc func()

	roundTrip atomic.Int64

	// All below is guarded by link.mu.

	r  transport.Receiver // nil before Open has returned
	in queue              // written by the peer, not yet received

	running   bool   // a goroutine delivers
	receiving bool   // Receive runs and has not yielded
	turn      uint64 // counts the changes of receiving: tells a goroutine that its Receive has yielded
	paused    bool

	owed   int  // Writes of this end that were short and have had no Writable
	need   int  // the room that the latest of them lacked
	waking bool // a goroutine calls Writable
	full   bool // SetFull

	delay   time.Duration // between two items that this end receives
	slow    *time.Timer   // runs while an item waits for its delay
	waiting bool          // slow was started and has not fired
	ripe    bool          // slow has fired for the first item

	closing  bool        // a close frame is with the peer
	endErr   error       // the argument of Closed if closing goes well
	timer    *time.Timer // CloseTimeout, while closing
	final    error       // the argument of Closed, once the end is settled
	closed   bool        // Closed has been called or is being called
	vanished bool        // Vanish: the peer must not notice the end
	pings    map[*ping]struct{}
}

type ping struct{ done chan error } // has room for one

// newLink makes two connected ends. They deliver once they are opened.
func newLink(opts *Options, b *buffers, sub string) (x, y *Conn) {
	l := &link{opts: opts, buffers: b}
	x, y = &Conn{link: l, sub: sub}, &Conn{link: l, sub: sub}
	x.peer, y.peer = y, x
	for _, c := range []*Conn{x, y} {
		c.runFunc, c.wakeFunc, c.slowFunc = c.run, c.wake, c.slowFired
	}
	return x, y
}

// Pair connects two ends, hands each to its open function, first a then b, and
// begins to deliver. Nil opts mean the defaults.
func Pair(opts *Options, openA, openB func(transport.Conn) transport.Receiver) (a, b *Conn) {
	o := opts.withDefaults()
	a, b = newLink(&o, new(buffers), "")
	a.open(openA)
	b.open(openB)
	return a, b
}

// open lets the receiver be chosen and begins to deliver to it.
func (c *Conn) open(choose func(transport.Conn) transport.Receiver) {
	opened := false
	defer func() {
		if !opened { // choose panics: the peer must not wait for this end
			c.Cut()
		}
	}()
	r := choose(c)
	opened = true
	if r == nil {
		r = nobody{}
		_ = c.Close(transport.StatusInternalError, "")
	}
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.r = r
	c.kick()
}

// nobody receives for an open function that returned no receiver.
type nobody struct{}

func (nobody) Receive(transport.Message) {}
func (nobody) Writable()                 {}
func (nobody) Closed(error)              {}

// SubProtocol returns what the acceptor chose.
func (c *Conn) SubProtocol() string { return c.sub }

// Write takes messages while the peer's queue has room for them.
func (c *Conn) Write(batch []transport.Message) (accepted int, err error) {
	l, p := c.link, c.peer
	for {
		// There is one writer, so room can only grow between the two locks; the
		// bytes are copied without holding any.
		l.mu.Lock()
		if c.over() {
			l.mu.Unlock()
			return accepted, errOver
		}
		n, cost := 0, p.in.cost
		for i := accepted; i < len(batch); i++ {
			w := c.weight(&batch[i])
			if !c.room(cost, w) {
				break
			}
			cost += w
			n++
		}
		l.mu.Unlock()

		var q queue
		for i := range n {
			it, bad := c.pack(&batch[accepted+i])
			if bad != nil {
				err = bad
				n = i
				break
			}
			q.push(it)
		}

		l.mu.Lock()
		if c.over() {
			l.mu.Unlock()
			l.buffers.drop(&q)
			return accepted, errOver
		}
		accepted += n
		if p.closing {
			l.buffers.drop(&q) // what comes after a close is discarded
		} else {
			p.in.join(&q)
			p.kick()
		}
		if err == nil && accepted < len(batch) {
			w := c.weight(&batch[accepted])
			if c.room(p.in.cost, w) {
				l.mu.Unlock()
				continue
			}
			c.owed++
			c.need = w
		}
		l.mu.Unlock()
		return accepted, err
	}
}

// weight is how much room m takes. A message that the peer will refuse is not
// copied.
func (c *Conn) weight(m *transport.Message) int {
	if n := m.Len(); n <= c.link.opts.MaxMessageSize {
		return n + overhead
	}
	return overhead
}

// room reports whether a message of weight w may be taken behind cost.
func (c *Conn) room(cost, w int) bool {
	return !c.full && (cost == 0 || cost+w <= c.link.opts.Buffer)
}

// pack copies a message.
func (c *Conn) pack(m *transport.Message) (*item, error) {
	if m.Type != transport.MessageText && m.Type != transport.MessageBinary {
		return nil, fmt.Errorf("pipe: message type %d can't be sent", m.Type)
	}
	n := m.Len()
	if n > c.link.opts.MaxMessageSize {
		return &item{
			kind: kindBad, cost: overhead, code: transport.StatusMessageTooBig,
			reason: "message too big", err: transport.ErrMessageTooBig,
		}, nil
	}
	it := c.link.buffers.get(n)
	it.data = append(append(it.data[:0], m.Head...), m.Data...)
	it.typ = m.Type
	it.cost = n + overhead
	if m.Type == transport.MessageText && !utf8.Valid(it.data) {
		c.link.buffers.put(it)
		return &item{
			kind: kindBad, cost: overhead, code: transport.StatusInvalidPayloadData,
			reason: "invalid UTF-8", err: ErrNotUTF8,
		}, nil
	}
	return it, nil
}

// over reports whether this end can't send any more.
func (c *Conn) over() bool {
	return c.closing || c.final != nil || c.vanished || c.link.cut || c.peer.final != nil && !c.peer.vanished
}

// Close sends the close frame behind what was taken. What still comes in is
// discarded.
func (c *Conn) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closing || c.final != nil || c.vanished || c.link.cut {
		return errOver
	}
	c.end(code, reason, transport.ErrLocalClose)
	return nil
}

// end begins to end the connection from this side.
func (c *Conn) end(code transport.StatusCode, reason string, cause error) {
	l, p := c.link, c.peer
	c.closing = true
	c.endErr = &transport.EndError{Code: code, Err: cause}
	c.discard()
	switch {
	case c.link.cut || c.vanished || p.final != nil && !p.vanished:
		c.settle(c.endErr) // nobody is there to take the close frame
	case p.closing:
		p.settle(p.endErr) // each side's close frame answers the other's
		c.settle(c.endErr)
	default:
		p.in.push(&item{kind: kindClose, code: code, reason: reason})
		c.timer = time.AfterFunc(l.opts.CloseTimeout, c.closeExpired)
		p.kick()
	}
}

// closeExpired ends this side although the peer has not taken the close frame.
func (c *Conn) closeExpired() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.final != nil {
		return
	}
	e, _ := errors.AsType[*transport.EndError](c.endErr)
	c.settle(&transport.EndError{Code: e.Code, Err: fmt.Errorf("%w: %w", e.Err, transport.ErrTimeout)})
}

// settle fixes the argument of Closed, which follows as soon as the receiver may be
// called.
func (c *Conn) settle(err error) {
	if c.final != nil {
		return
	}
	c.final = err
	c.owed = 0
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.slow != nil {
		c.slow.Stop()
	}
	for p := range c.pings {
		p.done <- errOver
	}
	c.pings = nil
	c.kick()
}

// discard drops what came in and was not received.
func (c *Conn) discard() {
	if c.slow != nil {
		c.slow.Stop()
		c.waiting = false
	}
	c.link.buffers.drop(&c.in)
	c.peer.kick()
}

// Yield lets another goroutine deliver while the present Receive runs on.
func (c *Conn) Yield() bool {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if !c.receiving {
		return false
	}
	c.receiving = false
	c.running = false
	c.turn++
	c.kick()
	return true
}

// Pause keeps whatever comes in queued, pings and close frames too. An end whose
// connection is cut while nothing is queued notices it all the same.
func (c *Conn) Pause() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.paused = true
}

// Resume ends the pause.
func (c *Conn) Resume() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.paused = false
	c.kick()
}

// Ping waits until the peer has received all that was written before, and the ping.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	p := &ping{done: make(chan error, 1)}
	c.link.mu.Lock()
	if c.over() {
		c.link.mu.Unlock()
		return 0, errOver
	}
	if c.pings == nil {
		c.pings = make(map[*ping]struct{})
	}
	c.pings[p] = struct{}{}
	if !c.peer.closing {
		c.peer.in.push(&item{kind: kindPing, ping: p})
		c.peer.kick()
	}
	c.link.mu.Unlock()

	select {
	case err := <-p.done:
		if err != nil {
			return 0, err
		}
		d := time.Since(start)
		c.roundTrip.Store(int64(d))
		return d, nil
	case <-ctx.Done():
		c.link.mu.Lock()
		defer c.link.mu.Unlock()
		delete(c.pings, p)
		c.peer.in.dropPing(p)
		return 0, ctx.Err()
	}
}

// RoundTrip is what the latest Ping measured.
func (c *Conn) RoundTrip() time.Duration { return time.Duration(c.roundTrip.Load()) }
