package wire

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestPieces(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, minPiece, minPiece + 1, 100_000, maxPiece, maxPiece + 1, 1 << 20} {
		b := GetPiece(n)
		require.Empty(t, b)
		require.GreaterOrEqual(t, cap(b), n)
		require.LessOrEqual(t, cap(b), max(2*n, minPiece))
		PutPiece(b[:n])
	}
	PutPiece(nil)
	PutPiece(make([]byte, 10, 5000)) // no piece: it does not enter a pool
	require.Equal(t, 8<<10, cap(GetPiece(5000)))
}

// FuzzUTF8: text in parts is valid exactly if it is as a whole, and is refused at the
// first byte that nothing could mend.
func FuzzUTF8(f *testing.F) {
	for _, s := range []string{"", "añ€😀", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "ok\xff", "\xf0\x9f\x98(", "\x80"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 2)
	}
	f.Fuzz(func(t *testing.T, p []byte, chop int) {
		var u UTF8
		ok := true
		for rest := p; len(rest) > 0 && ok; {
			n := min(max(chop, 1), len(rest))
			ok = u.Write(rest[:n])
			rest = rest[n:]
			require.Equal(t, mendable(p[:len(p)-len(rest)]), ok)
		}
		require.Equal(t, utf8.Valid(p), ok && u.Complete())
	})
}

// mendable reports whether something could follow p and make it valid.
func mendable(p []byte) bool {
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			return true
		}
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return false
		}
		p = p[n:]
	}
	return true
}
