package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// State says how far a client has come.
type State uint8

const (
	// Idle: Connect was not called yet.
	Idle State = iota
	// Connecting: an attempt is under way.
	Connecting
	// Connected: the server has accepted, and all subscriptions are made again.
	Connected
	// Waiting: the next attempt is to come.
	Waiting
	// Closed: for good.
	Closed
)

// String returns "idle", "connecting", "connected", "waiting" or "closed".
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	case Waiting:
		return "waiting"
	case Closed:
		return "closed"
	default:
		return "unknown"
	}
}

// StateChange is one step of a client.
type StateChange struct {
	State State

	// Err says why the client is not connected: how the connection ended, or
	// the latest attempt. It is nil for Connected and before the first failure.
	Err error
}

// Client is the client's end of a sub-protocol, over one connection at a time. All
// methods may be called from any goroutine at any time.
type Client struct {
	url    string
	dialer transport.Dialer
	proto  subprotocol.SubProtocol
	opts   Options
	framer subprotocol.FramerConfig
	ctx    context.Context // ends with Closed
	cancel context.CancelFunc

	mu        sync.Mutex
	state     State
	err       error
	closing   bool                 // Close was called
	link      *link                // the present connection, nil if there is none
	links     map[*link]struct{}   // those that the transport has not let go of
	features  subprotocol.Features // of the latest connection
	doublings int                  // of the delay before the next attempt
	changed   chan struct{}        // closed when something that is waited for has changed; nil if nobody waits
	last      uint64               // number of the latest id
	calls     map[string]*call     // by receipt
	subs      map[string]*Subscription
	full      int // subscriptions that hold as much as they should
	choked    int // those that hold as much as they may

	// The writer's side, see outbound.go.
	queue   []*entry
	bytes   int  // in queue
	unsent  int  // Sends that were dropped from queue when the client was closed
	writing bool // a goroutine is inside Conn.Write

	events  []StateChange
	telling bool // a goroutine tells the hook
}

// New makes a client that is Idle. A nil opts is the zero Options; opts may be changed
// afterwards. It panics if opts can't be used, or if dialer can't carry the
// sub-protocol.
func New(url string, dialer transport.Dialer, sp subprotocol.SubProtocol, opts *Options) *Client {
	if dialer == nil || sp == nil {
		panic("client: New without a Dialer, or without a SubProtocol")
	}
	c := &Client{
		url: url, dialer: dialer, proto: sp, opts: opts.withDefaults(),
		links: make(map[*link]struct{}), calls: make(map[string]*call), subs: make(map[string]*Subscription),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.framer = subprotocol.FramerConfig{Client: true, MaxFrame: c.opts.MaxFrame}
	carrier := transport.Features{Boundaries: true, Text: true, Binary: true}
	if t, ok := transport.As[transport.Transport](dialer); ok {
		carrier = t.Features()
	}
	c.framer.TextOnly = !carrier.Binary
	var name string
	if names := sp.Names(); len(names) > 0 {
		name = names[0]
	}
	c.features = sp.NewFramer(name, c.framer).Features()
	switch {
	case c.features.Boundaries && !carrier.Boundaries:
		panic("client: the sub-protocol needs the boundaries of messages, and the transport keeps none")
	case c.features.Binary && !carrier.Binary:
		panic("client: the sub-protocol needs binary messages, and the transport carries none")
	}
	return c
}

// Dial is New and Connect. If that fails, or ctx ends first, the client is closed.
func Dial(
	ctx context.Context, url string, dialer transport.Dialer, sp subprotocol.SubProtocol, opts *Options,
) (*Client, error) {
	c := New(url, dialer, sp, opts)
	if err := c.Connect(ctx); err != nil {
		c.abort(err)
		return nil, err
	}
	return c, nil
}

// Connect starts an Idle client, and waits until it is Connected or Closed. The error
// says why it is closed, or that ctx has ended: then the client goes on trying.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Idle {
		c.setState(Connecting, nil)
		go c.establish(false)
	}
	for {
		switch c.state {
		case Connected:
			return nil
		case Closed:
			return c.err
		}
		if err := c.wait(ctx); err != nil {
			if c.err != nil {
				return fmt.Errorf("client: not connected: %w: %w", err, c.err)
			}
			return fmt.Errorf("client: not connected: %w", err)
		}
	}
}

// State is the present state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Err says why the client is not connected: how the latest connection or attempt
// ended. It is nil while the client is Connected, and before the first failure.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the client is Closed.
func (c *Client) Done() <-chan struct{} { return c.ctx.Done() }

// Greeting is the server's Connected: version, session and whatever its header says.
// It is nil while there is no connection, and where the sub-protocol has no such
// message. It must not be changed.
func (c *Client) Greeting() *subprotocol.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil
	}
	return c.link.greeting
}

// Features are what the sub-protocol has, in the version of the latest connection.
func (c *Client) Features() subprotocol.Features {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.features
}

// Encode puts v into the body of m, by the codec for its content type, the first if it
// has none, and sets the content type.
func (c *Client) Encode(m *subprotocol.Message, v any) error {
	k, err := c.codec(m.ContentType)
	if err != nil {
		return err
	}
	body, err := k.Append(nil, v)
	if err != nil {
		return fmt.Errorf("client: encoding: %w", err)
	}
	m.Body = body
	if m.ContentType == "" {
		m.ContentType = k.ContentType()
	}
	return nil
}

// Decode reads the body of m into v, by the codec for its content type, the first if
// it has none.
func (c *Client) Decode(m *subprotocol.Message, v any) error {
	k, err := c.codec(m.ContentType)
	if err != nil {
		return err
	}
	if err := k.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("client: decoding: %w", err)
	}
	return nil
}

func (c *Client) codec(contentType string) (codec.Codec, error) {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	for _, k := range c.opts.Codecs {
		if media == "" || strings.EqualFold(media, k.ContentType()) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("client: no codec for the content type %q", contentType)
}

// setState is called with mu held.
func (c *Client) setState(s State, err error) {
	c.state, c.err = s, err
	c.broadcast()
	if c.opts.Hooks.State == nil {
		return
	}
	const kept = 16
	if c.events = append(c.events, StateChange{s, err}); len(c.events) > kept {
		c.events = c.events[1:]
	}
	if !c.telling {
		c.telling = true
		go c.tell()
	}
}

// tell tells the hook what there is.
func (c *Client) tell() {
	for {
		c.mu.Lock()
		if len(c.events) == 0 {
			c.telling = false
			c.mu.Unlock()
			return
		}
		e := c.events[0]
		c.events = c.events[1:]
		c.mu.Unlock()
		c.opts.Hooks.State(e)
	}
}

// wait gives mu away until something has changed or ctx ends.
func (c *Client) wait(ctx context.Context) error {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broadcast wakes all who wait. It is called with mu held.
func (c *Client) broadcast() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// newID makes an id that no other of this client has. It is called with mu held.
func (c *Client) newID(prefix string) string {
	c.last++
	return prefix + strconv.FormatUint(c.last, 10)
}

// report tells the hook about err.
func (c *Client) report(err error) {
	if err != nil && c.opts.Hooks.Error != nil {
		c.opts.Hooks.Error(err)
	}
}
