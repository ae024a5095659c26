package wire

import "sync"

// BufferSize is how much is read at once: a message of 16 KiB and what comes with
// it cost one read.
const BufferSize = 32 << 10

type block [BufferSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// maxStash is how many unread bytes are kept aside rather than in a whole block
// while a connection waits: a frame header and a control frame.
const maxStash = 512

// Buffer is what was read and not yet consumed. It takes a block from the pool
// when bytes come and gives it back when none are left. It belongs to one
// goroutine at a time.
type Buffer struct {
	blk   *block
	r, w  int
	stash []byte // what is unread, while there is no block

	// More says that what was consumed is not complete: the next Read may wait with
	// a block in its hands, where it could not wait without one and read much.
	More bool
}

// Bytes returns what is unread. It is valid until Consume has taken it and the
// next Read, Park or Release.
func (b *Buffer) Bytes() []byte {
	if b.blk == nil {
		return b.stash
	}
	return b.blk[b.r:b.w]
}

// Len is the number of unread bytes.
func (b *Buffer) Len() int { return len(b.Bytes()) }

// Consume drops the first n unread bytes.
func (b *Buffer) Consume(n int) {
	if b.blk == nil {
		b.stash = b.stash[n:]
		return
	}
	b.r += n
}

// Preload sets what is unread to a copy of p, for bytes that came before the
// Stream was made.
func (b *Buffer) Preload(p []byte) {
	if len(p) > 0 {
		b.stash = append([]byte(nil), p...)
	}
}

// Park gives the block back if what is unread is small. Slices of it are invalid
// afterwards.
func (b *Buffer) Park() {
	if b.blk == nil || b.w-b.r > maxStash {
		return
	}
	if b.r < b.w {
		b.stash = append([]byte(nil), b.blk[b.r:b.w]...)
	}
	b.free()
}

// Release drops what is unread and gives the block back.
func (b *Buffer) Release() {
	b.stash = nil
	if b.blk != nil {
		b.free()
	}
}

// Fork moves what is unread into a new Buffer and leaves the block to whoever
// still reads from it; the garbage collector takes it.
func (b *Buffer) Fork() {
	if b.blk == nil {
		return
	}
	old := b.blk[b.r:b.w]
	b.blk, b.r, b.w, b.stash = nil, 0, 0, nil
	if len(old) > 0 {
		b.stash = append([]byte(nil), old...)
	}
}

func (b *Buffer) free() {
	Scribble(b.blk[:b.w])
	blocks.Put(b.blk)
	b.blk, b.r, b.w = nil, 0, 0
}

// room returns the free space behind what is unread; there is at least one byte,
// since whoever parses takes all but a small rest.
func (b *Buffer) room() []byte {
	if b.blk == nil {
		b.blk, b.r = blocks.Get().(*block), 0
		b.w = copy(b.blk[:], b.stash)
		b.stash = nil
	} else if b.r > 0 {
		b.w = copy(b.blk[:], b.blk[b.r:b.w])
		b.r = 0
	}
	return b.blk[b.w:]
}

func (b *Buffer) append(p []byte) { b.w += copy(b.room(), p) }
