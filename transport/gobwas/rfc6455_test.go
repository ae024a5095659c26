package gobwas

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var chops = []int{0, 1, 7, 997}

func pattern(n int) []byte { return bytes.Repeat([]byte("abcdefghijk"), n/11+1)[:n] }

func TestFraming(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{MaxMessageSize: 1 << 20}, func(t *testing.T, open func(testing.TB) *peer) {
		for _, chop := range chops {
			p := open(t)
			for _, op := range []byte{opText, opBin} {
				for _, size := range []int{0, 1, 2, 125, 126, 127, 128, 65535, 65536, 65537} {
					if chop > 0 && size/chop > 10_000 && op == opText {
						continue // 65,535 segments of one byte once
					}
					data := pattern(size)
					if op == opBin {
						for i := range data {
							data[i] ^= 0xff
						}
					}
					p.chopped(frame(fin|op, data, p.client), chop)
					p.expect(op, data)
				}
			}
			p.finish()
		}
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for size := range 126 {
			data := bytes.Repeat([]byte{0xfe}, size) // no UTF-8: a ping's body is any bytes
			p.write(frame(fin|opPing, data, p.client))
			p.expect(opPong, data)
		}
		for _, chop := range chops[1:] {
			p.chopped(frame(fin|opPing, pattern(125), p.client), chop)
			p.expect(opPong, pattern(125))
		}
		var ten []byte
		for i := range 10 {
			ten = append(ten, frame(fin|opPing, fmt.Appendf(nil, "payload-%d", i), p.client)...)
		}
		for _, chop := range chops {
			p.chopped(ten, chop)
			for i := range 10 {
				p.expect(opPong, fmt.Appendf(nil, "payload-%d", i))
			}
		}
		// Nobody asked for these.
		p.send(fin|opPong, "")
		p.send(fin|opPong, "unsolicited")
		p.send(fin|opPong, "\x00\x00\x00\x00\x00\x00\x00\x01")
		p.send(fin|opPing, "after")
		p.expect(opPong, []byte("after"))
		p.finish()
	})
}

func TestControlFrameTooLong(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, op := range []byte{opPing, opPong, opClose} {
			p := open(t)
			p.write(frame(fin|op, pattern(126), p.client))
			p.expectFail(1002)
			p = open(t)
			p.write(frameForm(fin|op, pattern(5), p.client, 2)) // a long form is over the limit whatever it says
			p.expectFail(1002)
			p = open(t)
			p.sendMay(announce(fin|op, 1<<62, p.client, 8)) // and needs no payload to be refused
			p.expectFail(1002)
		}
	})
}

// afterGood runs f on a fresh connection, on one that has carried a message, and on
// one in the middle of a message.
func afterGood(t *testing.T, open func(testing.TB) *peer, f func(p *peer)) {
	t.Helper()
	f(open(t))
	p := open(t)
	p.send(fin|opText, "good")
	p.send(fin|opPing, "ping")
	p.expect(opText, []byte("good"))
	p.expect(opPong, []byte("ping"))
	f(p)
	p = open(t)
	p.send(opText, "begun")
	f(p)
}

func TestReservedBits(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for rsv := byte(1); rsv <= 7; rsv++ {
			for _, op := range []byte{opText, opBin, opPing, opPong, opClose, opCont} {
				afterGood(t, open, func(p *peer) {
					p.sendMay(frame(fin|rsv<<4|op, []byte("\x03\xe8"), p.client))
					p.expectFail(1002)
				})
			}
		}
	})
}

func TestReservedOpcodes(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
			for _, body := range []string{"", "x"} {
				afterGood(t, open, func(p *peer) {
					p.sendMay(frame(fin|op, []byte(body), p.client))
					p.sendMay(frame(fin|opPing, nil, p.client)) // not answered any more
					p.expectFail(1002)
				})
			}
		}
	})
}

func TestMasking(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, op := range []byte{opText, opPing, opClose} {
			afterGood(t, open, func(p *peer) {
				p.sendMay(frame(fin|op, []byte("\x03\xe8"), !p.client))
				p.expectFail(1002)
			})
		}
	})
}

func TestLengthForms(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{MaxMessageSize: -1}, func(t *testing.T, open func(testing.TB) *peer) {
		for name, header := range map[string]func(bool) []byte{
			"16 bits for 0":       func(m bool) []byte { return announce(fin|opBin, 0, m, 2) },
			"16 bits for 125":     func(m bool) []byte { return announce(fin|opBin, 125, m, 2) },
			"64 bits for 0":       func(m bool) []byte { return announce(fin|opBin, 0, m, 8) },
			"64 bits for 126":     func(m bool) []byte { return announce(fin|opBin, 126, m, 8) },
			"64 bits for 65535":   func(m bool) []byte { return announce(fin|opBin, 65535, m, 8) },
			"highest bit":         func(m bool) []byte { return announce(fin|opBin, 1<<63, m, 8) },
			"all bits":            func(m bool) []byte { return announce(fin|opBin, 1<<64-1, m, 8) },
			"highest bit, text":   func(m bool) []byte { return announce(opText, 1<<63|5, m, 8) },
			"non-minimal in part": func(m bool) []byte { return announce(opText, 3, m, 2) },
		} {
			for _, chop := range []int{0, 1} {
				p := open(t)
				p.name = name
				h := header(p.client)
				// The whole length is enough to know: a mask need not come.
				h = h[:len(h)-4*btoi(p.client)]
				p.chopped(h, chop)
				p.expectFail(1002)
			}
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// step is a frame that is sent, or with want one that is expected.
type step struct {
	first byte
	text  string
	want  bool
}

func sent(first byte, text string) step { return step{first: first, text: text} }
func want(op byte, text string) step    { return step{first: op, text: text, want: true} }

func TestFragmentation(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for name, steps := range map[string][]step{
			"two":            {sent(opText, "frag"), sent(fin|opCont, "ment"), want(opText, "fragment")},
			"binary":         {sent(opBin, "\xff"), sent(opCont, "\x00"), sent(fin|opCont, "\xfe"), want(opBin, "\xff\x00\xfe")},
			"all empty":      {sent(opText, ""), sent(opCont, ""), sent(fin|opCont, ""), want(opText, "")},
			"empty around":   {sent(opText, ""), sent(opCont, "middle"), sent(fin|opCont, ""), want(opText, "middle")},
			"only last full": {sent(opBin, ""), sent(opCont, ""), sent(fin|opCont, "last"), want(opBin, "last")},
			"ping between": {sent(opText, "frag"), sent(fin|opPing, "now"), want(opPong, "now"),
				sent(fin|opCont, "ment"), want(opText, "fragment")},
			"pings between": {sent(opText, "a"), sent(fin|opPing, "1"), sent(opCont, "b"), sent(fin|opPing, "2"),
				sent(fin|opCont, "c"), want(opPong, "1"), want(opPong, "2"), want(opText, "abc")},
			"pong between": {sent(opText, "a"), sent(fin|opPong, "x"), sent(fin|opCont, "b"), want(opText, "ab")},
			"one after the other": {sent(opText, "a"), sent(fin|opCont, "b"), sent(opBin, "c"), sent(fin|opCont, "d"), sent(fin|opText, "e"),
				want(opText, "ab"), want(opBin, "cd"), want(opText, "e")},
		} {
			for _, chop := range []int{0, 1, -1} {
				p := open(t)
				var all []byte
				for _, s := range steps {
					switch {
					case s.want && chop < 0:
						p.write(all)
						all = nil
						p.expect(s.first, []byte(s.text))
					case s.want:
						p.expect(s.first, []byte(s.text))
					case chop < 0: // in one segment up to the next answer
						all = append(all, frame(s.first, []byte(s.text), p.client)...)
					default:
						p.chopped(frame(s.first, []byte(s.text), p.client), chop)
					}
				}
				p.name = name
				p.finish()
			}
		}
	})
}

func TestFragmentationBroken(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for name, steps := range map[string][]step{
			"continuation alone":           {sent(fin|opCont, "x")},
			"continuation alone, not last": {sent(opCont, "x")},
			"empty continuation alone":     {sent(fin|opCont, "")},
			"continuation after a message": {sent(fin|opText, "a"), want(opText, "a"), sent(fin|opCont, "x")},
			"continuation after the last":  {sent(opText, "a"), sent(fin|opCont, "b"), want(opText, "ab"), sent(fin|opCont, "x")},
			"text inside":                  {sent(opText, "a"), sent(fin|opText, "x")},
			"binary inside":                {sent(opText, "a"), sent(fin|opBin, "x")},
			"fragment inside":              {sent(opBin, "a"), sent(opBin, "x")},
			"text after an empty fragment": {sent(opText, ""), sent(fin|opText, "x")},
			"ping not last":                {sent(opPing, "x")},
			"pong not last":                {sent(opPong, "x")},
			"close not last":               {sent(opClose, "\x03\xe8")},
			"ping not last, inside":        {sent(opText, "a"), sent(opPing, "x"), sent(fin|opCont, "y")},
		} {
			for _, chop := range []int{0, 1} {
				p := open(t)
				for _, s := range steps {
					if s.want {
						p.expect(s.first, []byte(s.text))
						continue
					}
					b := frame(s.first, []byte(s.text), p.client)
					if chop == 0 {
						p.sendMay(b)
						continue
					}
					for i := range b {
						p.sendMay(b[i : i+1])
					}
				}
				p.name = name
				p.expectFail(1002)
			}
		}
	})
}

func TestCloseBetweenFragments(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		p.send(opText, "half of ")
		p.finish()
		p = open(t)
		p.send(opText, "half of ")
		p.send(fin|opClose, "")
		p.expectClose(1005)
	})
}

// TestManyFragments is a message in as many frames as it has bytes.
func TestManyFragments(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		text := strings.Repeat("añ€😀", 500)
		b := frame(opText, nil, p.client)
		for i := range len(text) {
			b = append(b, frame(opCont, []byte{text[i]}, p.client)...)
		}
		b = append(b, frame(fin|opCont, nil, p.client)...)
		for _, chop := range chops {
			p.chopped(b, chop)
			p.expect(opText, []byte(text))
		}
		p.finish()
	})
}
