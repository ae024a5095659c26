package gobwas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

func closeBody(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

func TestCloseCodes(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
			p := open(t)
			p.name = fmt.Sprint(code)
			p.send(fin|opClose, closeBody(code, "why"))
			p.expectClose(code)
			if p.client {
				p.expectEnd()
			}
			p.nc.Close()
			require.Equal(t, &transport.CloseError{Code: transport.StatusCode(code), Reason: "why"}, wait(t, p.echo.closed))
		}
		for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
			for _, reason := range []string{"", "why"} {
				p := open(t)
				p.name = fmt.Sprint(code)
				p.send(fin|opClose, closeBody(code, reason))
				p.expectFail(1002)
			}
		}
	})
}

func TestCloseBodies(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for name, c := range map[string]struct {
			body string
			code int // that comes back
			ok   bool
		}{
			"empty":             {"", 1005, true},
			"one byte":          {"\x03", 1002, false},
			"code alone":        {closeBody(1000, ""), 1000, true},
			"longest":           {closeBody(1000, strings.Repeat("x", 123)), 1000, true},
			"longest UTF-8":     {closeBody(1000, strings.Repeat("ñ", 61)), 1000, true},
			"too long":          {closeBody(1000, strings.Repeat("x", 124)), 1002, false},
			"not UTF-8":         {closeBody(1000, "\xce\xba\xed\xa0\x80edited"), 1007, false},
			"UTF-8 that is cut": {closeBody(1000, "ok\xe2\x82"), 1007, false},
		} {
			for _, chop := range []int{0, 1} {
				p := open(t)
				p.name = name
				f := frame(fin|opClose, []byte(c.body), p.client)
				if !c.ok {
					p.sendMay(f)
					p.expectFail(c.code)
					continue
				}
				p.chopped(f, chop)
				p.expectClose(c.code)
				if p.client {
					p.expectEnd()
				}
				p.nc.Close()
				var ce *transport.CloseError
				require.ErrorAs(t, wait(t, p.echo.closed), &ce, name)
				require.Equal(t, c.code, int(ce.Code), name)
				require.Equal(t, c.body[min(2, len(c.body)):], ce.Reason, name)
			}
		}
	})
}

// TestAfterClose sends what must not be looked at any more, little and much: what
// nobody reads must not turn the close frame into a reset.
func TestAfterClose(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{MaxMessageSize: 1 << 20}, func(t *testing.T, open func(testing.TB) *peer) {
		for name, more := range map[string]func(p *peer) []byte{
			"message":    func(p *peer) []byte { return frame(fin|opText, []byte("late"), p.client) },
			"ping":       func(p *peer) []byte { return frame(fin|opPing, []byte("late"), p.client) },
			"close":      func(p *peer) []byte { return frame(fin|opClose, []byte("\x03\xe9"), p.client) },
			"rest":       func(p *peer) []byte { return frame(fin|opCont, []byte("late"), p.client) },
			"broken":     func(*peer) []byte { return bytes.Repeat([]byte{0xff}, 100) },
			"256 KiB":    func(p *peer) []byte { return frame(fin|opBin, make([]byte, 256<<10), p.client) },
			"much, junk": func(*peer) []byte { return bytes.Repeat([]byte{0xff}, 512<<10) },
		} {
			for _, together := range []bool{true, false} {
				p := open(t)
				p.name = name
				p.send(opText, "unfinished")
				first := frame(fin|opClose, []byte("\x03\xe8"), p.client)
				if together {
					first = append(first, more(p)...)
				}
				p.sendMay(first)
				if !together {
					p.sendMay(more(p))
				}
				p.expectClose(1000)
				if p.client {
					p.expectEnd()
				}
				p.nc.Close()
				require.Equal(t, &transport.CloseError{Code: 1000}, wait(t, p.echo.closed), name)
			}
		}
	})
}

// TestCloseByUs: what comes before the peer's answer is dropped, and the answer
// ends the connection.
func TestCloseByUs(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, answer := range []string{"", closeBody(4001, "bye"), closeBody(1000, "other")} {
			p := open(t)
			require.NoError(t, p.echo.c.Close(4001, "bye"))
			f, err := p.next()
			require.NoError(t, err)
			require.Equal(t, rawFrame{op: opClose, payload: []byte(closeBody(4001, "bye"))}, f)
			p.send(fin|opText, "dropped")
			p.send(fin|opPing, "asked")
			p.expect(opPong, []byte("asked")) // section 5.5.2: until the peer has closed
			p.send(fin|opClose, answer)
			if p.client {
				p.expectEnd()
			}
			p.nc.Close()
			var end *transport.EndError
			require.ErrorAs(t, wait(t, p.echo.closed), &end)
			require.Equal(t, transport.StatusCode(4001), end.Code)
			require.ErrorIs(t, end, transport.ErrLocalClose)
		}
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	sizes := []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
	if raceEnabled {
		sizes = []int{64 << 10, 1 << 20, 16 << 20} // the detector makes each byte expensive
	}
	onBothSides(t, &Options{MaxMessageSize: 16 << 20}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for _, op := range []byte{opText, opBin} {
			for _, size := range sizes {
				data := pattern(size)
				exchange(p, frame(fin|op, data, p.client), 0, op, data)
			}
		}
		p.finish()
	})
}

// TestFragmentSizes is one large message in fragments of many sizes, and chopped.
func TestFragmentSizes(t *testing.T) {
	t.Parallel()
	size := 4 << 20
	if raceEnabled {
		size = 1 << 20
	}
	onBothSides(t, &Options{MaxMessageSize: 16 << 20}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		data := []byte(strings.Repeat("añ€😀", size/10))
		for _, op := range []byte{opText, opBin} {
			for _, n := range []int{64, 1000, 4 << 10, 64 << 10, 256 << 10, 1 << 20} {
				exchange(p, fragments(op, data, n, p.client), 0, op, data)
			}
			for _, chop := range []int{997, 2048, 64 << 10} {
				exchange(p, fragments(op, data, 100_000, p.client), chop, op, data)
			}
		}
		p.finish()
	})
}

// exchange writes b while it reads the echo.
func exchange(p *peer, b []byte, chop int, op byte, data []byte) {
	p.t.Helper()
	if chop == 0 {
		chop = len(b)
	}
	written := make(chan error, 1)
	go func() {
		for len(b) > 0 {
			n, err := p.nc.Write(b[:min(chop, len(b))])
			if err != nil {
				written <- err
				return
			}
			b = b[n:]
		}
		written <- nil
	}()
	p.expect(op, data)
	require.NoError(p.t, wait(p.t, written))
}

func fragments(op byte, data []byte, n int, masked bool) (b []byte) {
	first := op
	for len(data) > n {
		b = append(b, frame(first, data[:n], masked)...)
		first, data = opCont, data[n:]
	}
	return append(b, frame(fin|first, data, masked)...)
}

func TestMessageLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 125, 126, 1000, 65535, 65536, 100_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			onBothSides(t, &Options{MaxMessageSize: limit}, func(t *testing.T, open func(testing.TB) *peer) {
				data := pattern(limit)
				p := open(t)
				exchange(p, frame(fin|opText, data, p.client), 0, opText, data)
				exchange(p, fragments(opBin, data, (limit+2)/3, p.client), 0, opBin, data)
				exchange(p, append(fragments(opText, data, limit, p.client), frame(fin|opPing, nil, p.client)...), 0, opText, data)
				p.expect(opPong, nil)

				// One byte more, in one frame or over many; the header is enough.
				form := 8
				if limit+1 <= 125 {
					form = 1
				} else if limit+1 <= 65535 {
					form = 2
				}
				for name, over := range map[string][]byte{
					"announced":              announce(fin|opText, uint64(limit)+1, p.client, form),
					"announced, first":       announce(opBin, uint64(limit)+1, p.client, form),
					"announced, 2^63-1":      announce(fin|opBin, 1<<63-1, p.client, 8),
					"announced continuation": append(frame(opText, data, p.client), announce(opCont, 1, p.client, 1)...),
					"sum that overflows":     append(frame(opText, data[:1], p.client), announce(opCont, 1<<63-1, p.client, 8)...),
				} {
					p := open(t)
					p.name = name
					p.write(over)
					p.expectClose(1009)
					p.expectEnd()
					p.nc.Close()
					err := wait(t, p.echo.closed)
					require.ErrorIs(t, err, transport.ErrMessageTooBig, name)
					end, _ := errors.AsType[*transport.EndError](err)
					require.Equal(t, transport.StatusMessageTooBig, end.Code)
				}
				p.finish()
			})
		})
	}
}

// TestTooBigWhileSending: who is still sending sees the close frame and no reset.
func TestTooBigWhileSending(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{MaxMessageSize: 1000}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		p.write(frame(fin|opBin, make([]byte, 8<<20), p.client))
		p.expectFail(1009)
	})
}
