package gobwas

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/internal/wire"
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
	for z, kinds := range map[Compression][]string{
		{}:                        {"http", "bare", "bare-tls", "https-own"},
		{ContextTakeover: true}:   {"http", "bare", "bare-tls"},
		{Level: 9, Threshold: -1}: {"bare"},
		{Level: 6, Threshold: -1, ContextTakeover: true}: {"bare"},
	} {
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%+v/%s", z, kind), func(t *testing.T) {
				t.Parallel()
				tr := New(&Options{MaxMessageSize: 4 << 20, Compression: &z})
				url := serve(t, kind, tr, &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }})
				r := newRecorder()
				c := dial(t, tr, url, r)
				require.NotNil(t, c.(*conn).dec.deflate)
				require.Equal(t, z.ContextTakeover, c.(*conn).dec.windows != nil)
				for _, size := range []int{0, 1, 16, 511, 512, 1000, 1000, 16 << 10, 65500, 65536, 100_000, 1 << 20, 3000, 5} {
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

// TestIdleKeeps: between messages a connection has nothing of compression, and with context
// takeover two windows.
func TestIdleKeeps(t *testing.T) {
	t.Parallel()
	forBothContexts(t, func(t *testing.T, takeover bool) {
		onBothCompressed(t, Options{MaxMessageSize: 1 << 20, Compression: &Compression{ContextTakeover: takeover}}, func(t *testing.T, open func(testing.TB) *peer) {
			p := open(t)
			z := &packer{keepsOut: takeover, keepsIn: takeover}
			for range 3 {
				p.sendFragments(packedBit|opText, z.pack(sample(100_000)), 1000)
				require.True(t, p.expectMessage(z, opText, sample(100_000)))
			}
			p.finish() // so that the reader has ended
			d := &p.echo.c.(*conn).dec
			require.Nil(t, d.inf)
			require.Nil(t, d.msg)
			require.Equal(t, takeover, d.windows != nil)
			if takeover {
				require.Equal(t, 1<<upgrade.MaxBits, cap(d.windows.received.b))
				require.Equal(t, sentWindow, cap(d.windows.sent.b))
			}
		})
	})
}

// TestBombs: what inflates to a thousand times its size ends when the limit is
// reached, and takes memory for what came, not for what was announced.
func TestBombs(t *testing.T) { // alone, since it counts what is allocated
	const limit = 1 << 20
	bomb := (&packer{level: 1}).pack(make([]byte, 20<<20))
	require.Less(t, len(bomb), 100<<10)
	for _, fragment := range []int{0, 1, 100} {
		before := totalAlloc()
		for range 5 {
			d := parser{limit: limit, state: ws.StateServerSide, deflate: newAgreement(&Compression{}, 0, false, false)}
			err := feedFragments(&d, bomb, fragment)
			require.Equal(t, duplex.ErrTooBig, err)
			require.LessOrEqual(t, cap(d.msg), limit)
			require.Nil(t, d.inf, "the inflater is given back")
			d.drop()
		}
		// Pieces up to the limit, each twice as large as the one before; five bombs have
		// a hundred times the limit.
		require.Less(t, totalAlloc()-before, uint64(30*limit), "fragments of %d", fragment)
	}
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// feedFragments gives the parser a compressed message in frames of n bytes, 0 for one
// frame, and returns the first error.
func feedFragments(d *parser, payload []byte, n int) error {
	if n == 0 {
		n = len(payload)
	}
	first := byte(packedBit | opBin)
	for len(payload) > 0 {
		m := min(n, len(payload))
		if m == len(payload) {
			first |= fin
		}
		_, _, err := d.next(frame(first, payload[:m], true))
		if err != nil {
			return err
		}
		first, payload = opCont, payload[m:]
	}
	return nil
}

// TestInflaterForgets: a block whose distances have no code is corrupt, whatever another
// connection's message has left in the tables of the inflater.
func TestInflaterForgets(t *testing.T) {
	// 200 literals and a match; with the codes of the sample it is a message.
	stale := append([]byte("\x0d\xc0\x01\x09\x00\x00\x00\x80\xa0\xad\xfe\x3f\x51"), make([]byte, 25)...)
	stale = append(stale, "\xfc\x02\x1b\x00\x00\x00\x00"...)
	inflate := func(payload []byte) (parser, error) {
		d := parser{limit: 1 << 20, state: ws.StateServerSide, deflate: newAgreement(&Compression{}, 0, false, false)}
		err := feedFragments(&d, payload, 0)
		return d, err
	}
	for range 10 { // the pool may hand out another one
		_, err := inflate((&packer{}).pack(sample(3000)))
		require.NoError(t, err)
		d, err := inflate(stale)
		require.Equal(t, errCorrupt, err)
		require.Len(t, d.msg, 200)
	}
}

// TestManyFinals: the window is put together for each final block, in the same memory.
func TestManyFinals(t *testing.T) { // alone, since it counts what is allocated
	payload := append([]byte("\x4b\x04\x00"), bytes.Repeat([]byte("\x03\x00"), 200)...)
	before := totalAlloc()
	for range 10 {
		d := parser{limit: 1 << 20, state: ws.StateServerSide, deflate: newAgreement(&Compression{}, 0, false, true)}
		d.windows = &windows{received: window{b: noise(1 << upgrade.MaxBits), size: 1 << upgrade.MaxBits}}
		require.NoError(t, feedFragments(&d, payload, 0))
		require.Equal(t, "a", string(d.msg))
	}
	require.Less(t, totalAlloc()-before, uint64(5<<20), "bytes for %d on the wire", 10*len(payload))
}

// Without a limit a message may be as large as it is.
func TestCompressedUnlimited(t *testing.T) {
	t.Parallel()
	d := parser{limit: New(&Options{MaxMessageSize: -1}).limit(), state: ws.StateServerSide, deflate: newAgreement(&Compression{}, 0, false, false)}
	require.NoError(t, feedFragments(&d, (&packer{}).pack(make([]byte, 2<<20)), 1000))
	require.Len(t, d.msg, 2<<20)
}

func (t *Transport) limit() int64 { return int64(t.limits.MaxMessageSize) }

// A connection that ends in the middle of a compressed message leaves nothing behind;
// TestMain looks for the coroutine.
func TestEndInsideCompressedMessage(t *testing.T) {
	t.Parallel()
	onBothCompressed(t, Options{}, func(t *testing.T, open func(testing.TB) *peer) {
		packed := (&packer{}).pack(sample(2000))
		p := open(t)
		p.send(packedBit|opText, string(packed[:100]))
		p.send(fin|opPing, "")
		p.expect(opPong, nil) // so that it was read
		p.nc.Close()
		require.Error(t, wait(t, p.echo.closed))

		p = open(t)
		p.send(packedBit|opText, string(packed[:100]))
		p.send(fin|opClose, "\x03\xe8")
		p.expectClose(1000)
		p.nc.Close()
		require.Error(t, wait(t, p.echo.closed))
	})
}

// TestSharedCompressed: a publication is compressed once for all that agreed on the same,
// and goes to each of them as it can read it.
func TestSharedCompressed(t *testing.T) {
	t.Parallel()
	conns := make(chan transport.Conn, 1)
	url := serve(t, "bare", New(&Options{Compression: &Compression{ContextTakeover: true}}),
		&acceptor{open: func(c transport.Conn) transport.Receiver {
			conns <- c
			return newRecorder()
		}})
	open := func(offer string) (*peer, *conn) {
		p, _ := openOffering(t, url, offer)
		return p, wait(t, conns).(*conn)
	}
	var peers []*peer
	var ends []*conn
	var packers []*packer
	for _, offer := range []string{"", "permessage-deflate", "permessage-deflate; server_no_context_takeover",
		"permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover; server_max_window_bits=9"} {
		p, c := open(offer)
		p.name = offer
		peers, ends = append(peers, p), append(ends, c)
		packers = append(packers, &packer{keepsIn: offer == "permessage-deflate"})
	}
	for _, size := range []int{100, 1000, 60 << 10, 200 << 10} {
		for _, data := range [][]byte{sample(size), noise(size)} {
			for _, head := range []string{"", "head "} {
				s := transport.NewShared(transport.MessageBinary, data)
				for i, c := range ends {
					done := make(chan struct{})
					go func() {
						defer close(done)
						want := head + string(data)
						packed := peers[i].expectMessage(packers[i], opBin, []byte(want))
						if wants := i > 0 && size >= 512 && want[len(head)] == '{'; wants != packed {
							t.Errorf("%s: packed=%t, %d bytes %.20q", peers[i].name, packed, size, want)
						}
					}()
					writeBatch(t, c, s.Message([]byte(head)))
					wait(t, done)
				}
				forms := s.Form(deflaterKind(1), func(any, transport.MessageType, []byte) any { return "none" })
				switch {
				case head != "" || size < 512:
					require.Equal(t, "none", forms)
				case data[0] == '{':
					require.IsType(t, []byte(nil), forms)
					c := ends[2]
					c.BeginWrite()
					a := c.packedForm(&transport.Message{Type: transport.MessageBinary, Data: data, Shared: s})
					c.EndWrite()
					require.Same(t, &a[0], &forms.([]byte)[0], "encoded once")
				default:
					require.Nil(t, forms)
				}
			}
		}
	}
	for _, p := range peers {
		p.nc.Close()
	}
}

// TestSharedWindows: however many windows peers ask for, what they share has two compressed forms.
func TestSharedWindows(t *testing.T) {
	t.Parallel()
	data := sample(1000)
	s := transport.NewShared(transport.MessageText, data)
	m := s.Message(nil)
	var forms [][]byte
	for bits := upgrade.MinBits; bits <= upgrade.MaxBits; bits++ {
		c := &conn{}
		c.dec.deflate = newAgreement((&Compression{}).withDefaults(), bits, false, false)
		form := c.form(&m)
		require.Same(t, &form[0], &c.form(&m)[0], "encoded once for windows of %d bits", bits)
		if len(forms) == 0 || &forms[len(forms)-1][0] != &form[0] {
			forms = append(forms, form)
		}
	}
	require.Len(t, forms, 2)
	plain := new(conn).form(&m)
	require.Same(t, &plain[0], &new(conn).form(&m)[0], "the form that is not compressed has room too")
}

// TestCloseWhileCompressing: a message that Close came before is not taken.
func TestCloseWhileCompressing(t *testing.T) {
	t.Parallel()
	conns := make(chan transport.Conn, 1)
	url := serve(t, "bare", New(&Options{Compression: &Compression{}}), &acceptor{open: func(c transport.Conn) transport.Receiver {
		conns <- c
		return newRecorder()
	}})
	p, _ := openOffering(t, url, "permessage-deflate")
	c := wait(t, conns).(*conn)
	s := transport.NewShared(transport.MessageBinary, sample(200<<10))
	busy, release := make(chan struct{}), make(chan struct{})
	go s.Form("slow", func(any, transport.MessageType, []byte) any {
		close(busy)
		<-release
		return nil
	})
	wait(t, busy)
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	go func() {
		n, err := c.Write([]transport.Message{s.Message(nil)})
		written <- result{n, err}
	}()
	settle(t, func() bool { return strings.Contains(stacks(), "(*conn).packLarge(") }, "it compresses")
	require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
	close(release)
	got := wait(t, written)
	require.ErrorIs(t, got.err, net.ErrClosed)
	require.Zero(t, got.n)
	p.expectClose(1000)
	p.nc.Close()
}

// writeBatch writes to a connection whose Writable is not looked at.
func writeBatch(t testing.TB, c transport.Conn, batch ...transport.Message) {
	t.Helper()
	for len(batch) > 0 {
		n, err := c.Write(batch)
		require.NoError(t, err)
		batch = batch[n:]
		runtime.Gosched()
	}
}

// TestTakeoverSavesMore: with context takeover what was sent before need not be sent
// again, also if the messages come in batches and the peer makes them wait.
func TestTakeoverSavesMore(t *testing.T) {
	t.Parallel()
	sizes := map[bool]int{}
	for _, takeover := range []bool{false, true} {
		conns := make(chan transport.Conn, 1)
		r := newRecorder()
		url := serve(t, "bare", New(&Options{Compression: &Compression{ContextTakeover: takeover}, NotSentLowat: 1}),
			&acceptor{open: func(c transport.Conn) transport.Receiver { conns <- c; return r }})
		p, _ := openOffering(t, url, "permessage-deflate")
		require.NoError(t, p.nc.(*net.TCPConn).SetReadBuffer(4096))
		c := wait(t, conns)
		const messages = 1000
		like := sample(700)
		want := func(i int) []byte { return append(noise(200+i%50), like...) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			var batch []transport.Message
			for i := range messages {
				if batch = append(batch, transport.Message{Type: transport.MessageBinary, Data: want(i)}); len(batch) < 100 {
					continue
				}
				for len(batch) > 0 {
					n, err := c.Write(batch)
					if err != nil {
						t.Error(err)
						return
					}
					if batch = batch[n:]; len(batch) > 0 {
						select {
						case <-r.writable:
						case <-t.Context().Done():
							return
						}
					}
				}
				batch = nil
			}
		}()
		z := &packer{keepsIn: takeover}
		for i := range messages {
			f, err := p.next()
			require.NoError(t, err)
			require.True(t, f.packed)
			sizes[takeover] += len(f.payload)
			got, err := z.unpack(f.payload)
			require.NoError(t, err)
			require.Equal(t, string(want(i)), string(got))
		}
		wait(t, done)
		p.nc.Close()
	}
	require.Less(t, sizes[true]*4, sizes[false]*3)
}

// What a message refers to is what was taken, not what was tried.
func TestTakeoverAfterRefusal(t *testing.T) {
	t.Parallel()
	var w windows
	w.sent.size = 100
	m := transport.Message{Head: []byte("head"), Data: []byte("data")}
	w.deflated = true
	w.taken(nil)
	require.Empty(t, w.sent.b)
	w.taken([]transport.Message{m})
	require.Empty(t, w.sent.b, "it was not compressed")
	w.deflated = true
	w.taken([]transport.Message{m})
	require.Equal(t, "headdata", string(w.sent.b))
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 7, 100, 1 << 15} {
		w, all := window{size: size}, []byte(nil)
		for i := range 300 {
			p := noise(i * 5)
			w.add(p)
			all = append(all, p...)
			require.True(t, bytes.Equal(all[max(0, len(all)-size):], w.b))
			require.LessOrEqual(t, cap(w.b), size)
		}
	}
}

func TestCompressionOptions(t *testing.T) {
	t.Parallel()
	z := &Compression{}
	tr := New(&Options{Compression: z})
	require.Equal(t, &Compression{Level: 1, Threshold: 512}, tr.opts.Compression)
	require.Equal(t, &Compression{}, z, "options are copied")
	require.Zero(t, New(&Options{Compression: &Compression{Threshold: -1}}).opts.Compression.Threshold)
	for _, level := range []int{-3, 10} {
		require.PanicsWithValue(t, fmt.Sprintf("gobwas: Compression.Level is %d, want -2 to 9", level), func() {
			New(&Options{Compression: &Compression{Level: level}})
		})
	}
	for level := -2; level <= 9; level++ {
		for _, before := range [][]byte{nil, sample(8000)} {
			k := newAgreement((&Compression{Level: level}).withDefaults(), 0, false, false).kind
			packed := k.deflate(sample(100), sample(5000), before)
			require.NotNil(t, packed)
			got, err := (&packer{window: before}).unpack(packed)
			require.NoError(t, err)
			require.Equal(t, string(sample(100))+string(sample(5000)), string(got))
		}
	}
	require.Nil(t, deflaterKind(1).deflate(nil, noise(1000), nil))
}

// compressedEcho is a raw client that sends a compressed message again and again to
// an echo; the echo's answer has the same length each time.
func compressedEcho(t testing.TB, z Compression, size int) (echo func()) {
	url := serve(t, "bare", New(&Options{MaxMessageSize: 1 << 20, Compression: &z, PingInterval: -1}),
		&acceptor{open: func(c transport.Conn) transport.Receiver { return &allocEcho{c: c} }})
	nc, err := net.Dial("tcp", hostOf(url))
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	_, err = nc.Write([]byte(strings.TrimSuffix(upgradeRequest, "\r\n") + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
	require.NoError(t, err)
	br := bufio.NewReaderSize(nc, 1<<10)
	resp, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Zero(t, br.Buffered())
	out := frame(fin|packedBit|opText, (&packer{level: 1}).pack(sample(size)), true)
	in, skipped := make([]byte, 4), make([]byte, 4<<10)
	return func() {
		_, _ = nc.Write(out)
		_, _ = io.ReadFull(nc, in[:2])
		n := int64(in[1])
		if n == 126 {
			_, _ = io.ReadFull(nc, in[2:4])
			n = int64(in[2])<<8 | int64(in[3])
		}
		for n > 0 {
			m, err := nc.Read(skipped[:min(n, 4<<10)])
			if err != nil {
				return
			}
			n -= int64(m)
		}
	}
}

// TestCompressedAllocs: a compressed echo allocates nothing either, once the pools are
// warm.
func TestCompressedAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself")
	}
	for _, takeover := range []bool{false, true} {
		for _, size := range []int{1 << 10, 16 << 10, 100 << 10} {
			echo := compressedEcho(t, Compression{ContextTakeover: takeover}, size)
			for range 100 {
				echo()
			}
			best := testing.AllocsPerRun(200, echo)
			for range 4 {
				best = min(best, testing.AllocsPerRun(200, echo))
			}
			require.Zero(t, best, "takeover=%t, %d bytes", takeover, size)
		}
	}
}

// BenchmarkCompressedEcho measures a server's inflating and compressing of one message, with
// a client that does nothing but send and skip.
func BenchmarkCompressedEcho(b *testing.B) {
	for _, takeover := range []bool{false, true} {
		for _, size := range []int{1 << 10, 16 << 10} {
			b.Run(fmt.Sprintf("takeover=%t/%d", takeover, size), func(b *testing.B) {
				echo := compressedEcho(b, Compression{ContextTakeover: takeover}, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					echo()
				}
			})
		}
	}
}

// BenchmarkDeflate is compressing alone, BenchmarkInflate reading a frame alone.
func BenchmarkDeflate(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		for _, before := range []int{0, sentWindow} {
			b.Run(fmt.Sprintf("%d/window=%d", size, before), func(b *testing.B) {
				data, window := sample(size), sample(2 * sentWindow)[sentWindow:sentWindow+before]
				if before == 0 {
					window = nil
				}
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					wire.PutPiece(deflaterKind(1).deflate(nil, data, window))
				}
			})
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		for _, fragments := range []int{1, 4} {
			b.Run(fmt.Sprintf("%d/fragments=%d", size, fragments), func(b *testing.B) {
				d := parser{limit: 1 << 20, state: ws.StateClientSide, deflate: newAgreement(&Compression{}, 0, false, false)}
				packed := (&packer{level: 1}).pack(sample(size))
				var frames [][]byte
				first := byte(packedBit | opText)
				for i := range fragments {
					p := packed[i*len(packed)/fragments : (i+1)*len(packed)/fragments]
					if i == fragments-1 {
						first |= fin
					}
					frames = append(frames, frame(first, p, false))
					first = opCont
				}
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					for _, f := range frames {
						if _, _, err := d.next(f); err != nil {
							b.Fatal(err)
						}
					}
					d.release()
				}
			})
		}
	}
}
