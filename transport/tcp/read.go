package tcp

import (
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// ReadOn implements duplex.Engine.
func (c *conn) ReadOn() {
	c.In.Fork()
	go c.read()
}

// read is the goroutine of a connection: it delivers until the connection ends, or
// until a Yield has started another one.
func (c *conn) read() {
	for {
		if c.In.Len() == 0 {
			if err := c.fill(); err != nil {
				c.Lost(err)
				return
			}
		}
		chunk := c.In.Bytes()
		c.In.Consume(len(chunk))
		reading := c.Deliver(transport.MessageBinary, chunk)
		wire.Scribble(chunk)
		if !reading {
			return
		}
	}
}

// fill reads what has come, and waits for its first byte.
func (c *conn) fill() error {
	err := c.Stream.Read(&c.In)
	if err != nil || !c.records {
		return err
	}
	// The byte was waited for without a buffer; the rest of its record is there. An
	// error comes again.
	nc := c.Stream.Conn()
	_ = nc.SetReadDeadline(wire.Past)
	_ = c.Stream.Read(&c.In)
	_ = nc.SetReadDeadline(time.Time{})
	return nil
}
