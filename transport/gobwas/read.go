package gobwas

import (
	"errors"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/wire"
)

// ReadOn implements duplex.Engine.
func (c *conn) ReadOn() {
	c.In.Fork()
	c.dec.detach()
	go c.read()
}

// read is the goroutine of a connection: it parses and delivers until the
// connection ends, or until a Yield has started another one.
func (c *conn) read() {
	another := true // a message that is complete came since Fill
	for {
		for p := c.In.Bytes(); len(p) > 0; {
			ev, n, err := c.dec.next(p)
			c.In.Consume(n)
			if err != nil {
				c.violated(err)
				return
			}
			p = p[n:]
			if ev.op != ws.OpContinuation && c.dec.msgOp == 0 {
				another = true
			}
			switch ev.op {
			case ws.OpContinuation:
				p = nil // nothing that is complete
			case ws.OpText, ws.OpBinary:
				typ := transport.MessageBinary
				if ev.op == ws.OpText {
					typ = transport.MessageText
				}
				reading := c.Deliver(typ, ev.data)
				wire.Scribble(ev.data)
				if !reading {
					return
				}
				c.dec.release()
			case ws.OpPing:
				c.GotPing(ev.data)
			case ws.OpPong:
				c.GotPong(ev.data)
			case ws.OpClose:
				ce, err := parseClose(ev.data)
				if err != nil {
					c.violated(err)
					return
				}
				c.dec.drop()
				c.Closed(ce)
				return
			}
		}
		if err := c.Fill(c.dec.partial(c.In.Len()), another); err != nil {
			c.dec.drop()
			c.Lost(err)
			return
		}
		another = false
	}
}

// violated ends the connection after the peer broke a rule.
func (c *conn) violated(err error) {
	c.dec.drop()
	v, ok := errors.AsType[*duplex.Violation](err)
	if !ok {
		v = &duplex.Violation{Status: transport.StatusProtocolError, Text: err.Error()}
	}
	c.Violated(v)
}
