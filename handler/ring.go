package handler

import (
	"math/bits"
	"sync"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// entry is one queued message: the bytes of buf, followed by those of form.
type entry struct {
	buf  *buffer     // this session's own; nil for none
	form *sharedForm // what it has in common with others; nil for none
	key  string      // for Conflate
	typ  transport.MessageType
	kept bool // Connected: no overflow policy drops it while the session goes on
}

// entryCost is what an entry counts for besides its bytes: its place in a ring,
// of which up to a half is empty, and the buffer's own header.
const entryCost = 112

// size is how many bytes the peer will see.
func (e *entry) size() int {
	n := 0
	if e.buf != nil {
		n = len(e.buf.b)
	}
	if e.form != nil {
		n += len(e.form.shared.Data())
	}
	return n
}

// cost is the memory that e takes for itself.
func (e *entry) cost() int64 {
	cost := entryCost + int64(len(e.key))
	if e.buf != nil {
		cost += int64(cap(e.buf.b))
	}
	return cost
}

// held is the memory that e keeps alive, with what it has in common with others.
// The session's own bound counts it.
func (e *entry) held() int {
	n := int(e.cost())
	if e.form != nil {
		n += len(e.form.shared.Data())
	}
	return n
}

func (e *entry) message() transport.Message {
	var own []byte
	if e.buf != nil {
		own = e.buf.b
	}
	if e.form != nil {
		return e.form.shared.Message(own)
	}
	return transport.Message{Type: e.typ, Data: own}
}

// ring is a queue of entries; its capacity is a power of two.
type ring struct {
	e       []entry
	head, n int
}

const minRing = 8

func (r *ring) at(i int) *entry { return &r.e[(r.head+i)&(len(r.e)-1)] }

func (r *ring) pushFront(e entry) {
	r.head = (r.head - 1) & (len(r.e) - 1)
	r.n++
	*r.at(0) = e
}

func (r *ring) pushBack(e entry) {
	r.n++
	*r.at(r.n - 1) = e
}

func (r *ring) popFront() entry {
	p := r.at(0)
	e := *p
	*p = entry{}
	r.head = (r.head + 1) & (len(r.e) - 1)
	r.n--
	return e
}

// pools is where an endpoint's buffers wait to be used again.
type pools struct {
	scratches sync.Pool                // *scratch
	flights   sync.Pool                // *flight
	rings     [12]sync.Pool            // *ring of minRing<<i entries
	buffers   [bufferClasses]sync.Pool // *buffer of bufferSize(i) bytes
}

func (p *pools) ring(n int) *ring {
	class := 0
	if n > minRing {
		class = bits.Len(uint(n-1)) - bits.Len(uint(minRing-1))
	}
	if class < len(p.rings) {
		if r, ok := p.rings[class].Get().(*ring); ok {
			return r
		}
	}
	return &ring{e: make([]entry, minRing<<class)}
}

// freeRing takes back an empty ring.
func (p *pools) freeRing(r *ring) {
	class := bits.Len(uint(len(r.e))) - bits.Len(uint(minRing))
	if class < len(p.rings) {
		r.head = 0
		p.rings[class].Put(r)
	}
}

// buffer is the bytes of one queued message. Its capacity is that of its class, so
// that a queue of short messages holds little more than their bytes.
type buffer struct {
	b     []byte
	class int
}

// Classes of buffers are 64, 96, 128, 192, 256 bytes and so on to 64 KiB, so that
// at most a third of a buffer of more than 64 bytes is empty. Longer messages get
// buffers of their own length.
const (
	minBuffer     = 64
	bufferClasses = 21
)

func bufferSize(class int) int { return (minBuffer + minBuffer/2*(class&1)) << (class >> 1) }

// bufferClass is the smallest class that has room for n bytes.
func bufferClass(n int) int {
	if n <= minBuffer {
		return 0
	}
	class := 2 * (bits.Len(uint(n-1)) - bits.Len(uint(minBuffer-1)))
	if n <= bufferSize(class-1) {
		class--
	}
	return class
}

// buffer returns a copy of b.
func (p *pools) buffer(b []byte) *buffer {
	class := bufferClass(len(b))
	if class >= len(p.buffers) {
		return &buffer{append([]byte(nil), b...), class}
	}
	buf, ok := p.buffers[class].Get().(*buffer)
	if !ok {
		buf = &buffer{make([]byte, 0, bufferSize(class)), class}
	}
	buf.b = append(buf.b[:0], b...)
	return buf
}

func (p *pools) freeBuffer(b *buffer) {
	if b == nil {
		return
	}
	expire(b.b)
	if b.class < len(p.buffers) {
		p.buffers[b.class].Put(b)
	}
}

// scratch is where one message is encoded. The copy of the message in it lets the
// caller's stay on the caller's stack.
type scratch struct {
	msg   subprotocol.Message
	buf   []byte
	batch [1]transport.Message
}

// maxScratch bounds what an unused scratch keeps.
const maxScratch = 1 << 20

func (p *pools) scratch(m *subprotocol.Message) *scratch {
	sc, ok := p.scratches.Get().(*scratch)
	if !ok {
		sc = new(scratch)
	}
	sc.msg = *m
	return sc
}

func (p *pools) freeScratch(sc *scratch) {
	sc.msg = subprotocol.Message{}
	sc.batch[0] = transport.Message{}
	expire(sc.buf)
	if cap(sc.buf) > maxScratch {
		sc.buf = nil
	}
	sc.buf = sc.buf[:0]
	p.scratches.Put(sc)
}

// flight is what one Write gets.
type flight struct {
	entries  [maxBatch]entry
	messages [maxBatch]transport.Message
}

// maxBatch is how many messages one Write gets at most.
const maxBatch = 64

func (p *pools) flight() *flight {
	f, ok := p.flights.Get().(*flight)
	if !ok {
		f = new(flight)
	}
	return f
}
