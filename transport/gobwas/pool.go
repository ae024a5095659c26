package gobwas

import (
	"math/bits"
	"sync"
)

// Pieces are the buffers of messages that come or go in parts: powers of two from
// minPiece to maxPiece. A larger one is the garbage collector's, so that one large
// message does not pin its memory.
const (
	minPiece = 4 << 10
	maxPiece = 256 << 10
)

var pieces [7]sync.Pool // 4, 8, 16, 32, 64, 128, 256 KiB

func pieceClass(n int) int { return bits.Len(uint(max(n, minPiece)-1)) - 12 }

// getPiece returns an empty slice with room for n bytes.
func getPiece(n int) []byte {
	c := pieceClass(n)
	if c >= len(pieces) {
		return make([]byte, 0, n)
	}
	if p, ok := pieces[c].Get().(*[]byte); ok {
		b := *p
		putHeader(p)
		return b
	}
	return make([]byte, 0, minPiece<<c)
}

// putPiece takes b back, which must not be used any more.
func putPiece(b []byte) {
	n := cap(b)
	if n < minPiece || n > maxPiece || n&(n-1) != 0 {
		return
	}
	b = b[:0]
	scribble(b[:n])
	p := getHeader()
	*p = b
	pieces[pieceClass(n)].Put(p)
}

// A pool holds pointers; those to slices are kept apart, so that neither get nor
// put allocates.
var headers = sync.Pool{New: func() any { return new([]byte) }}

func getHeader() *[]byte { return headers.Get().(*[]byte) }

func putHeader(p *[]byte) {
	*p = nil
	headers.Put(p)
}
