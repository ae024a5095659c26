package gobwas

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// sample is text like that of an application: it repeats itself, but not exactly.
func sample(n int) []byte {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `{"id":%d,"user":"user-%d","text":"message number %d of room ü","at":%d},`, i, i*7919%1000, i, 1700000000+i*37)
	}
	return []byte(strings.ToValidUTF8(b.String()[:n], "?"))[:n]
}

func TestCompressedEcho(t *testing.T) {
	t.Parallel()
	for _, z := range []Compression{{}, {Level: 9, Threshold: -1}, {ContextTakeover: true}, {Threshold: -1, ContextTakeover: true, Level: 6}} {
		for _, kind := range []string{"http", "bare", "bare-tls"} {
			t.Run(fmt.Sprintf("%+v/%s", z, kind), func(t *testing.T) {
				t.Parallel()
				tr := New(&Options{MaxMessageSize: 4 << 20, Compression: &z})
				url := serve(t, kind, tr, &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }})
				r := newRecorder()
				c := dial(t, tr, url, r)
				require.NotNil(t, c.(*conn).dec.deflate)
				require.Equal(t, z.ContextTakeover, c.(*conn).dec.windows != nil)
				for _, size := range []int{0, 1, 16, 511, 512, 1000, 1000, 16 << 10, 65500, 65536, 100_000, 1 << 20, 3000, 3 << 20, 5} {
					for _, data := range [][]byte{sample(size), pattern(size)} {
						writeAll(t, c, r, transport.Message{Type: transport.MessageBinary, Head: data[:size/3], Data: data[size/3:]})
						require.Equal(t, data, wait(t, r.got).Data, size)
					}
				}
				require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
				wait(t, r.closed)
			})
		}
	}
}

func writeAll(t testing.TB, c transport.Conn, r *recorder, m transport.Message) {
	t.Helper()
	for {
		n, err := c.Write([]transport.Message{m})
		require.NoError(t, err)
		if n == 1 {
			return
		}
		wait(t, r.writable)
	}
}
