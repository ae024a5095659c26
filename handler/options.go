package handler

import (
	"context"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Option changes what an Endpoint does by default. Of two options of one kind the
// later one holds, but WithSubProtocols, WithCodecs, WithMiddleware, WithOutbound,
// WithOrigins, WithAccept and WithHooks add up.
type Option interface{ apply(c *config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

// config is what the options say.
type config struct {
	subProtocols       []subprotocol.SubProtocol
	codecs             []codec.Codec
	middleware         []func(Handler) Handler
	outbound           []func(Sender) Sender
	origins            []string
	accept             []func(context.Context, *Session, *transport.Handshake) error
	withoutSubProtocol bool
	maxFrame           int
	queue              Limits
	window             Limits
	overflow           OverflowPolicy
	maxSessions        int
	maxQueuedBytes     int64
	perKey             int
	sessionKey         func(*Session, *transport.Handshake) string
	flushWorkers       int
	slow               time.Duration
	closeTimeout       time.Duration
	shutdownSpread     time.Duration
	hooks              []Hooks
	connectTimeout     time.Duration
	heartbeat          subprotocol.Heartbeat
	maxSubscriptions   int
	maxTransactions    int
	transaction        Limits
	frameTimeout       time.Duration
	shownErrors        func(*Session, error) *subprotocol.Error
}

func defaults() config {
	return config{
		queue:          Limits{1024, 256 << 10},
		window:         Limits{16, 64 << 10},
		maxSessions:    65536,
		maxQueuedBytes: 256 << 20,
		flushWorkers:   runtime.GOMAXPROCS(0),
		slow:           20 * time.Millisecond,
		closeTimeout:   5 * time.Second,
		shutdownSpread: time.Second,
		connectTimeout: 10 * time.Second,
		frameTimeout:   30 * time.Second,
		heartbeat:      subprotocol.Heartbeat{Send: 10 * time.Second, Receive: 10 * time.Second},

		maxSubscriptions: 256,
		maxTransactions:  8,
		transaction:      Limits{256, 256 << 10},
	}
}

// Limits bounds something in messages and in bytes, whichever is reached first.
type Limits struct{ Messages, Bytes int }

// positive panics if n is not.
func positive[N int | int64 | time.Duration](name string, n N) N {
	if n <= 0 {
		panic("handler: " + name + " must be positive")
	}
	return n
}

// WithSubProtocols says which sub-protocols the endpoint speaks. It is
// required. The client's order decides among those that both have; a client
// that asks for none gets the first. Several options add up. NewEndpoint panics if
// two answer to the same name, or if one that is not the first has no names: no
// client could get it.
func WithSubProtocols(s ...subprotocol.SubProtocol) Option {
	return option(func(c *config) { c.subProtocols = append(c.subProtocols, s...) })
}

// WithCodecs says which codecs Session.Codec finds. The default is none, and then
// typed handlers (Func and Do) answer every message that has something to decode or
// to encode with an error. The first one is for messages that name no content type.
// None may be nil. Several options add up.
func WithCodecs(cs ...codec.Codec) Option {
	if slices.Contains(cs, nil) {
		panic("handler: WithCodecs: nil")
	}
	return option(func(c *config) { c.codecs = append(c.codecs, cs...) })
}

// WithMiddleware wraps the handler. The first one is outermost: it sees a message
// first and its error last. Several options add up. Connect and Disconnect pass
// through it as every message does: for a Connect that the chain accepted there is
// one Disconnect. A middleware that refuses a Connect which the next one has
// accepted must pass a Disconnect on itself, and so an Unsubscribe for a Subscribe.
func WithMiddleware(m ...func(Handler) Handler) Option {
	return option(func(c *config) { c.middleware = append(c.middleware, m...) })
}

// WithOutbound wraps what is sent: every message for a client but heartbeats
// passes through, those included that the session makes itself (Connected, Receipt, Error).
// The first one is outermost: it sees a message first. Several options add up.
// Without any, sending costs nothing more.
func WithOutbound(m ...func(Sender) Sender) Option {
	return option(func(c *config) { c.outbound = append(c.outbound, m...) })
}

// WithOrigins allows pages of other origins than the server's own to connect. A
// pattern is a host, with :port unless that is the scheme's default, in the
// syntax of path.Match: "example.com", "*.example.com", "localhost:*". "*"
// alone allows every origin: then any page that a user visits can act as that
// user, wherever a cookie or the network is what identifies them.
//
// By default a request passes if its Origin names the host that it was sent to,
// or if it has no Origin: browsers always send one. Several options add up. A
// malformed pattern, or one with a scheme or a path, panics.
func WithOrigins(patterns ...string) Option {
	lower := make([]string, len(patterns))
	for i, p := range patterns {
		lower[i] = strings.ToLower(p)
		if _, err := path.Match(lower[i], ""); err != nil || strings.Contains(p, "/") {
			panic("handler: WithOrigins: " + p + " is not a pattern of a host without scheme and path")
		}
	}
	return option(func(c *config) { c.origins = append(c.origins, lower...) })
}

// WithAccept has hook decide about each handshake that has passed all other
// checks, before it is answered. It may set the session's user and values. A
// *transport.Refusal is shown to the client as it is; any other error is 403
// without its text, a panic 500.
//
// The default admits all. ctx ends when the client goes away; hook is called on
// many goroutines at once and may wait as long as the transport's handshake
// time allows. Several options add up: the first error decides, and the hooks behind
// it are not asked.
func WithAccept(hook func(ctx context.Context, s *Session, h *transport.Handshake) error) Option {
	return option(func(c *config) {
		if hook != nil {
			c.accept = append(c.accept, hook)
		}
	})
}

// WithoutSubProtocol admits clients that offer only sub-protocols that the
// endpoint does not have: they are answered without one and get the endpoint's
// first. By default they are refused with 400 and a text that names those it
// has. RFC 6455 has clients fail such a connection, so it helps only lenient ones.
func WithoutSubProtocol() Option {
	return option(func(c *config) { c.withoutSubProtocol = true })
}

// WithMaxFrame bounds one frame of a sub-protocol in bytes; a larger one ends
// its session with status 1009. The default is the sub-protocol's own. What a
// transport carries as one message has the transport's limit besides.
func WithMaxFrame(bytes int) Option {
	positive("WithMaxFrame", bytes)
	return option(func(c *config) { c.maxFrame = bytes })
}

// WithFrameTimeout bounds how long a frame of a sub-protocol may be incomplete, where
// frames may be spread over several messages of the transport; then the session is closed
// with 1008. The default is 30 s, 0 means no limit: a client can then hold a part of
// a frame for ever.
func WithFrameTimeout(d time.Duration) Option {
	return option(func(c *config) { c.frameTimeout = max(0, d) })
}

// WithShownErrors has show decide what the client reads of an error, where the
// sub-protocol has errors: err is a handler's, or a *subprotocol.Error of the session or
// the wire format. nil leaves it as it is: a *subprotocol.Error is shown, of any other the client
// learns only that there was one. What the session fills in (Receipt, Subscription) need not
// be said. show is called on the goroutine that handles the message, for many sessions
// at the same time. That malformed bytes end the session it can't change.
func WithShownErrors(show func(s *Session, err error) *subprotocol.Error) Option {
	return option(func(c *config) { c.shownErrors = show })
}

// WithQueue bounds what is queued for one client. The default is 1024 messages
// and 256 KiB. Bytes counts the memory that the queue holds: a message takes its
// length as it is sent, rounded up to 64 bytes or else by at most a half, and 112
// bytes and its key of Conflate; what it shares with other sessions counts in
// each. A message over the limit in bytes is accepted if nothing else is queued.
// Low limits end sessions in bursts that a client could have taken;
// high ones let slow clients hold memory.
func WithQueue(l Limits) Option {
	positive("WithQueue: Messages", l.Messages)
	positive("WithQueue: Bytes", l.Bytes)
	return option(func(c *config) { c.queue = l })
}

// WithOverflow says what happens to a message for which there is no room. The
// default is CloseOnOverflow. All others lose messages of a session that goes
// on, also receipts, replies and errors: choose them where a later message makes up for
// a lost one, and no client waits for an answer.
func WithOverflow(p OverflowPolicy) Option {
	return option(func(c *config) { c.overflow = p })
}

// WithWindow bounds what is read from one client while an earlier message is still
// being handled; when it is full reading stops. The default is 16 messages and
// 64 KiB, which the last message may exceed by its own size. Only slow handlers
// use it; a high limit lets clients hold memory.
func WithWindow(l Limits) Option {
	positive("WithWindow: Messages", l.Messages)
	positive("WithWindow: Bytes", l.Bytes)
	return option(func(c *config) { c.window = l })
}

// WithMaxSessions bounds how many sessions there are at a time, those included
// whose handshake is not answered yet and those whose Disconnect is still being
// handled. More are refused with 503. The default is 65536. Each costs some
// kilobytes, mostly the transport's, and a file descriptor.
func WithMaxSessions(n int) Option {
	positive("WithMaxSessions", n)
	return option(func(c *config) { c.maxSessions = n })
}

// WithMaxQueuedBytes bounds what the queues of all sessions hold together. A
// message over it overflows the session that it is for: see WithOverflow. What
// many sessions have queued in common counts once. The default is 256 MiB.
// Messages that are queued at the same instant may exceed it by their size.
func WithMaxQueuedBytes(n int64) Option {
	positive("WithMaxQueuedBytes", n)
	return option(func(c *config) { c.maxQueuedBytes = n })
}

// WithSessionsPerKey bounds how many sessions there are with the same key; more
// are refused with 429. A key of "" is not counted. It is off by default,
// because what to count by is the application's: the user that WithAccept has
// set, or the client's address. An address is shared by all who are behind one
// proxy. A panic of key refuses the handshake with 500.
func WithSessionsPerKey(n int, key func(s *Session, h *transport.Handshake) string) Option {
	positive("WithSessionsPerKey", n)
	if key == nil {
		panic("handler: WithSessionsPerKey without a key function")
	}
	return option(func(c *config) { c.perKey, c.sessionKey = n, key })
}

// WithFlushWorkers bounds how many goroutines write what is queued. They end
// when there is nothing to write. The default is GOMAXPROCS; as a write never
// waits, more gain nothing.
func WithFlushWorkers(n int) Option {
	positive("WithFlushWorkers", n)
	return option(func(c *config) { c.flushWorkers = n })
}

// WithSlowHandler says after which time a handler is slow: between one and two
// times d after it began, the transport goes on reading on another goroutine. 0
// turns that off: then pings wait for handlers. The default is 20 ms. A short
// time costs processor time while messages are handled, a long one delays the
// answers to pings.
//
// Two messages are not watched: Disconnect where the session makes it, as nothing
// is read any more, and Connect where the sub-protocol has none of its own, as
// nothing is read yet. A handler that is slow with that Connect keeps pings and the
// client's first message waiting.
func WithSlowHandler(d time.Duration) Option {
	return option(func(c *config) { c.slow = d })
}

// WithCloseTimeout bounds how long Session.Close sends what is queued. The default
// is 5 s. The transport's own time for the close handshake comes on top.
func WithCloseTimeout(d time.Duration) Option {
	positive("WithCloseTimeout", d)
	return option(func(c *config) { c.closeTimeout = d })
}

// WithShutdownSpread is over which time Shutdown spreads its closes, so that
// the clients don't all come to the next server at once. The default is 1 s; it
// is never more than half of the time that Shutdown's context leaves. 0 closes
// all at once.
func WithShutdownSpread(d time.Duration) Option {
	return option(func(c *config) { c.shutdownSpread = max(0, d) })
}

// WithHooks says who is told what happens. Several add up: each is told, in the order
// of the options. The default is nobody; Endpoint.Stats counts either way.
func WithHooks(h Hooks) Option {
	return option(func(c *config) { c.hooks = append(c.hooks, h) })
}

// WithConnectTimeout bounds how long a client may take to send its Connect once the
// connection is open, where the sub-protocol has one; then it is closed with
// 1008. The default is 10 s, 0 means no limit: connections that never speak
// then stay.
func WithConnectTimeout(d time.Duration) Option {
	return option(func(c *config) { c.connectTimeout = max(0, d) })
}

// WithHeartbeat says how often the endpoint promises a sign of life and how often it
// wants one, where the sub-protocol has heartbeats; 0 means none. What holds is the
// larger of one side's promise and the other's wish. A client that is silent for twice as
// long as was agreed is closed with 1008; any message of its counts as a sign of
// life once it is whole, and silence while a handler keeps the endpoint from reading is not
// held against it. The default is 10 s both ways; it panics over 24 days, which wire
// formats can't say.
func WithHeartbeat(send, receive time.Duration) Option {
	const most = 24 * 24 * time.Hour
	if send < 0 || receive < 0 || send > most || receive > most {
		panic("handler: WithHeartbeat must not be negative, nor over 24 days")
	}
	return option(func(c *config) { c.heartbeat = subprotocol.Heartbeat{Send: send, Receive: receive} })
}

// WithMaxSubscriptions bounds the subscriptions of one session; one more is refused with
// an Error. The default is 256. Each takes some hundred bytes here and as much in
// whoever publishes.
func WithMaxSubscriptions(n int) Option {
	positive("WithMaxSubscriptions", n)
	return option(func(c *config) { c.maxSubscriptions = n })
}

// WithTransactions bounds what one session may have in transactions that are not
// committed yet: how many are open, and what is kept in all of them together. A
// transaction that finds no room can't be committed any more. The default is 8 open
// ones with 256 messages and 256 KiB.
func WithTransactions(open int, l Limits) Option {
	positive("WithTransactions", open)
	positive("WithTransactions: Messages", l.Messages)
	positive("WithTransactions: Bytes", l.Bytes)
	return option(func(c *config) { c.maxTransactions, c.transaction = open, l })
}
