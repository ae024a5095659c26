package wire

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

// GetPiece returns an empty slice with room for n bytes.
func GetPiece(n int) []byte {
	c := pieceClass(n)
	if c >= len(pieces) {
		return make([]byte, 0, n)
	}
	if p, ok := pieces[c].Get().(*[]byte); ok {
		b := *p
		*p = nil
		pieceHeaders.Put(p)
		return b
	}
	return make([]byte, 0, minPiece<<c)
}

// PutPiece takes b back, which must not be used any more. nil does nothing.
func PutPiece(b []byte) {
	Scribble(b)
	n := cap(b)
	if n < minPiece || n > maxPiece || n&(n-1) != 0 {
		return
	}
	p := pieceHeaders.Get().(*[]byte)
	*p = b[:0]
	pieces[pieceClass(n)].Put(p)
}

// pieceHeaders has what the pools' pointers point to, so that neither get nor put
// allocates.
var pieceHeaders = sync.Pool{New: func() any { return new([]byte) }}
