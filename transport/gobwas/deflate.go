package gobwas

import (
	"errors"
	"fmt"
	"sync"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/internal/wire"
)

// Compression turns permessage-deflate (RFC 7692) on; see the package's documentation
// for what is negotiated and what it costs.
type Compression struct {
	// Level is that of compress/flate: from 1, the fastest, to 9, the smallest, -1
	// for a middle one, -2 for Huffman coding alone. The default is 1. It does not
	// count where the peer asks for a window under 32 KiB: there is one level for
	// those.
	Level int

	// Threshold is the size in bytes from which on messages are compressed. The
	// default is 512: below, the gain is hardly worth the work. Negative means all. A
	// message that compression does not make smaller is sent as it is.
	Threshold int

	// ContextTakeover lets both sides refer to earlier messages, where the
	// peer agrees: similar small messages shrink much more. Each connection then keeps up to 32 KiB of what
	// came and 8 KiB of what went, is sent its own compressed copy of every message
	// of a publication, and each message costs another reading of those 8 KiB and
	// a system call of its own. The default is false: nothing is kept between messages.
	ContextTakeover bool
}

const (
	defaultLevel     = 1
	defaultThreshold = 512

	// sentWindow is how far back our own compression refers with context takeover: most of
	// what similar messages have in common, and little to keep and to read again.
	sentWindow = 8 << 10
)

func (c *Compression) withDefaults() *Compression {
	if c == nil {
		return nil
	}
	d := *c
	duplex.Default(&d.Threshold, defaultThreshold, 0)
	if d.Level == 0 {
		d.Level = defaultLevel
	}
	if d.Level < flate.HuffmanOnly || d.Level > flate.BestCompression {
		panic(fmt.Sprintf("gobwas: Compression.Level is %d, want %d to %d", d.Level, flate.HuffmanOnly, flate.BestCompression))
	}
	return &d
}

// agreement is what both sides of a connection keep to. It does not change.
type agreement struct {
	kind       deflaterKind
	form       any // the kind of what connections share, as a key
	threshold  int
	keepsSent  bool // our context is taken over
	keepsRead  bool // the peer's is
	readWindow int
}

func newAgreement(c *Compression, bits int, keepsSent, keepsRead bool) *agreement {
	kind := deflaterKind(c.Level)
	if bits >= upgrade.MinBits && bits < upgrade.MaxBits {
		kind = deflaterKind(smallWindows + bits)
	}
	// What is shared has few forms (see transport.Shared): one fits all small windows, so
	// that peers who ask for many sizes don't cost the others theirs.
	form := min(kind, smallWindows+upgrade.MinBits)
	return &agreement{kind, form, c.Threshold, keepsSent, keepsRead, 1 << upgrade.MaxBits}
}

// windows are what context takeover keeps for a connection.
type windows struct {
	received window // the reader's
	sent     window // Write's
	deflated bool   // Write's: the message under way joins sent when it is taken
}

// agree lets the connection use compression.
func (c *conn) agree(a *agreement) {
	if a == nil {
		return
	}
	c.dec.deflate = a
	if a.keepsSent || a.keepsRead {
		c.dec.windows = &windows{}
	}
	if a.keepsRead {
		c.dec.windows.received.size = a.readWindow
	}
	if a.keepsSent {
		c.dec.windows.sent.size = min(sentWindow, a.kind.window())
	}
}

// deflaterKind is a level, or smallWindows and the bits of a window. As a key it
// stands for the compressed form that connections share.
type deflaterKind int

const smallWindows = 10

func (k deflaterKind) window() int {
	if k < smallWindows {
		return 1 << upgrade.MaxBits
	}
	return 1 << (k - smallWindows)
}

// deflater compresses one message at a time. There is a pool for each kind, since a
// deflater has 0.8 to 1.4 MiB: about as many live as run at once.
type deflater struct {
	z    *flate.Writer
	out  []byte
	most int
}

var deflaters [smallWindows + upgrade.MaxBits - flate.HuffmanOnly]sync.Pool

func (k deflaterKind) pool() *sync.Pool { return &deflaters[k-flate.HuffmanOnly] }

func (k deflaterKind) get() *deflater {
	if d, ok := k.pool().Get().(*deflater); ok {
		return d
	}
	d := new(deflater)
	var err error
	if k < smallWindows {
		d.z, err = flate.NewWriter(d, int(k))
	} else {
		d.z, err = flate.NewWriterWindow(d, k.window())
	}
	if err != nil {
		panic("gobwas: " + err.Error()) // the levels and windows were checked
	}
	return d
}

var errNotSmaller = errors.New("message does not get smaller")

func (d *deflater) Write(p []byte) (int, error) {
	if len(d.out)+len(p) > d.most {
		return 0, errNotSmaller
	}
	d.out = appendGrow(d.out, p, int64(d.most))
	return len(p), nil
}

// flushTail is how many bytes a flush appends that are not sent: 00 00 ff ff.
const flushTail = 4

// deflate returns head and data as one compressed message (RFC 7692 section 7.2.1) in a
// piece, or nil if that is not smaller. What it refers to in before is not in it.
func (k deflaterKind) deflate(head, data, before []byte) []byte {
	d := k.get()
	d.most = len(head) + len(data) + flushTail - 1
	if before != nil {
		d.z.ResetDict(d, before)
	} else {
		d.z.Reset(d)
	}
	_, err := d.z.Write(head)
	if err == nil {
		_, err = d.z.Write(data)
	}
	if err == nil {
		err = d.z.Flush()
	}
	out := d.out
	d.out = nil
	if before != nil {
		d.z.ResetDict(d, nil) // before is the connection's
	}
	k.pool().Put(d)
	if err != nil {
		wire.PutPiece(out)
		return nil
	}
	return out[:len(out)-flushTail]
}

// keepsSent reports whether what is sent refers to what was sent before.
func (c *conn) keepsSent() bool { return c.dec.deflate != nil && c.dec.deflate.keepsSent }

// pack returns m compressed, in a piece, or nil if it goes as it is.
func (c *conn) pack(m *transport.Message) []byte {
	a := c.dec.deflate
	switch {
	case a == nil || m.Len() < a.threshold || m.Len() == 0:
		return nil
	case a.keepsSent:
		w := c.dec.windows
		packed := a.kind.deflate(m.Head, m.Data, w.sent.b)
		w.deflated = packed != nil
		return packed
	case c.shares(m):
		return nil // packedForm has tried
	default:
		return a.kind.deflate(m.Head, m.Data, nil)
	}
}

// shares reports whether m has the same form on all connections of a server.
func (c *conn) shares(m *transport.Message) bool {
	return m.Shared != nil && len(m.Head) == 0 && !c.Client
}

// packLarge returns what either packedForm or pack do for a message that has no
// room in a block. It lets go of the lock meanwhile, as Between does.
func (c *conn) packLarge(m *transport.Message) (form, packed []byte) {
	c.LetGo()
	if c.shares(m) {
		form = c.packedForm(m)
	}
	if form == nil {
		packed = c.pack(m)
	}
	c.TakeBack()
	return form, packed
}

// taken notes which messages will be sent, for those that refer to them.
func (w *windows) taken(batch []transport.Message) {
	if w.deflated && len(batch) > 0 {
		w.sent.add(batch[0].Head)
		w.sent.add(batch[0].Data)
	}
	w.deflated = false
}

// packedForm returns the compressed frame of a message that shares, nil if there is
// none.
func (c *conn) packedForm(m *transport.Message) []byte {
	a := c.dec.deflate
	if a.keepsSent || len(m.Data) < a.threshold || len(m.Data) == 0 {
		return nil
	}
	form, _ := m.Shared.Form(a.form, encodePacked).([]byte)
	return form
}

func encodePacked(key any, t transport.MessageType, data []byte) any {
	packed := key.(deflaterKind).deflate(nil, data, nil)
	if packed == nil {
		return nil
	}
	defer wire.PutPiece(packed)
	frame := appendFrameHeader(make([]byte, 0, ws.MaxHeaderSize+len(packed)), opCode(t)|rsv1, len(packed), false)
	return append(frame, packed...)
}
