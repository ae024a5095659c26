package gobwas

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

const packedBit = 0x40

var abbreviations = strings.NewReplacer("pmd", "permessage-deflate", "snct", "server_no_context_takeover", "cnct", "client_no_context_takeover",
	"smwb", "server_max_window_bits", "cmwb", "client_max_window_bits", "declined", "")

// TestOffers reads the table of the package's documentation and holds the code to it.
func TestOffers(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("gobwas.go")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(source), "answer with ContextTakeover\n")
	table, _, _ = strings.Cut(table, "\n//\n")
	rows := strings.Split(table, "\n")
	require.Greater(t, len(rows), 20)

	accept := &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }}
	for column, z := range []*Compression{{}, {ContextTakeover: true}} {
		for _, kind := range []string{"http", "bare"} {
			t.Run(fmt.Sprintf("takeover=%t/%s", z.ContextTakeover, kind), func(t *testing.T) {
				t.Parallel()
				url := serve(t, kind, New(&Options{Compression: z}), accept)
				for _, row := range rows {
					cells := regexp.MustCompile(` {2,}`).Split(strings.TrimPrefix(row, "//\t"), -1)
					require.Len(t, cells, 3, row)
					p, answer := openOffering(t, url, abbreviations.Replace(cells[0]))
					if cells[1] == "declined" { // and why
						cells[2] = cells[1]
					}
					require.Equal(t, abbreviations.Replace(cells[1+column]), answer, row)
					p.nc.Close()
				}
			})
		}
	}
}

// Several lines are one list, and space and empty elements mean nothing.
func TestOfferSyntax(t *testing.T) {
	t.Parallel()
	good := "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	o := &Options{Compression: &Compression{}}
	for _, c := range []struct {
		lines  []string
		answer string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{" , ,"}, ""},
		{[]string{"x-other", "permessage-deflate"}, good},
		{[]string{"permessage-deflate;x=1", "permessage-deflate"}, good},
		{[]string{",\tpermessage-deflate ;\tclient_max_window_bits = 8 ,,"}, good + "; client_max_window_bits=8"},
		{[]string{`permessage-deflate; client_max_window_bits="1\0"`}, good + "; client_max_window_bits=10"},
		{[]string{`permessage-deflate; client_max_window_bits="10`}, ""},
		{[]string{`permessage-deflate; client_max_window_bits="10\`}, ""},
		{[]string{`permessage-deflate; client_max_window_bits=""`}, ""},
		{[]string{"permessage-deflate;"}, ""},
		{[]string{"permessage-deflate; =8"}, ""},
		{[]string{"permessage-deflate client_max_window_bits"}, ""},
		{[]string{"permessage-deflate; client_max_window_bits=+9"}, ""},
		{[]string{"permessage-deflate; client_max_window_bits=99999999999999999999"}, ""},
		{[]string{"permessage-deflate, \x00"}, ""},
		{[]string{"Permessage-Deflate"}, ""},
	} {
		a, answer := o.negotiate(c.lines)
		require.Equal(t, c.answer, answer, "%q", c.lines)
		require.Equal(t, answer != "", a != nil)
	}
	a, answer := new(Options).negotiate([]string{"permessage-deflate"})
	require.Nil(t, a)
	require.Empty(t, answer)
}

// TestAnswers: what a dialer makes of an answer to its offer.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		takeover bool
		answer   string // lines are separated by |
		agreed   string // of the agreement; "" none
		fails    string
	}{
		{false, "", "", ""},
		{false, "pmd; snct", "sent=false read=false window=32768", ""},
		{false, "pmd; snct; cnct", "sent=false read=false window=32768", ""},
		{false, "pmd; snct; smwb=9", "sent=false read=false window=512", ""},
		{false, "pmd; snct; cmwb=9", "sent=false read=false window=32768 kind=19", ""},
		{false, "pmd; snct; cmwb=15", "sent=false read=false window=32768", ""},
		{true, "pmd", "sent=true read=true window=32768", ""},
		{true, "pmd; snct", "sent=true read=false window=32768", ""},
		{true, "pmd; cnct", "sent=false read=true window=32768", ""},
		{true, "pmd; smwb=10; cmwb=8", "sent=true read=true window=1024 kind=18", ""},
		{false, "pmd", "", "without server_no_context_takeover"},
		{false, "pmd; cnct", "", "without server_no_context_takeover"},
		{false, "pmd; snct; snct", "", "repeated"},
		{false, "pmd; snct; unknown", "", "unknown"},
		{false, "pmd; snct=1", "", "has a value"},
		{false, "pmd; snct; cmwb", "", "client_max_window_bits has the value"},
		{false, "pmd; snct; smwb", "", "server_max_window_bits has the value"},
		{false, "pmd; snct; smwb=16", "", "16"},
		{false, "pmd; snct; cmwb=7", "", "7"},
		{false, "pmd; snct, pmd; snct", "", "more than one"},
		{false, "pmd; snct|pmd; snct", "", "more than one"},
		{false, "x-other", "", "extensions"},
		{false, "pmd; snct, x-other", "", "extensions"},
		{false, "pmd; snct|x-other", "", "extensions"},
		{false, "pmd; ;", "", "malformed"},
	} {
		z := &Compression{ContextTakeover: c.takeover}
		e := make(chan transport.Conn, 1)
		p, offer, err := dialAnswered(t, New(&Options{Compression: z}), abbreviations.Replace(c.answer), func(c transport.Conn) transport.Receiver {
			e <- c
			return newRecorder()
		})
		p.nc.Close()
		want := "pmd;cmwb"
		if !c.takeover {
			want = "pmd;snct;cnct;cmwb"
		}
		require.Equal(t, abbreviations.Replace(want), strings.ReplaceAll(offer, " ", ""))
		if c.fails != "" {
			require.ErrorContains(t, err, c.fails, c.answer)
			require.Empty(t, e)
			continue
		}
		require.NoError(t, err, c.answer)
		a := (<-e).(*conn).dec.deflate
		if c.agreed == "" {
			require.Nil(t, a)
			continue
		}
		got := fmt.Sprintf("sent=%t read=%t window=%d", a.keepsSent, a.keepsRead, a.readWindow)
		if a.kind != 1 {
			got += fmt.Sprintf(" kind=%d", a.kind)
		}
		require.Equal(t, c.agreed, got, c.answer)
	}

	// A dialer that offers nothing takes no answer.
	p, offer, err := dialAnswered(t, New(nil), abbreviations.Replace("pmd; snct"), func(transport.Conn) transport.Receiver { return newRecorder() })
	p.nc.Close()
	require.Empty(t, offer)
	require.Error(t, err)
}

// TestRFC7692Examples are the frames of section 7.2.3.
func TestRFC7692Examples(t *testing.T) {
	t.Parallel()
	forBothContexts(t, func(t *testing.T, takeover bool) {
		onBothCompressed(t, Options{Compression: &Compression{ContextTakeover: takeover}}, func(t *testing.T, open func(testing.TB) *peer) {
			p := open(t)
			hello := func(name, payload string, n int) {
				p.name = name
				p.sendFragments(packedBit|opText, []byte(payload), n)
				p.expect(opText, []byte("Hello"))
			}
			hello("7.2.3.1, one block", "\xf2\x48\xcd\xc9\xc9\x07\x00", 0)
			hello("7.2.3.1, fragmented", "\xf2\x48\xcd\xc9\xc9\x07\x00", 3)
			hello("7.2.3.3, a block with no compression", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 0)
			hello("7.2.3.4, a final block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 0)
			hello("7.2.3.4, without padding", "\xf3\x48\xcd\xc9\xc9\x07\x00", 0)
			hello("7.2.3.5, two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 0)
			hello("two final blocks", "\xf3\x48\x05\x00\xcb\xc9\xc9\x07\x00\x00", 2)
			for n := range 3 {
				hello("one byte at a time", "\xf3\x48\x05\x00\xcb\xc9\xc9\x07\x00\x00"[:10-n%2], 1)
			}
			for _, empty := range []string{"\x00", "", "\x02\x00", "\x03\x00", "\x01\x00\x00\xff\xff\x00"} {
				p.name = fmt.Sprintf("an empty message as %x", empty)
				p.send(fin|packedBit|opText, empty)
				p.expect(opText, nil)
			}
			if takeover {
				hello("7.2.3.1, before a shared window", "\xf2\x48\xcd\xc9\xc9\x07\x00", 0)
				hello("7.2.3.2, shared window", "\xf2\x00\x11\x00\x00", 0)
				hello("7.2.3.2, fragmented", "\xf2\x00\x11\x00\x00", 1)
			} else {
				p.send(fin|packedBit|opText, "\xf2\x00\x11\x00\x00")
				p.expectFail(1007) // nothing is kept that it could refer to
				return
			}
			p.finish()
		})
	})
}

func forBothContexts(t *testing.T, f func(t *testing.T, takeover bool)) {
	t.Run("alone", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("takeover", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// TestCompressedMessages has the kinds of data, sizes and fragments that the Autobahn
// test suite exercises in its groups 12 and 13.
func TestCompressedMessages(t *testing.T) {
	t.Parallel()
	forBothContexts(t, func(t *testing.T, takeover bool) {
		onBothCompressed(t, Options{MaxMessageSize: 1 << 20, Compression: &Compression{ContextTakeover: takeover}},
			func(t *testing.T, open func(testing.TB) *peer) {
				for _, fragment := range []int{0, 1, 7, 1000, 32 << 10} {
					for _, level := range []int{1, 9} {
						p := open(t)
						z := &packer{keepsOut: takeover, keepsIn: takeover, level: level}
						for _, size := range []int{16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072} {
							if fragment > 0 && size/fragment > 2048 {
								continue
							}
							for kind, data := range map[byte][]byte{opText: sample(size), opBin: noise(size)} {
								p.name = fmt.Sprintf("%d bytes, kind %d, fragments of %d, level %d", size, kind, fragment, level)
								p.sendFragments(packedBit|kind, z.pack(data), fragment)
								packed := p.expectMessage(z, kind, data)
								require.Equal(t, kind == opText && size >= 512, packed, p.name)
							}
						}
						// Not compressed is allowed at any time.
						p.sendFragments(opText, sample(5000), fragment)
						require.True(t, p.expectMessage(z, opText, sample(5000)))
						p.finish()
					}
				}
			})
	})
}

// noise can't be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewPCG(1, uint64(n))
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

// TestServerWindow: data that repeats only from further back than the window was agreed
// to be does not get smaller, so it is not compressed.
func TestServerWindow(t *testing.T) {
	t.Parallel()
	url := serve(t, "bare", New(&Options{MaxMessageSize: 1 << 20, Compression: &Compression{}}),
		&acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }})
	for bits := upgrade.MinBits; bits < upgrade.MaxBits; bits++ {
		p, answer := openOffering(t, url, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits))
		require.Contains(t, answer, fmt.Sprintf("server_max_window_bits=%d", bits))
		z := &packer{}
		for distance, want := range map[int]bool{1 << bits * 3 / 4: true, 1<<bits + 8: false} {
			data := bytes.Repeat(noise(distance), 2)
			if len(data) < defaultThreshold {
				data = append(data, noise(defaultThreshold-len(data))...)
			}
			p.name = fmt.Sprintf("window of %d bits, distance %d", bits, distance)
			p.send(fin|opBin, string(data))
			require.Equal(t, want, p.expectMessage(z, opBin, data), p.name)
		}
		p.nc.Close()
	}
}

// TestCompressedRules are the rules of section 6 and what ends a connection.
func TestCompressedRules(t *testing.T) {
	t.Parallel()
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	onBothCompressed(t, Options{MaxMessageSize: 64 << 10}, func(t *testing.T, open func(testing.TB) *peer) {
		z := &packer{}
		for _, c := range []struct {
			name   string
			code   int
			frames []rawFrame // op is the whole first byte
		}{
			{"bit on a continuation", 1002, []rawFrame{{op: packedBit | opText, payload: []byte(hello[:3])}, {op: fin | packedBit | opCont, payload: []byte(hello[3:])}}},
			{"bit on a continuation only", 1002, []rawFrame{{op: opText, payload: []byte("x")}, {op: fin | packedBit | opCont, payload: []byte(hello)}}},
			{"bit on a ping", 1002, []rawFrame{{op: fin | packedBit | opPing, payload: []byte(hello)}}},
			{"bit on a close frame", 1002, []rawFrame{{op: fin | packedBit | opClose}}},
			{"another reserved bit too", 1002, []rawFrame{{op: fin | packedBit | 0x20 | opText, payload: []byte(hello)}}},
			{"another reserved bit alone", 1002, []rawFrame{{op: fin | 0x10 | opText, payload: []byte("x")}}},
			{"bit on a reserved opcode", 1002, []rawFrame{{op: fin | packedBit | 3, payload: []byte(hello)}}},
			{"not DEFLATE", 1007, []rawFrame{{op: fin | packedBit | opText, payload: []byte("Hello")}}},
			{"reserved block type", 1007, []rawFrame{{op: fin | packedBit | opBin, payload: []byte("\x07\x00")}}},
			{"cut in a block", 1007, []rawFrame{{op: fin | packedBit | opBin, payload: z.pack(sample(1000))[:50]}}},
			{"corrupt in the first of many frames", 1007, []rawFrame{{op: packedBit | opBin, payload: []byte("\x07\x00")}}},
			{"distance before the beginning", 1007, []rawFrame{{op: fin | packedBit | opBin, payload: []byte("\xf2\x00\x11\x00\x00")}}},
			{"not UTF-8", 1007, []rawFrame{{op: fin | packedBit | opText, payload: z.pack([]byte("Hello \xff"))}}},
			{"cut in a rune", 1007, []rawFrame{{op: fin | packedBit | opText, payload: z.pack([]byte("Hello \xc3"))}}},
			{"final blocks without end", 1008, []rawFrame{{op: fin | packedBit | opBin, payload: bytes.Repeat([]byte("\x03\x00"), 5000)}}},
			{"over the limit by one byte", 1009, []rawFrame{{op: fin | packedBit | opBin, payload: z.pack(make([]byte, 64<<10+1))}}},
			{"over the limit on the wire", 1009, []rawFrame{{op: fin | packedBit | opBin, payload: make([]byte, 2*64<<10+1025)}}},
			{"over the limit without content", 1009, []rawFrame{
				{op: packedBit | opBin, payload: bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 20000)},
				{op: opCont, payload: bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 20000)}}},
		} {
			p := open(t)
			p.name = c.name
			var b []byte
			for _, f := range c.frames {
				b = append(b, frame(f.op, f.payload, p.client)...)
			}
			p.sendMay(b)
			p.expectFail(c.code)
		}

		p := open(t)
		p.name = "at the limit, with controls in between"
		data := sample(64 << 10)
		packed := z.pack(data)
		p.send(packedBit|opText, string(packed[:10]))
		p.send(fin|opPing, "1")
		p.expect(opPong, []byte("1"))
		p.send(opCont, "")
		p.send(fin|opPing, "2")
		p.expect(opPong, []byte("2"))
		p.send(opCont, string(packed[10:]))
		p.send(fin|opCont, "")
		p.expectMessage(z, opText, data)
		p.name = "cut between any two segments"
		for n := 1; n < 50; n++ {
			p.chopped(frame(fin|packedBit|opText, z.pack(sample(300)), p.client), n)
			p.expectMessage(z, opText, sample(300))
		}
		p.finish()
	})
}

// A server that was not asked, or asked for nothing that it has, knows no bit.
func TestNotAgreedOn(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"", "permessage-deflate; unknown"} {
		echoes := make(chan *patientEcho, 1)
		url := serve(t, "http", New(&Options{Compression: &Compression{Threshold: -1}}), &acceptor{open: func(c transport.Conn) transport.Receiver {
			e := newPatientEcho(c)
			echoes <- e
			return e
		}})
		p, answer := openOffering(t, url, offer)
		require.Empty(t, answer)
		p.packed = false
		p.echo = wait(t, echoes)
		p.send(fin|opText, string(sample(1000)))
		p.expect(opText, sample(1000))
		p.send(fin|packedBit|opText, "\xf2\x48\xcd\xc9\xc9\x07\x00")
		p.expectFail(1002)
	}
}
