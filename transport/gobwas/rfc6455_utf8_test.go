package gobwas

import (
	"testing"
)

var goodText = []string{
	"", "\x00", "plain", "κόσμε", "añ€😀", "\u007f\u0080", "\u07ff\u0800", "\u0d7f\ue000", "\uffff", "\U00010000", "\U0010ffff",
	"\ufffd", "\ufeffbom", "\ufdd0\ufdef\ufffe", "\U0001fffe\U0010fffe", "e\u0301", "\u200e\u202e",
	"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80", "\xe0\xa0\x80", "\xc2\x80",
}

// badText are texts that are not UTF-8. at is how many bytes it takes to know; len+1
// means that only the end of the message tells.
var badText = []struct {
	text string
	at   int
}{
	{"\x80", 1}, {"\xbf", 1}, {"\x80\xbf\x80", 1}, {"a\x80", 2}, {"\xce\xba\xe1\xbd\xb9\xcf\x83\x80", 8}, // lone continuations
	{"\xc0\x80", 1}, {"\xc1\xbf", 1}, {"\xe0\x80\xaf", 2}, {"\xe0\x9f\xbf", 2}, {"\xf0\x80\x80\xaf", 2}, {"\xf0\x8f\xbf\xbf", 2}, // overlong
	{"\xed\xa0\x80", 2}, {"\xed\xbf\xbf", 2}, {"\xed\xa0\x80\xed\xb0\x80", 2}, {"a\xed\xad\xbfb", 3}, // surrogates
	{"\xf4\x90\x80\x80", 2}, {"\xf5\x80\x80\x80", 1}, {"\xf7\xbf\xbf\xbf", 1}, // above U+10FFFF
	{"\xf8\x88\x80\x80\x80", 1}, {"\xfb\xbf\xbf\xbf\xbf", 1}, {"\xfc\x84\x80\x80\x80\x80", 1}, {"\xfd\xbf\xbf\xbf\xbf\xbf", 1}, // 5 and 6 bytes
	{"\xfe", 1}, {"\xff", 1}, {"\xfe\xfe\xff\xff", 1}, {"ok\xff", 3}, // never in UTF-8
	{"\xc3(", 2}, {"\xe2\x82(", 3}, {"\xe2(\xa1", 2}, {"\xf0\x9f\x98(", 4}, {"\xf0\x9f(\x80", 3}, {"\xf0(\x98\x80", 2}, // cut by ASCII
	{"\xc3\xc3\xb1", 2}, {"\xe2\x82\xe2\x82\xac", 3}, {"\xf0\x9f\x98\xf0\x9f\x98\x80", 4}, // cut by another
	{"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 13},
	{"\xc3", 2}, {"\xe2", 2}, {"\xe2\x82", 3}, {"\xf0", 2}, {"\xf0\x9f", 3}, {"\xf0\x9f\x98", 4}, {"ok\xf4\x8f\xbf", 6}, // cut by the end
}

func TestUTF8Valid(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for _, text := range goodText {
			p.name = text
			b := []byte(text)
			for _, chop := range []int{0, 1} {
				p.chopped(frame(fin|opText, b, p.client), chop)
				p.expect(opText, b)
			}
			for cut := range len(b) + 1 {
				// In two frames, with a ping between them, and over two segments.
				p.send(opText, text[:cut])
				p.send(fin|opPing, "\xff")
				p.send(fin|opCont, text[cut:])
				p.expect(opPong, []byte{0xff})
				p.expect(opText, b)
				f := frame(fin|opText, b, p.client)
				p.write(f[:len(f)-len(b)+cut])
				p.write(f[len(f)-len(b)+cut:])
				p.expect(opText, b)
			}
		}
		p.finish()
	})
}

func TestUTF8Invalid(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, c := range badText {
			p := open(t)
			p.name = c.text
			p.send(fin|opBin, c.text) // may be anything in binary
			p.expect(opBin, []byte(c.text))
			p.send(fin|opText, c.text)
			p.expectFail(1007)
			for cut := range len(c.text) + 1 {
				p := open(t)
				p.name = c.text
				p.sendMay(frame(opText, []byte(c.text[:cut]), p.client))
				p.sendMay(frame(fin|opCont, []byte(c.text[cut:]), p.client))
				p.expectFail(1007)
			}
		}
	})
}

// TestUTF8FailFast sends only as much as it takes to know, in a frame or a message
// that goes on.
func TestUTF8FailFast(t *testing.T) {
	t.Parallel()
	onBothSides(t, nil, func(t *testing.T, open func(testing.TB) *peer) {
		for _, c := range badText {
			if c.at > len(c.text) {
				continue
			}
			text := []byte(c.text[:c.at])
			whole := append([]byte(c.text[:c.at]), "and so on"...)
			part := func(p *peer, first byte) []byte {
				f := frame(first, whole, p.client)
				return f[:len(f)-len("and so on")]
			}
			for name, send := range map[string]func(p *peer){
				"in an unfinished frame":          func(p *peer) { p.write(part(p, fin|opText)) },
				"byte by byte":                    func(p *peer) { p.chopped(part(p, fin|opText), 1) },
				"in an unfinished message":        func(p *peer) { p.write(frame(opText, text, p.client)) },
				"a frame for each byte":           func(p *peer) { p.write(bytewise(text, p.client)) },
				"in an unfinished second frame":   func(p *peer) { p.send(opText, "ñ"); p.write(part(p, opCont)) },
				"in an unfinished frame, chopped": func(p *peer) { p.chopped(part(p, opText), 7) },
			} {
				p := open(t)
				p.name = c.text + " " + name
				send(p)
				p.expectFail(1007)
			}
			if c.at == 1 {
				continue
			}
			p := open(t)
			p.name = c.text + " one byte before"
			p.send(opText, c.text[:c.at-1])
			p.send(fin|opPing, "alive?")
			p.expect(opPong, []byte("alive?"))
			p.send(opCont, c.text[c.at-1:c.at])
			p.expectFail(1007)
		}
	})
}

// bytewise is an unfinished text message with a frame for each byte.
func bytewise(text []byte, masked bool) []byte {
	b := frame(opText, nil, masked)
	for i := range text {
		b = append(b, frame(opCont, text[i:i+1], masked)...)
	}
	return b
}
