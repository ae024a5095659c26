package gobwas

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// inflateAll gives the parser one compressed message in frames and pieces of any size and
// returns what it says.
func inflateAll(t *testing.T, payload []byte, op byte, limit int64, piece func() int) (data []byte, err error) {
	d := parser{limit: limit, state: ws.StateServerSide, deflate: newAgreement(&Compression{}, 0, false, false)}
	defer func() {
		require.LessOrEqual(t, int64(len(d.msg)), limit)
		require.Nil(t, d.inf, "the inflater is given back")
		d.drop()
	}()
	first := packedBit | op
	for {
		n := min(max(piece(), 1), len(payload))
		if n == len(payload) {
			first |= fin
		}
		f := frame(first, payload[:n], true)
		first, payload = opCont, payload[n:]
		for p := f[:max(len(f)-n/2, 1)]; ; p = f {
			ev, consumed, err := d.next(p)
			if err != nil {
				return nil, err
			}
			if ev.op != ws.OpContinuation {
				data = append([]byte{}, ev.data...)
				d.release()
				return data, nil
			}
			whole := len(p) == len(f)
			if f = f[consumed:]; whole {
				break
			}
		}
	}
}

// FuzzInflate takes any bytes as a compressed message. However they are cut, they inflate
// to the same, within the limit; and to what the standard library makes of them.
func FuzzInflate(f *testing.F) {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	for _, s := range []string{
		hello, hello[:4], "", "\x00", "\x02\x00", "\x03\x00", "\x03\x00\x03\x00\x00", "\x07\x00", "Hello",
		"\xf2\x00\x11\x00\x00", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "\xf3\x48\x05\x00\xcb\xc9\xc9\x07\x00\x00",
		"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "\x00\x04\x00\xfb\xff", strings.Repeat("\x03\x00", 300), strings.Repeat("\x00\x00\x00\xff\xff", 50),
		string((&packer{}).pack(sample(3000))), string((&packer{}).pack(make([]byte, 100_000))), string((&packer{}).pack(noise(100))),
		string((&packer{}).pack([]byte("\xf0\x9f\x98\x80\xed\xa0\x80"))), string((&packer{level: -2}).pack(sample(500))),
	} {
		f.Add([]byte(s), []byte{1}, true, uint16(1000))
		f.Add([]byte(s), []byte{200, 3}, false, uint16(65535))
	}
	f.Fuzz(func(t *testing.T, payload, cuts []byte, text bool, limit uint16) {
		op := byte(opBin)
		if text {
			op = opText
		}
		payload = payload[:min(int64(len(payload)), wireLimit(int64(limit)))]
		whole, err := inflateAll(t, payload, op, int64(limit), func() int { return len(payload) })
		i := 0
		cut, cutErr := inflateAll(t, payload, op, int64(limit), func() int {
			if len(cuts) == 0 {
				return 1
			}
			i++
			return int(cuts[(i-1)%len(cuts)])
		})
		require.Equal(t, err, cutErr)
		require.Equal(t, whole, cut)

		// The standard library stops at a final block, and takes what is left over for nothing.
		source := bytes.NewReader(append(bytes.Clone(payload), inflateTail...))
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(source), int64(limit)+1))
		if wantErr == nil && source.Len() == 0 && len(want) <= int(limit) && !errors.Is(err, duplex.ErrText) {
			require.NoError(t, err)
			require.Equal(t, string(want), string(whole))
		}
		if err == nil {
			require.True(t, bytes.HasPrefix(whole, want) || wantErr != nil)
		}
	})
}

// FuzzOffers holds that an answer is one that the client must accept: it parses, it says no more
// than what was offered, and no offer that is malformed gets one.
func FuzzOffers(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=10; server_max_window_bits=\"9\"",
		"x; a=\"b\\\"c\", permessage-deflate; server_no_context_takeover", ",, permessage-deflate; unknown ,permessage-deflate;client_no_context_takeover", "permessage-deflate; =", "\"",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, line string, takeover bool) {
		o := New(&Options{Compression: &Compression{ContextTakeover: takeover}}).opts
		a, answer := o.negotiate([]string{line})
		_, _ = o.checkAnswer([]string{line})
		if answer == "" {
			require.Nil(t, a)
			return
		}
		require.Contains(t, line, "permessage-deflate")
		p, err := upgrade.Answer([]string{answer})
		require.NoError(t, err)
		require.Equal(t, p.ServerNoTakeover, !a.keepsSent)
		require.Equal(t, p.ClientNoTakeover, !a.keepsRead)
		if !takeover {
			require.True(t, p.ServerNoTakeover && p.ClientNoTakeover)
		}
		for _, name := range []string{"server_max_window_bits", "client_max_window_bits"} {
			require.True(t, !strings.Contains(answer, name) || strings.Contains(line, name))
		}
		if p.ServerBits > 0 && p.ServerBits < upgrade.MaxBits {
			require.Equal(t, 1<<p.ServerBits, a.kind.window())
		}
	})
}
