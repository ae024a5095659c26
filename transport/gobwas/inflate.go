package gobwas

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/internal/wire"
)

var (
	errCorrupt = &duplex.Violation{Status: transport.StatusInvalidPayloadData, Text: "compressed message is corrupt"}
	errFinals  = &duplex.Violation{Status: transport.StatusPolicyViolation, Text: "compressed message has too many final blocks"}
	errStopped = errors.New("inflating was stopped")
)

// maxFinals bounds the DEFLATE streams, each ended by a final block, that one message
// may consist of: every one of them costs a copy of the window.
const maxFinals = 256

// inflateTail is what RFC 7692 section 7.2.2 appends to a message, and a final block
// behind it, so that the end of the data is the end of a stream.
var inflateTail = []byte{0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff}

// inflater inflates one message into its parser's msg. The library reads its input
// when it wants to; a message that does not come in one piece is therefore inflated
// on a coroutine, which runs while there is input and stands still in between.
type inflater struct {
	z interface {
		io.WriterTo
		flate.Resetter
	}
	br   *bufio.Reader
	dict []byte // the memory of window, if it has needed any
	d    *parser

	in   []byte
	last bool // the message ends behind in
	tail bool // inflateTail is in

	// The coroutine, if there is one.
	yield  func(struct{}) bool
	resume func() (struct{}, bool)
	stop   func()
	err    error
}

var inflaters = sync.Pool{New: func() any {
	x := new(inflater)
	x.br = bufio.NewReaderSize(x, 1<<10)
	x.z = flate.NewReader(x.br).(interface {
		io.WriterTo
		flate.Resetter
	})
	x.forget()
	return x
}}

// neutral is a final block without content. All that its codes have is the end of the
// block and the largest distance.
var neutral = []byte("\x05\xdd\x81\x00\x00\x00\x00\x00\x90\xff\x6b\x25\x00")

// forget makes all inflaters alike. The library decodes by the table of the last block
// where one declares a code without symbols, and that block may have been another
// connection's.
func (x *inflater) forget() {
	wire.PutPiece(x.dict)
	*x = inflater{z: x.z, br: x.br, in: neutral, tail: true}
	x.br.Reset(x)
	_ = x.z.Reset(x.br, nil) // nil
	_, _ = x.z.WriteTo(io.Discard)
	x.in, x.tail = nil, false
}

// inflate appends to d.msg what p, the next of the compressed message, yields. With
// last the message is complete.
func (d *parser) inflate(p []byte, last bool) error {
	if len(p) == 0 && !last {
		return nil
	}
	if d.inf == nil {
		d.inf = inflaters.Get().(*inflater)
		d.inf.d = d
	}
	err := d.inf.feed(p, last)
	if err != nil || last {
		d.stopInflating()
	}
	if err == nil && last && d.windows != nil {
		d.windows.received.add(d.msg)
	}
	return err
}

// stopInflating gives the inflater back.
func (d *parser) stopInflating() {
	x := d.inf
	if x == nil {
		return
	}
	d.inf = nil
	if x.stop != nil {
		x.stop()
	}
	x.forget()
	inflaters.Put(x)
}

func (x *inflater) feed(p []byte, last bool) error {
	x.in, x.last = p, last
	if x.resume == nil {
		if last {
			return x.run()
		}
		x.resume, x.stop = iter.Pull(func(yield func(struct{}) bool) {
			x.yield = yield
			x.err = x.run()
		})
	}
	x.resume()
	return x.err
}

// run inflates a whole message. A final block does not end it (RFC 7692 section
// 7.2.3.4): the next one begins at the next byte and may refer to what was before.
func (x *inflater) run() error {
	for finals := 0; ; finals++ {
		ended, err := x.ended()
		switch {
		case err != nil || ended:
			return err
		case finals > maxFinals:
			return errFinals
		}
		if err := x.z.Reset(x.br, x.window()); err != nil {
			return err
		}
		if _, err := x.z.WriteTo(x); err != nil {
			if v, ok := errors.AsType[*duplex.Violation](err); ok {
				return v
			}
			return errCorrupt
		}
	}
}

// ended reports whether all of the message is inflated, at the end of a stream.
func (x *inflater) ended() (bool, error) {
	switch _, err := x.br.Peek(1); {
	case errors.Is(err, io.EOF):
		return true, nil
	case err != nil:
		return false, err
	}
	// The tail is only there to complete what is not.
	return x.tail && x.br.Buffered()+len(x.in) == len(inflateTail), nil
}

// window is what the next block may refer to.
func (x *inflater) window() []byte {
	msg, size := x.d.msg, 1<<upgrade.MaxBits
	if x.d.windows == nil || len(x.d.windows.received.b) == 0 || len(msg) >= size {
		return msg[max(0, len(msg)-size):]
	}
	before := x.d.windows.received.b
	if len(msg) == 0 {
		return before
	}
	if x.dict == nil {
		x.dict = wire.GetPiece(size)
	}
	x.dict = append(x.dict[:0], before[max(0, len(before)+len(msg)-size):]...)
	x.dict = append(x.dict, msg...)
	return x.dict
}

// Read gives the library its input.
func (x *inflater) Read(p []byte) (int, error) {
	for len(x.in) == 0 {
		switch {
		case x.tail:
			return 0, io.EOF
		case x.last:
			x.in, x.tail = inflateTail, true
		case !x.yield(struct{}{}):
			return 0, errStopped
		}
	}
	n := copy(p, x.in)
	x.in = x.in[n:]
	return n, nil
}

// Write takes the library's output, as it appears.
func (x *inflater) Write(p []byte) (int, error) {
	d := x.d
	if int64(len(p)) > d.limit-int64(len(d.msg)) {
		return 0, duplex.ErrTooBig
	}
	if d.msgOp == ws.OpText && !d.utf8.Write(p) {
		return 0, duplex.ErrText
	}
	d.msg = appendGrow(d.msg, p, d.limit)
	return len(p), nil
}

// window is the end of what was compressed so far, for a side that takes over its
// context from message to message.
type window struct {
	b    []byte
	size int
}

func (w *window) add(p []byte) {
	p = p[max(0, len(p)-w.size):]
	if need := len(w.b) + len(p); need > cap(w.b) && cap(w.b) < w.size {
		w.b = append(make([]byte, 0, min(w.size, max(need, 2*cap(w.b)))), w.b...)
	}
	if over := len(w.b) + len(p) - w.size; over > 0 {
		w.b = w.b[:copy(w.b, w.b[over:])]
	}
	w.b = append(w.b, p...)
}
