package handlertest

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// errTimeout is what methods of a Client return after Timeout.
var errTimeout = errors.New("handlertest: timed out")

// Client is the other end of a session, over the transport's dialer and the
// sub-protocol's own framer. Send and Receive may be called by one goroutine each
// at a time, the other methods by any.
type Client struct {
	stack  Stack
	conn   transport.Conn
	framer subprotocol.Framer
	relay  *relay
	hand   func(*subprotocol.Message)

	// The sender's.
	msg   subprotocol.Message
	buf   []byte
	batch [1]transport.Message
	room  chan struct{} // has room for one: Writable came

	more      chan struct{} // has room for one: something came
	connected chan struct{} // has room for one: Connected came
	gone      chan struct{} // closed at the end

	mu    sync.Mutex
	inbox []*subprotocol.Message
	cause error
}

func newClient(st Stack, hand func(*subprotocol.Message)) *Client {
	return &Client{
		stack: st, hand: hand,
		room: make(chan struct{}, 1), more: make(chan struct{}, 1), connected: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

// Stack is the row that the client has dialled.
func (c *Client) Stack() Stack { return c.stack }

// Conn is the client's connection, for the optional interfaces that package
// transport finds with As. Writing to it is Send's.
func (c *Client) Conn() transport.Conn { return c.conn }

// Features are what the sub-protocol has.
func (c *Client) Features() subprotocol.Features { return c.framer.Features() }

// Send encodes m and sends it; it waits while there is no room. A Kind of 0 becomes
// KindSend, and a Send without a destination goes to Destination where the
// sub-protocol has destinations. m is the caller's again when Send returns. The error
// unwraps to net.ErrClosed if the connection is over.
func (c *Client) Send(m *subprotocol.Message) error {
	var late <-chan time.Time
	for {
		taken, err := c.TrySend(m)
		if taken || err != nil {
			return err
		}
		if late == nil {
			timer := time.NewTimer(Timeout)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-c.room:
		case <-c.gone:
			return c.why()
		case <-late:
			return errTimeout
		}
	}
}

// TrySend is Send that does not wait; it reports whether there was room.
func (c *Client) TrySend(m *subprotocol.Message) (bool, error) {
	c.msg = *m
	if c.msg.Kind == 0 {
		c.msg.Kind = subprotocol.KindSend
	}
	if c.msg.Kind == subprotocol.KindSend && c.msg.Destination == "" && c.framer.Features().Subscriptions {
		c.msg.Destination = Destination
	}
	b, typ, err := c.framer.Append(c.buf[:0], &c.msg)
	if err != nil {
		return false, err
	}
	c.buf = b
	c.batch[0] = transport.Message{Type: typ, Data: b}
	n, err := c.conn.Write(c.batch[:])
	return n == 1, err
}

// Receive waits for the next message, which is the caller's. Once all that came is
// received it returns what Closed does.
func (c *Client) Receive() (*subprotocol.Message, error) {
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	for {
		over := false
		select {
		case <-c.gone:
			over = true
		default:
		}
		if m := c.next(); m != nil {
			return m, nil
		}
		if over {
			return nil, c.why()
		}
		select {
		case <-c.more:
		case <-c.gone:
		case <-timer.C:
			return nil, errTimeout
		}
	}
}

func (c *Client) next() *subprotocol.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) == 0 {
		return nil
	}
	m := c.inbox[0]
	c.inbox[0] = nil
	c.inbox = c.inbox[1:]
	return m
}

// Connect sends Connect where the sub-protocol has one, and waits for the answer or
// for the end. DialWith does it once.
func (c *Client) Connect() error {
	if !c.framer.Features().Connect {
		return nil
	}
	if err := c.Send(&subprotocol.Message{Kind: subprotocol.KindConnect}); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	select {
	case <-c.connected:
	case <-c.gone:
	case <-timer.C:
		return errTimeout
	}
	return nil
}

// Close begins the end of the connection, as transport.Conn's Close does, and does
// not wait for it.
func (c *Client) Close(code transport.StatusCode, reason string) error {
	return c.conn.Close(code, reason)
}

// Closed waits until the connection is over and returns why: a
// *transport.CloseError is what the server said, a *transport.EndError what was
// found or done on this side. If it is not over in time the error does not unwrap
// to net.ErrClosed.
func (c *Client) Closed() error {
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	select {
	case <-c.gone:
		return c.why()
	case <-timer.C:
		return errTimeout
	}
}

// Done is closed when the connection is over.
func (c *Client) Done() <-chan struct{} { return c.gone }

func (c *Client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Cut breaks the connection without a close frame, as a client does that vanishes.
// Both sides find out at once. It panics if the client was not dialled with
// DialOptions.Cuttable.
func (c *Client) Cut() {
	if p, ok := transport.As[*pipe.Conn](c.conn); ok {
		p.Cut()
		return
	}
	if c.relay == nil {
		panic("handlertest: Cut of a client that was dialled without Cuttable")
	}
	c.relay.cut()
}

// receiver keeps what the transport calls out of Client's exported methods, and so
// does sink.
type (
	receiver Client
	sink     Client
)

func (r *receiver) Receive(m transport.Message) {
	c := (*Client)(r)
	if err := c.framer.Decode(m, (*sink)(c)); err != nil {
		c.end(err)
		_ = c.conn.Close(transport.StatusProtocolError, "the client can't decode this message")
	}
}

func (r *receiver) Writable() { signal(r.room) }

func (r *receiver) Closed(err error) {
	c := (*Client)(r)
	c.end(err)
	close(c.gone)
}

// end keeps why the connection is over; the first reason counts.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = err
	}
}

func (k *sink) Emit(m *subprotocol.Message) error {
	c := (*Client)(k)
	if m.Kind == subprotocol.KindConnected {
		signal(c.connected)
		return nil
	}
	if c.hand != nil {
		c.hand(m)
		return nil
	}
	c.mu.Lock()
	c.inbox = append(c.inbox, m.Clone())
	c.mu.Unlock()
	signal(c.more)
	return nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
