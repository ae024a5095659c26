package duplex

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// WebSocket is embedded in the connection of a WebSocket engine.
type WebSocket struct {
	Conn

	// Client says which side this is.
	Client bool

	limited bool        // a read deadline is set; the reader's
	excused atomic.Bool // a Pause came since then

	// What goes between messages, under mu.
	pong    []byte // answers to pings
	control []byte // pings and the close frame

	// The keep-alive and Ping, under mu.
	asked     bool // a ping of the keep-alive waits for any sign of life
	keepAlive *time.Timer
	pingID    uint64
	autoPing  uint64 // the keep-alive's latest
	autoAt    time.Time
	pings     map[uint64]*ping
	roundTrip atomic.Int64
}

var (
	_ manners                  = (*WebSocket)(nil)
	_ transport.Yielder        = (*WebSocket)(nil)
	_ transport.Pauser         = (*WebSocket)(nil)
	_ transport.Pinger         = (*WebSocket)(nil)
	_ transport.RoundTripTimer = (*WebSocket)(nil)
)

// Init is Conn.Init, and says which side this is.
func (c *WebSocket) Init(nc net.Conn, l *Limits, sub string, client bool, early []byte) {
	c.Conn.Init(nc, l, sub, early)
	c.polite = true // crypto/tls is not while a goroutine of ours is stuck in a write
	c.Client = client
}

// Open is Conn.Open, and starts the keep-alive.
func (c *WebSocket) Open(e Engine, open func(transport.Conn) transport.Receiver) {
	c.Conn.Open(e, open)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limits.PingInterval > 0 && c.cause == nil {
		c.keepAlive = time.AfterFunc(c.limits.PingInterval, c.tick)
	}
}

// goodbye queues the close frame behind what was taken, and gives the peer
// CloseTimeout from now for all that is left. The caller holds mu and has called
// end.
func (c *WebSocket) goodbye(code transport.StatusCode, reason string) {
	if c.closeTimer != nil {
		return
	}
	c.closeTimer = time.AfterFunc(c.limits.CloseTimeout, c.drop)
	var body []byte
	if code != transport.StatusNoStatusReceived {
		body = append([]byte{byte(code >> 8), byte(code)}, reason...)
	}
	c.control = c.appendControl(c.control, opClose, body)
	c.flushControl()
}

// Lost ends the connection after a failed read.
func (c *WebSocket) Lost(err error) {
	switch {
	case c.limited && errors.Is(err, os.ErrDeadlineExceeded) && !c.stopped.Load():
		c.fail(transport.StatusPolicyViolation, "message not complete in time", errSlow)
		return
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.lose(err)
	c.mu.Unlock()
	c.finish()
}

// Violated ends the connection after the peer broke a rule.
func (c *WebSocket) Violated(v *Violation) {
	var err error = v
	if v.Status == transport.StatusMessageTooBig {
		err = transport.ErrMessageTooBig
	}
	c.fail(v.Status, v.Text, err)
}

// fail sends a close frame, lets the peer read it, and ends.
func (c *WebSocket) fail(status transport.StatusCode, reason string, err error) {
	c.mu.Lock()
	c.end(&transport.EndError{Code: status, Err: err})
	c.goodbye(status, reason)
	c.mu.Unlock()
	c.awaitFlush()
	// A socket that is closed with unread bytes is reset, and the peer might never
	// see the close frame: read on, and drop what comes.
	_ = wire.CloseWrite(c.Stream.Conn())
	c.drain()
	c.finish()
}

// Closed answers the peer's close frame (section 5.5.1) and ends.
func (c *WebSocket) Closed(ce *transport.CloseError) {
	c.mu.Lock()
	c.end(ce)
	c.goodbye(ce.Code, "")
	c.mu.Unlock()
	c.awaitFlush()
	switch half, ok := c.Stream.Conn().(interface{ CloseWrite() error }); {
	case c.Client:
		c.drain() // the server closes first (section 7.1.1)
	case ok:
		// Bytes behind the peer's close frame would turn ours into a reset.
		_ = half.CloseWrite()
		c.drain()
	}
	c.finish()
}

// Fill reads more. A message that has begun must be complete in time: partial says
// that one has, another that it is not the one of the call before.
func (c *WebSocket) Fill(partial, another bool) error {
	if partial != c.limited || partial && another {
		c.limited = partial
		c.excused.Store(false)
		d := c.limits.MessageTimeout
		if !partial {
			d = 0
		}
		_ = c.Stream.Conn().SetReadDeadline(wire.Deadline(d))
	}
	c.In.More = c.limited
	for {
		err := c.Stream.Read(&c.In)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.alive.Store(true)
			return err
		}
		var again time.Duration
		if !c.stopped.Load() { // else the close timer bounds it
			if !c.excused.Swap(false) && !c.paused.Load() {
				return err
			}
			c.waitResume() // the time of a pause does not count
			c.excused.Store(false)
			again = c.limits.MessageTimeout
		}
		_ = c.Stream.Conn().SetReadDeadline(wire.Deadline(again))
	}
}

// Pause implements transport.Pauser.
func (c *WebSocket) Pause() {
	c.Conn.Pause()
	c.excused.Store(true)
}

// maxDrain bounds what is read for nothing from a peer that broke a rule.
const maxDrain = 32 << 20

// drain reads until the peer closes its side; the close timer bounds it.
func (c *WebSocket) drain() {
	_ = c.Stream.Conn().SetReadDeadline(wire.Deadline(c.limits.CloseTimeout))
	c.In.More = true
	for n := 0; n < maxDrain; {
		n += c.In.Len()
		c.In.Consume(c.In.Len())
		if c.Stream.Read(&c.In) != nil {
			return
		}
	}
}

// finish is Conn.finish, and ends the keep-alive and every Ping.
func (c *WebSocket) finish() {
	c.mu.Lock()
	if c.keepAlive != nil {
		c.keepAlive.Stop()
	}
	for id, p := range c.pings {
		delete(c.pings, id)
		close(p.done)
	}
	c.pong, c.control = nil, nil
	c.mu.Unlock()
	c.Conn.finish()
}

// Violation is a rule that the peer broke, and the status that it is told.
type Violation struct {
	Status transport.StatusCode
	Text   string
}

func (v *Violation) Error() string { return v.Text }

// The violations that both engines find by themselves.
var (
	ErrReservedLength = &Violation{transport.StatusProtocolError, "64-bit frame length has its highest bit set"}
	ErrLongLength     = &Violation{transport.StatusProtocolError, "frame length is not in its shortest form"}
	ErrCloseLength    = &Violation{transport.StatusProtocolError, "close frame has a body of one byte"}
	ErrText           = &Violation{transport.StatusInvalidPayloadData, "text message is not UTF-8"}
	ErrReason         = &Violation{transport.StatusInvalidPayloadData, "close reason is not UTF-8"}
	ErrTooBig         = &Violation{transport.StatusMessageTooBig, transport.ErrMessageTooBig.Error()}
)

var (
	errSilent = &timeout{"no sign of life after a ping"}
	errSlow   = &timeout{"message not complete in time"}
)
