package pipe

import (
	"math/bits"
	"sync"

	"github.com/weftws/weft/transport"
)

// overhead is what a message counts in a queue besides its length, so that empty
// messages are bounded too.
const overhead = 16

// kind says what an item of a queue is.
type kind uint8

const (
	kindMessage kind = iota
	kindBad          // a message that breaks a rule: code and err say which
	kindPing
	kindClose // the peer's close frame
	kindLost  // nothing comes any more
)

// An item is one thing on its way to a receiver. It belongs to one goroutine or to
// one queue at a time.
type item struct {
	next *item
	kind kind
	typ  transport.MessageType
	cost int
	data []byte // of a message

	// Of control items only; they are never pooled.
	code   transport.StatusCode
	reason string
	err    error
	ping   *ping
}

// A queue is a list of items and the room that they take. The zero value is empty.
type queue struct {
	head, tail *item
	cost       int
}

func (q *queue) push(it *item) {
	if q.tail == nil {
		q.head = it
	} else {
		q.tail.next = it
	}
	q.tail = it
	q.cost += it.cost
}

func (q *queue) pop() *item {
	it := q.head
	q.head = it.next
	if q.head == nil {
		q.tail = nil
	}
	it.next = nil
	q.cost -= it.cost
	return it
}

// join moves all of r behind q.
func (q *queue) join(r *queue) {
	if r.head == nil {
		return
	}
	if q.tail == nil {
		q.head = r.head
	} else {
		q.tail.next = r.head
	}
	q.tail = r.tail
	q.cost += r.cost
	*r = queue{}
}

// dropPing takes out the item of p, if it is there: pings that nobody waits for
// must not pile up before a peer that does not read.
func (q *queue) dropPing(p *ping) {
	var last *item
	for it := q.head; it != nil; last, it = it, it.next {
		if it.ping != p {
			continue
		}
		if last == nil {
			q.head = it.next
		} else {
			last.next = it.next
		}
		if q.tail == it {
			q.tail = last
		}
		return
	}
}

// The buffers of items come in powers of two, so that a small message never holds a
// large buffer: what a queue holds is bounded by twice what it counts.
const (
	minClass = 6  // 64 bytes
	maxClass = 20 // 1 MiB; larger buffers are left to the garbage collector
)

// buffers are items with buffers that wait for use.
type buffers struct {
	classes [maxClass - minClass + 1]sync.Pool
}

func class(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), minClass)
}

// get returns a message item whose data has room for n bytes.
func (b *buffers) get(n int) *item {
	c := class(n)
	if c > maxClass {
		return &item{data: make([]byte, 0, n)}
	}
	if it, ok := b.classes[c-minClass].Get().(*item); ok {
		return it
	}
	return &item{data: make([]byte, 0, 1<<c)}
}

// put ends the life of an item.
func (b *buffers) put(it *item) {
	if it.kind != kindMessage {
		return
	}
	whole := it.data[:cap(it.data)]
	expire(whole)
	if c := class(cap(it.data)); c <= maxClass && cap(it.data) == 1<<c {
		*it = item{data: whole[:0]}
		b.classes[c-minClass].Put(it)
	}
}

// drop ends the life of all items of q.
func (b *buffers) drop(q *queue) {
	for q.head != nil {
		b.put(q.pop())
	}
}
