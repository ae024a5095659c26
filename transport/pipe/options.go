package pipe

import (
	"math"
	"strconv"
	"time"
)

// The defaults of Options.
const (
	DefaultBuffer         = 64 << 10
	DefaultMaxMessageSize = 64 << 10
	DefaultCloseTimeout   = 5 * time.Second
)

// Options are the settings of a Transport. The zero value of a field stands for
// its default; a negative Buffer or CloseTimeout panics when the Transport is made.
type Options struct {
	// Buffer is how many bytes one direction of a connection holds that the peer
	// has not received yet. Every message counts 16 bytes more than its length. A
	// message that is larger than the buffer is taken when the buffer is empty.
	// The default is 64 KiB. A large buffer hides a peer that does not read.
	Buffer int

	// MaxMessageSize is the largest message that an end receives, in bytes. A
	// larger one ends the connection with status 1009. The default is 64 KiB,
	// negative means no limit: a single message can then claim all memory.
	MaxMessageSize int

	// CloseTimeout is how long the side that closes waits for its peer to take
	// what was written and the close frame. The default is 5 seconds.
	CloseTimeout time.Duration
}

// withDefaults returns a copy of o in which every field has a value.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Buffer = positive("Buffer", c.Buffer, DefaultBuffer)
	switch {
	case c.MaxMessageSize == 0:
		c.MaxMessageSize = DefaultMaxMessageSize
	case c.MaxMessageSize < 0:
		c.MaxMessageSize = math.MaxInt
	}
	c.CloseTimeout = positive("CloseTimeout", c.CloseTimeout, DefaultCloseTimeout)
	return c
}

func positive[T int | time.Duration](name string, v, byDefault T) T {
	switch {
	case v < 0:
		panic("pipe: Options." + name + " is negative: " + strconv.FormatInt(int64(v), 10))
	case v == 0:
		return byDefault
	default:
		return v
	}
}
