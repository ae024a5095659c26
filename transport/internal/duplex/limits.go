package duplex

import (
	"math"
	"time"
)

// Limits are the settings that the engines have in common, of which a Conn uses the name
// and those about writing and closing. What they mean stands at the fields of each
// engine's Options.
type Limits struct {
	Name string // of the transport

	MaxMessageSize   int
	HandshakeTimeout time.Duration
	MaxHeaderBytes   int
	MessageTimeout   time.Duration
	WriteTimeout     time.Duration
	CloseTimeout     time.Duration
	PingInterval     time.Duration
	PongTimeout      time.Duration
	NotSentLowat     int

	maxDialed int // what MaxMessageSize is on connections that were dialed
}

// maxDialed is so much more than what a server takes that no encoding of a message of one
// client, with what is added for another one, is over it.
const maxDialed = 1 << 20

// MaxMessage returns MaxMessageSize for one end of a connection.
func (l *Limits) MaxMessage(client bool) int {
	if client {
		return l.maxDialed
	}
	return l.MaxMessageSize
}

// WithDefaults returns l with its defaults: for fields that are 0, and for negative ones
// where there is no way to have none.
func (l Limits) WithDefaults() Limits {
	l.maxDialed = l.MaxMessageSize
	Default(&l.maxDialed, maxDialed, math.MaxInt)
	Default(&l.MaxMessageSize, 64<<10, math.MaxInt)
	Default(&l.HandshakeTimeout, 10*time.Second, 10*time.Second)
	Default(&l.MaxHeaderBytes, 8<<10, 8<<10)
	Default(&l.MessageTimeout, 30*time.Second, 0)
	Default(&l.WriteTimeout, 10*time.Second, 0)
	Default(&l.CloseTimeout, 5*time.Second, 5*time.Second)
	Default(&l.PingInterval, 25*time.Second, 0)
	Default(&l.PongTimeout, 10*time.Second, 10*time.Second)
	Default(&l.NotSentLowat, 16<<10, 0)
	return l
}

// Default sets a field that is 0 to its default, and one that is negative to off.
func Default[T int | time.Duration](field *T, standard, off T) {
	switch {
	case *field == 0:
		*field = standard
	case *field < 0:
		*field = off
	}
}
