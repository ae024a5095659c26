package gorilla

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuardPartial(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{true, false} {
		var g guard
		for _, f := range []struct {
			b    []byte
			open bool // behind it
		}{
			{frame(fin|opText, nil, masked), false},
			{frame(fin|opPing, nil, masked), false},
			{frame(fin|opText, pattern(300), masked), false},
			{frame(opText, nil, masked), true},
			{frame(fin|opPing, pattern(5), masked), true},
			{frame(opCont, pattern(70_000), masked), true},
			{frame(fin|opCont, nil, masked), false},
		} {
			for i, b := range f.b {
				n, err := g.feed([]byte{b})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.Equal(t, i < len(f.b)-1 || f.open, g.partial())
			}
			require.Equal(t, !f.open, g.ended)
			g.ended = false
		}
	}
}

// FuzzGuard: however its input is cut, the guard passes the same bytes, and what it
// says in the end is the same.
func FuzzGuard(f *testing.F) {
	for _, masked := range []bool{true, false} {
		f.Add(append(frame(opText, pattern(200), masked), frame(fin|opCont, nil, masked)...), 3, true)
		f.Add(append(frame(fin|opPing, pattern(3), masked), frame(fin|opClose, []byte("\x03\xe8bye"), masked)...), 1, false)
		f.Add(announce(fin|opBin, 1<<63, masked, 8), 2, false)
		f.Add(announce(fin|opBin, 12, masked, 2), 2, false)
		f.Add(frame(fin|rsv1|opPing, nil, masked), 1, true)
		f.Add(frame(fin|opClose, []byte{3}, masked), 1, true)
	}
	f.Fuzz(func(t *testing.T, p []byte, chop int, deflate bool) {
		chop = max(chop, 1)
		whole, cut := guard{deflate: deflate}, guard{deflate: deflate}
		want, wantErr := whole.feed(p)
		got := 0
		var err error
		for got < len(p) && err == nil {
			var n int
			n, err = cut.feed(p[got:min(got+chop, len(p))])
			got += n
		}
		require.Equal(t, want, got)
		require.Equal(t, wantErr, err)
		require.Equal(t, whole, cut)
		require.LessOrEqual(t, len(whole.body), 125)
		if err == nil {
			require.Equal(t, len(p), got)
		}
	})
}
