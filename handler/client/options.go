package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
)

// The defaults of Options.
const (
	DefaultConnectTimeout = 15 * time.Second
	DefaultCloseTimeout   = 5 * time.Second
	DefaultHeartbeat      = 10 * time.Second
	DefaultQueueMessages  = 1024
	DefaultQueueBytes     = 1 << 20
	DefaultBufferMessages = 64
	DefaultBufferBytes    = 256 << 10
	DefaultFirstDelay     = 500 * time.Millisecond
	DefaultMaxDelay       = 30 * time.Second
	DefaultJitter         = 0.5
)

// overrun is how many times its buffer a subscription may hold while somebody waits
// for an answer, which may stand behind its messages.
const overrun = 16

// Options are the settings of a Client. The zero value of a field stands for its
// default; a negative one panics when the Client is made, where it has no meaning.
type Options struct {
	// Header is sent with the request that opens the connection, where the transport
	// has one.
	Header http.Header

	// TLS is for URLs that ask for TLS; nil means the defaults.
	TLS *tls.Config

	// Connect, if not nil, is called before every attempt, with a copy of Header and
	// with the Connect that will be sent, where the sub-protocol has one. It adds what
	// may change from one attempt to the next: credentials, a host. An error fails the
	// attempt. ctx is the attempt's.
	Connect func(ctx context.Context, header http.Header, m *subprotocol.Message) error

	// ConnectTimeout bounds an attempt, from Connect to Connected. The default is 15 s.
	ConnectTimeout time.Duration

	// CloseTimeout bounds how long Close waits for the server to take what is queued
	// and to answer. The default is 5 s. The transport's own time for the close
	// handshake comes on top.
	CloseTimeout time.Duration

	// Heartbeat says how often the client promises a sign of life and how often it
	// wants one, where the sub-protocol has heartbeats. The default is 10 s both ways; a
	// negative duration means none: then a server that vanishes is not noticed before
	// the network does. What holds is the larger of one side's promise and the
	// other's wish. A server that is silent for three times as long is lost.
	Heartbeat subprotocol.Heartbeat

	// Reconnect says what follows when a connection ends.
	Reconnect Reconnect

	// QueueMessages and QueueBytes bound what waits to be sent: while there is no
	// connection, or the server reads too slowly. The defaults are 1024 and 1 MiB. A
	// message that is larger is accepted when nothing else is queued.
	QueueMessages, QueueBytes int

	// BufferMessages and BufferBytes bound what a subscription holds that nobody has
	// taken: then the client reads no further. The defaults are 64 and 256 KiB; what
	// one message of the transport brings may exceed them. While a call waits for its
	// answer they are 16 times as large, so that the answer is not kept from it.
	BufferMessages, BufferBytes int

	// MaxFrame bounds one frame that the server sends, in bytes; 0 means the
	// sub-protocol's default, a negative value that the transport's bound is enough.
	// A delivery is larger than what another client has sent: with the bound that the server
	// has for that, or with such a one of the transport, others could end this client.
	MaxFrame int

	// Codecs are for Encode and Decode, chosen by content type; the first where a
	// message names none.
	Codecs []codec.Codec

	Hooks Hooks
}

// Reconnect says how a client comes back. The zero value does so for ever, with the
// default delays.
type Reconnect struct {
	// Disabled: the client is closed when its connection ends.
	Disabled bool

	// First says that the first attempt is repeated too. Without it Connect fails
	// when that does, so that a wrong address shows at once.
	First bool

	// FirstDelay is waited before the first attempt after a loss; each failure
	// doubles it up to MaxDelay. The defaults are 500 ms and 30 s. A connection that
	// has lasted for MaxDelay begins with FirstDelay again.
	FirstDelay, MaxDelay time.Duration

	// Jitter is the part of a delay that is random, so that the clients of a server
	// that restarts don't all come at once: up to 1. The default is 0.5, a negative
	// value means none.
	Jitter float64

	// MaxAttempts is how many attempts may fail in a row before the client is closed;
	// 0 means no limit.
	MaxAttempts int

	// Retry, if not nil, decides whether an error, of an attempt or of a connection, is
	// worth another attempt. nil means Retryable.
	Retry func(err error) bool
}

// Hooks say who is told what happens. Each may be nil.
type Hooks struct {
	// State is told of every change, one at a time and in order, on a goroutine of
	// its own: it may call and wait for what it likes. If it is slow, all but the 16
	// latest changes are left out.
	State func(StateChange)

	// Error is told what no call, subscription or change of state has learnt: an Error
	// of the server that names none, bytes that make no sense and do no harm, a
	// queued message that can't be encoded. It runs where the connection is read or written: it must not wait.
	Error func(err error)

	// Unclaimed gets what comes for no subscription or call there is. It runs where
	// the connection is read: it must not wait. m is valid until it returns.
	Unclaimed func(m *subprotocol.Message)
}

// SubscribeOptions say more about a subscription. The zero value is the default.
type SubscribeOptions struct {
	// AckMode says how its deliveries are to be acknowledged. The default is not at
	// all.
	AckMode subprotocol.AckMode

	// Header is sent with every Subscribe.
	Header subprotocol.Header

	// ID is the name of the subscription, which the client has no other of. The
	// default is one that the client makes.
	ID string

	// BufferMessages and BufferBytes replace those of Options; 0 leaves them.
	BufferMessages, BufferBytes int
}

// withDefaults returns a copy of o in which every field has a value.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Header = c.Header.Clone()
	c.TLS = c.TLS.Clone()
	c.Codecs = slices.Clone(c.Codecs)
	r := &c.Reconnect
	c.ConnectTimeout = positive("ConnectTimeout", c.ConnectTimeout, DefaultConnectTimeout)
	c.CloseTimeout = positive("CloseTimeout", c.CloseTimeout, DefaultCloseTimeout)
	c.QueueMessages = positive("QueueMessages", c.QueueMessages, DefaultQueueMessages)
	c.QueueBytes = positive("QueueBytes", c.QueueBytes, DefaultQueueBytes)
	c.BufferMessages = positive("BufferMessages", c.BufferMessages, DefaultBufferMessages)
	c.BufferBytes = positive("BufferBytes", c.BufferBytes, DefaultBufferBytes)
	r.FirstDelay = positive("Reconnect.FirstDelay", r.FirstDelay, DefaultFirstDelay)
	r.MaxDelay = max(r.FirstDelay, positive("Reconnect.MaxDelay", r.MaxDelay, DefaultMaxDelay))
	r.MaxAttempts = positive("Reconnect.MaxAttempts", r.MaxAttempts, 0)
	for _, d := range []*time.Duration{&c.Heartbeat.Send, &c.Heartbeat.Receive} {
		if *d == 0 {
			*d = DefaultHeartbeat
		}
		*d = max(*d, 0)
	}
	switch {
	case r.Jitter > 1:
		panic("client: Options.Reconnect.Jitter is over 1")
	case r.Jitter == 0:
		r.Jitter = DefaultJitter
	}
	r.Jitter = max(r.Jitter, 0)
	return c
}

func positive[T int | time.Duration](name string, v, byDefault T) T {
	switch {
	case v < 0:
		panic(fmt.Sprintf("client: Options.%s is negative", name))
	case v == 0:
		return byDefault
	default:
		return v
	}
}
