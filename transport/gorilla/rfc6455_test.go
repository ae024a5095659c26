package gorilla

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

func pattern(n int) []byte { return bytes.Repeat([]byte("abcdefghijk"), n/11+1)[:n] }

func closeBody(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// step is a frame that is sent, or with want one that is expected.
type step struct {
	first byte
	text  string
	want  bool
}

func sent(first byte, text string) step { return step{first: first, text: text} }
func want(op byte, text string) step    { return step{first: op, text: text, want: true} }

// play sends the steps whole, a byte at a time, or as much as possible at once.
func play(p *peer, steps []step, chop int) {
	p.t.Helper()
	var all []byte
	for _, s := range steps {
		switch {
		case !s.want:
			all = append(all, frame(s.first, []byte(s.text), p.client)...)
			if chop >= 0 {
				p.choppedMay(all, chop)
				all = nil
			}
		default:
			p.sendMay(all)
			all = nil
			p.expect(s.first, []byte(s.text))
		}
	}
	p.sendMay(all)
}

// choppedMay is chopped for bytes that the other side may have stopped to take.
func (p *peer) choppedMay(b []byte, n int) {
	for len(b) > 0 {
		m := len(b)
		if n > 0 {
			m = min(n, m)
		}
		p.sendMay(b[:m])
		b = b[m:]
	}
}

// TestGoodFrames: what sections 5.4 and 5.5 allow. All on one connection for each
// way to cut the bytes.
func TestGoodFrames(t *testing.T) {
	t.Parallel()
	cases := map[string][]step{
		"empty":          {sent(fin|opText, ""), want(opText, "")},
		"text":           {sent(fin|opText, "añ€😀"), want(opText, "añ€😀")},
		"binary":         {sent(fin|opBin, "\xff\x00"), want(opBin, "\xff\x00")},
		"125":            {sent(fin|opText, string(pattern(125))), want(opText, string(pattern(125)))},
		"126":            {sent(fin|opText, string(pattern(126))), want(opText, string(pattern(126)))},
		"127":            {sent(fin|opBin, string(pattern(127))), want(opBin, string(pattern(127)))},
		"two":            {sent(opText, "frag"), sent(fin|opCont, "ment"), want(opText, "fragment")},
		"all empty":      {sent(opText, ""), sent(opCont, ""), sent(fin|opCont, ""), want(opText, "")},
		"empty around":   {sent(opText, ""), sent(opCont, "middle"), sent(fin|opCont, ""), want(opText, "middle")},
		"only last full": {sent(opBin, ""), sent(opCont, ""), sent(fin|opCont, "last"), want(opBin, "last")},
		"pings between": {sent(opText, "a"), sent(fin|opPing, "1"), sent(opCont, "b"), sent(fin|opPing, "2"),
			sent(fin|opCont, "c"), want(opPong, "1"), want(opPong, "2"), want(opText, "abc")},
		"pong between": {sent(opText, "a"), sent(fin|opPong, "x"), sent(fin|opCont, "b"), want(opText, "ab")},
		"one after the other": {sent(opText, "a"), sent(fin|opCont, "b"), sent(opBin, "c"), sent(fin|opCont, "d"), sent(fin|opText, "e"),
			want(opText, "ab"), want(opBin, "cd"), want(opText, "e")},
		"ping of any bytes":         {sent(fin|opPing, "\xff\xfe"), want(opPong, "\xff\xfe")},
		"longest ping":              {sent(fin|opPing, string(pattern(125))), want(opPong, string(pattern(125)))},
		"ten pings":                 append(repeat(10, sent(fin|opPing, "x")), repeat(10, want(opPong, "x"))...),
		"pongs that nobody awaited": {sent(fin|opPong, ""), sent(fin|opPong, "\x00\x00\x00\x00\x00\x00\x00\x01"), sent(fin|opText, "on"), want(opText, "on")},
	}
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, chop := range []int{0, 1, 7, -1} {
			p := open(t)
			for name, steps := range cases {
				p.name = fmt.Sprint(name, " chopped ", chop)
				play(p, steps, chop)
			}
			p.finish()
		}
	})
}

func repeat(n int, s step) (all []step) {
	for range n {
		all = append(all, s)
	}
	return all
}

// raw is a broken frame header, or a whole frame, of a peer that masks or does not.
type raw func(masked bool) []byte

func whole(first byte, text string) raw {
	return func(m bool) []byte { return frame(first, []byte(text), m) }
}

// header is a header that says enough to be refused: a mask need not come.
func header(first byte, n uint64, form int) raw {
	return func(m bool) []byte {
		h := announce(first, n, m, form)
		if m {
			h = h[:len(h)-4]
		}
		return h
	}
}

// TestBrokenFrames: what section 5 forbids, on a fresh connection, behind a message,
// and in the middle of one.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	anywhere := map[string]raw{
		"unmasked or masked":    func(m bool) []byte { return frame(fin|opText, []byte("x"), !m) },
		"unmasked ping":         func(m bool) []byte { return frame(fin|opPing, nil, !m) },
		"ping not last":         whole(opPing, "x"),
		"pong not last":         whole(opPong, "x"),
		"close not last":        whole(opClose, "\x03\xe8"),
		"long ping":             whole(fin|opPing, string(pattern(126))),
		"long pong":             whole(fin|opPong, string(pattern(126))),
		"long close":            whole(fin|opClose, closeBody(1000, string(pattern(124)))),
		"ping in a long form":   func(m bool) []byte { return frameForm(fin|opPing, pattern(5), m, 2) },
		"endless ping":          header(fin|opPing, 1<<62, 8),
		"close of one byte":     whole(fin|opClose, "\x03"),
		"16 bits for 0":         header(fin|opBin, 0, 2),
		"16 bits for 125":       header(fin|opBin, 125, 2),
		"64 bits for 0":         header(fin|opBin, 0, 8),
		"64 bits for 65535":     header(fin|opBin, 65535, 8),
		"highest bit":           header(fin|opBin, 1<<63, 8),
		"all bits":              header(fin|opBin, 1<<64-1, 8),
		"highest bit, fragment": header(opText, 1<<63|5, 8),
	}
	for op := range byte(16) {
		if op > opBin && op < opClose || op > opPong {
			anywhere[fmt.Sprint("opcode ", op)] = whole(fin|op, "x")
		}
		for rsv := byte(1); rsv <= 7; rsv++ {
			anywhere[fmt.Sprint("opcode ", op, ", reserved bits ", rsv)] = whole(fin|rsv<<4|op, "\x03\xe8")
		}
	}
	between := map[string]raw{
		"continuation alone":       whole(fin|opCont, "x"),
		"continuation, not last":   whole(opCont, "x"),
		"empty continuation alone": whole(fin|opCont, ""),
	}
	inside := map[string]raw{
		"text inside":     whole(fin|opText, "x"),
		"binary inside":   whole(fin|opBin, "x"),
		"fragment inside": whole(opBin, "x"),
	}
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		fail := func(name string, before []step, b raw) {
			for _, chop := range []int{0, 1} {
				p := open(t)
				p.name = name
				play(p, before, 0)
				p.choppedMay(b(p.client), chop)
				p.expectFail(1002)
			}
		}
		good := []step{sent(fin|opText, "good"), want(opText, "good"), sent(opText, "a"), sent(fin|opCont, "b"), want(opText, "ab")}
		begun := []step{sent(opText, "begun")}
		for name, b := range anywhere {
			fail(name, nil, b)
			fail(name+", behind a message", good, b)
			fail(name+", inside a message", begun, b)
		}
		for name, b := range between {
			fail(name, nil, b)
			fail(name+", behind a message", good, b)
		}
		for name, b := range inside {
			fail(name, begun, b)
			fail(name+", behind an empty fragment", []step{sent(opText, "")}, b)
		}
	})
}

// TestSoundBehindBroken: what came before a broken frame in the same segment counts.
func TestSoundBehindBroken(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, broken := range []raw{whole(fin|opCont, "x"), header(fin|opBin, 0, 2), whole(fin|opClose, "\x03")} {
			p := open(t)
			p.write(append(frame(fin|opText, []byte("sound"), p.client), broken(p.client)...))
			p.expect(opText, []byte("sound"))
			p.expectFail(1002)
		}
	})
}

func TestCloseFrames(t *testing.T) {
	t.Parallel()
	type want struct {
		body string
		code int // that comes back
		fail bool
	}
	cases := map[string]want{
		"empty":             {"", 1005, false},
		"code alone":        {closeBody(1000, ""), 1000, false},
		"longest":           {closeBody(1000, string(pattern(123))), 1000, false},
		"longest UTF-8":     {closeBody(1000, strings.Repeat("ñ", 61)), 1000, false},
		"not UTF-8":         {closeBody(1000, "\xce\xba\xed\xa0\x80edited"), 1007, true},
		"not UTF-8, 1014":   {closeBody(1014, "\xce\xba\xed\xa0\x80edited"), 1007, true},
		"UTF-8 that is cut": {closeBody(4000, "ok\xe2\x82"), 1007, true},
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases[fmt.Sprint(code)] = want{closeBody(code, "why"), code, false}
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases[fmt.Sprint(code)] = want{closeBody(code, "why"), 1002, true}
	}
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for name, c := range cases {
			for _, before := range [][]step{nil, {sent(opText, "half of ")}} {
				for _, behind := range []string{"", "\xff\xff\xff\xff junk", string(make([]byte, 200_000))} {
					p := open(t)
					p.name = name
					play(p, before, 0)
					p.sendMay(append(frame(fin|opClose, []byte(c.body), p.client), behind...))
					if c.fail {
						p.expectFail(c.code)
						continue
					}
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
			p.expect(opClose, []byte(closeBody(4001, "bye")))
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

func fragments(op byte, data []byte, n int, masked bool) (b []byte) {
	first := op
	for len(data) > n {
		b = append(b, frame(first, data[:n], masked)...)
		first, data = opCont, data[n:]
	}
	return append(b, frame(fin|first, data, masked)...)
}

// exchange writes b while it reads the echo.
func exchange(p *peer, b []byte, op byte, data []byte) {
	p.t.Helper()
	written := make(chan error, 1)
	go func() {
		_, err := p.nc.Write(b)
		written <- err
	}()
	p.expect(op, data)
	require.NoError(p.t, wait(p.t, written))
}

func TestSizes(t *testing.T) {
	t.Parallel()
	sizes := []int{4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, 16 << 20}
	onBothSides(t, &Options{MaxMessageSize: 16 << 20}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for _, size := range sizes {
			data := pattern(size)
			exchange(p, frame(fin|opText, data, p.client), opText, data)
			exchange(p, fragments(opBin, data, max(size/40, 1000), p.client), opBin, data)
		}
		p.finish()
	})
}

func TestMessageLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 125, 126, 1000, 4096, 65535, 65536, 100_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			onBothSides(t, &Options{MaxMessageSize: limit}, func(t *testing.T, open func(testing.TB) *peer) {
				data := pattern(limit)
				p := open(t)
				p.name = fmt.Sprint(limit)
				exchange(p, frame(fin|opText, data, p.client), opText, data)
				exchange(p, fragments(opBin, data, (limit+2)/3, p.client), opBin, data)
				over := map[string][]byte{
					"one byte more":           frame(fin|opText, pattern(limit+1), p.client),
					"one byte in a fragment":  append(frame(opText, data, p.client), frame(opCont, []byte("x"), p.client)...),
					"announced, 2^63-1":       announce(fin|opBin, 1<<63-1, p.client, 8),
					"a sum that overflows":    append(frame(opText, data[:1], p.client), announce(opCont, 1<<63-1, p.client, 8)...),
					"still sending":           frame(fin|opBin, make([]byte, 1<<20), p.client),
					"still sending fragments": fragments(opBin, make([]byte, 1<<20), 10_000, p.client),
				}
				for name, b := range over {
					p := open(t)
					p.name = fmt.Sprint(limit, " ", name)
					p.sendMay(b)
					p.expectClose(1009)
					p.expectEnd()
					p.nc.Close()
					require.ErrorIs(t, wait(t, p.echo.closed), transport.ErrMessageTooBig, p.name)
				}
				p.finish()
			})
		})
	}
}

// goodText and badText: at is how many bytes it takes to know that it is bad; len+1
// means that only the end of the message tells.
var (
	goodText = []string{"\x00", "κόσμε", "añ€😀", "\u007f\u0080\u07ff\u0800\ud7fe\ue000\uffff\U00010000\U0010ffff\ufffd\ufeff"}
	badText  = []struct {
		text string
		at   int
	}{
		{"\x80", 1}, {"a\xbf", 2}, {"\xc0\x80", 1}, {"\xe0\x9f\xbf", 2}, {"\xf0\x8f\xbf\xbf", 2}, {"\xed\xa0\x80", 2},
		{"\xf4\x90\x80\x80", 2}, {"\xf5\x80\x80\x80", 1}, {"\xf8\x88\x80\x80\x80", 1}, {"ok\xff", 3}, {"\xc3(", 2},
		{"\xe2\x82(", 3}, {"\xf0\x9f\x98(", 4}, {"\xe2\x82\xe2\x82\xac", 3}, {"\xc3", 2}, {"\xe2\x82", 3}, {"\xf0\x9f\x98", 4},
	}
)

func TestUTF8(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for _, text := range goodText {
			for cut := range len(text) + 1 {
				play(p, []step{sent(opText, text[:cut]), sent(fin|opPing, "\xff"), sent(fin|opCont, text[cut:]),
					want(opPong, "\xff"), want(opText, text)}, cut%3-1)
			}
		}
		p.finish()
		for _, c := range badText {
			for cut := range len(c.text) + 1 {
				p := open(t)
				p.name = c.text
				play(p, []step{sent(fin|opBin, c.text), want(opBin, c.text), sent(opText, c.text[:cut]), sent(fin|opCont, c.text[cut:])}, 0)
				p.expectFail(1007)
			}
			if c.at > len(c.text) {
				continue
			}
			// As little as it takes to know, in a frame or a message that goes on.
			rest := "and so on"
			for _, chop := range []int{0, 1} {
				p := open(t)
				p.name = c.text + ", unfinished"
				f := frame(fin|opText, []byte(c.text[:c.at]+rest), p.client)
				p.choppedMay(f[:len(f)-len(rest)], chop)
				p.expectFail(1007)
				p = open(t)
				p.name = c.text + ", in fragments"
				p.sendMay(frame(opText, []byte("ñ"+c.text[:c.at-1]), p.client))
				p.sendMay(frame(fin|opPing, nil, p.client))
				p.expect(opPong, nil)
				p.sendMay(frame(opCont, []byte(c.text[c.at-1:c.at]), p.client))
				p.expectFail(1007)
			}
		}
	})
}
