package gorilla

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

const rsv1 = 0x40

// TestOffers is the table of the package's documentation.
func TestOffers(t *testing.T) {
	t.Parallel()
	cases := map[string]bool{
		"":                   false,
		"permessage-deflate": true,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover": true,
		"permessage-deflate; client_max_window_bits":                                 true,
		"permessage-deflate;client_max_window_bits=15":                               true,
		"permessage-deflate ; client_max_window_bits = \"8\" ":                       true,
		"permessage-deflate; client_max_window_bits=7":                               false,
		"permessage-deflate; client_max_window_bits=16":                              false,
		"permessage-deflate; client_max_window_bits=010":                             false,
		"permessage-deflate; client_max_window_bits=":                                false,
		"permessage-deflate; server_max_window_bits=15":                              false,
		"permessage-deflate; server_max_window_bits=8":                               false,
		"permessage-deflate; server_max_window_bits":                                 false,
		"permessage-deflate; server_no_context_takeover=1":                           false,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": false,
		"permessage-deflate; unknown":                                                false,
		"permessage-deflate; server_max_window_bits=10, permessage-deflate":          true,
		"x-webkit-deflate-frame":                                                     false,
		"x-other; a=b, permessage-deflate":                                           true,
		"permessage-deflate;":                                                        false,
		"permessage-deflate, ":                                                       true,
		", permessage-deflate":                                                       true,
		"permessage-deflate; client_max_window_bits=\"8":                             false,
		"permessage-deflate permessage-deflate":                                      false,
		strings.Repeat("x, ", 100) + "permessage-deflate":                            true,
	}
	echo := &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }}
	on := serve(t, "http", New(&Options{Compression: &Compression{}}), echo)
	off := serve(t, "http", New(nil), echo)
	for offer, ok := range cases {
		r := request("", "Sec-WebSocket-Extensions: "+offer)
		resp, _ := answerTo(t, on, r)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode, offer)
		want := []string(nil)
		if ok {
			want = []string{deflateAnswer}
		}
		require.Equal(t, want, resp.Header["Sec-Websocket-Extensions"], offer)
		resp, _ = answerTo(t, off, r)
		require.Empty(t, resp.Header["Sec-Websocket-Extensions"], offer)
	}
	// Offers may come in several lines.
	resp, _ := answerTo(t, on, request("", "Sec-WebSocket-Extensions: x-other\r\nSec-WebSocket-Extensions: permessage-deflate"))
	require.Equal(t, deflateAnswer, resp.Header.Get("Sec-WebSocket-Extensions"))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	for answer, ok := range map[string]bool{
		deflateAnswer: true,
		"permessage-deflate; client_no_context_takeover; server_no_context_takeover; server_max_window_bits=10": true,
		"permessage-deflate":                              false,
		"permessage-deflate; server_no_context_takeover":  false,
		deflateAnswer + "; client_max_window_bits=10":     false,
		deflateAnswer + "; server_max_window_bits":        false,
		deflateAnswer + "; server_max_window_bits=7":      false,
		deflateAnswer + "; unknown":                       false,
		deflateAnswer + "; server_no_context_takeover":    false,
		deflateAnswer + ", permessage-deflate":            false,
		deflateAnswer + ", x":                             false,
		deflateAnswer + "\r\nSec-WebSocket-Extensions: x": false,
		"x":                 false,
		"x, permessage":     false,
		"permessage-deflat": false,
	} {
		offer := make(chan string, 1)
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if err != nil {
				return
			}
			offer <- r.Header.Get("Sec-WebSocket-Extensions")
			fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"+
				"Sec-WebSocket-Extensions: %s\r\n\r\n", acceptOf(r), answer)
		}()
		r := newRecorder()
		_, err := New(&Options{Compression: &Compression{}}).Dial(context.Background(), "ws://"+ln.Addr().String(), nil,
			func(transport.Conn) transport.Receiver { return r })
		require.Equal(t, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", wait(t, offer))
		if ok {
			require.NoError(t, err, answer)
			wait(t, r.closed)
		} else {
			require.Error(t, err, answer)
		}
	}
}

// TestCompressed: messages of all sizes, whole and in fragments, with pings between,
// and who is not over the threshold is not compressed.
func TestCompressed(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{MaxMessageSize: 4 << 20, Compression: &Compression{Threshold: 100}}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		for _, size := range []int{0, 1, 99, 100, 101, 4096, 65536, 1 << 20} {
			for op, data := range map[byte][]byte{opText: pattern(size), opBin: noise(size)} {
				z := deflate(t, data)
				exchange(p, frame(fin|rsv1|op, z, p.client), op, data)
				exchange(p, frame(fin|op, data, p.client), op, data) // not compressed
				parts := fragments(rsv1|op, z, max(len(z)/7, 1), p.client)
				exchange(p, parts, op, data)
			}
		}
		z := deflate(t, []byte("in parts"))
		for cut := range z {
			p.send(rsv1|opText, string(z[:cut]))
			p.send(fin|opPing, "between")
			p.send(fin|opCont, string(z[cut:]))
			p.expect(opPong, []byte("between"))
			p.expect(opText, []byte("in parts"))
		}
		p.send(fin|opText, string(pattern(99)))
		f, err := p.nextFrame()
		require.NoError(t, err)
		require.Equal(t, fin|opText, f.op, "below the threshold")
		p.send(fin|opText, string(pattern(100)))
		f, err = p.nextFrame()
		require.NoError(t, err)
		require.Equal(t, fin|rsv1|opText, f.op, "at the threshold")
		require.Less(t, len(f.payload), 80)
		p.finish()
	})
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func TestCompressedBroken(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	zeros := func(n int) []byte { return deflate(t, make([]byte, n)) }
	endless := bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 100_000) // empty blocks: nothing comes of them
	onBothSides(t, &Options{MaxMessageSize: limit, Compression: &Compression{}}, func(t *testing.T, open func(testing.TB) *peer) {
		for name, c := range map[string]struct {
			frames raw
			code   int
		}{
			"bomb":                     {whole(fin|rsv1|opBin, string(zeros(60<<20))), 1009},
			"bomb in an endless frame": {func(m bool) []byte { return frame(rsv1|opBin, zeros(10<<20), m) }, 1009},
			"bomb in fragments":        {func(m bool) []byte { return fragments(rsv1|opText, zeros(10<<20), 100, m) }, 1009},
			"one byte over":            {whole(fin|rsv1|opBin, string(zeros(limit+1))), 1009},
			"empty blocks":             {func(m bool) []byte { return fragments(rsv1|opBin, endless, 1000, m) }, 1009},
			"garbage":                  {whole(fin|rsv1|opBin, "\xff\xff\xff\xff"), 1007},
			"cut":                      {whole(fin|rsv1|opBin, string(deflate(t, noise(1000))[:500])), 1007},
			"not UTF-8":                {whole(fin|rsv1|opText, string(deflate(t, []byte("ok\xff")))), 1007},
			"UTF-8 that is cut":        {whole(fin|rsv1|opText, string(deflate(t, []byte("ok\xe2\x82")))), 1007},
			"not UTF-8, unfinished":    {func(m bool) []byte { return frame(rsv1|opText, deflate(t, bytes.Repeat([]byte{0xff}, 70_000)), m) }, 1007},
			"RSV1 on a ping":           {whole(fin|rsv1|opPing, "x"), 1002},
			"RSV1 on a close":          {whole(fin|rsv1|opClose, "\x03\xe8"), 1002},
			"RSV1 on a continuation":   {func(m bool) []byte { return append(frame(opText, nil, m), frame(fin|rsv1|opCont, nil, m)...) }, 1002},
			"RSV2":                     {whole(fin|0x20|opText, "x"), 1002},
			"opcode":                   {whole(fin|rsv1|3, "x"), 1002},
		} {
			p := open(t)
			p.name = name
			p.sendMay(c.frames(p.client))
			p.expectFail(c.code)
		}
		// Exactly the limit is good, even where it grows by compressing.
		p := open(t)
		exchange(p, frame(fin|rsv1|opBin, zeros(limit), p.client), opBin, make([]byte, limit))
		exchange(p, frame(fin|rsv1|opBin, deflate(t, noise(limit)), p.client), opBin, noise(limit))
		// A close in the middle of a compressed message is a close.
		p.sendMay(frame(rsv1|opText, deflate(t, pattern(1000))[:10], p.client))
		p.finish()
		// A lost connection is no broken rule.
		p = open(t)
		p.sendMay(frame(rsv1|opText, deflate(t, pattern(1000))[:10], p.client))
		p.nc.Close()
		err := wait(t, p.echo.closed)
		var end *transport.EndError
		require.ErrorAs(t, err, &end)
		require.Equal(t, transport.StatusAbnormalClosure, end.Code)
	})
}

// TestBombMemory: a bomb costs memory by the limit, not by what it inflates to.
func TestBombMemory(t *testing.T) {
	opts := &Options{MaxMessageSize: 64 << 10, Compression: &Compression{}}
	open := serverSide(t, New(opts))
	bomb := frame(fin|rsv1|opBin, deflate(t, make([]byte, 100<<20)), true)
	require.Less(t, len(bomb), 1<<20)
	send := func() {
		p := open(t)
		p.sendMay(bomb)
		p.expectFail(1009)
	}
	send()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send()
	runtime.ReadMemStats(&after)
	spent := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes on the wire, %d bytes allocated", len(bomb), spent)
	require.Less(t, spent, uint64(4<<20))
}

// TestSharedCompressed: connections with compression and without, and with another
// level, share one publication.
func TestSharedCompressed(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 1000, 20_000, 200_000} {
		shared := transport.NewShared(transport.MessageText, pattern(size))
		incompressible := transport.NewShared(transport.MessageBinary, noise(size))
		for _, z := range []*Compression{nil, {}, {Level: 9}, {Threshold: -1}} {
			url := serve(t, "http", New(&Options{Compression: z}), &acceptor{open: func(c transport.Conn) transport.Receiver {
				r := newRecorder()
				go writeAll(c, r, shared.Message(nil), incompressible.Message(nil), shared.Message([]byte("head ")))
				return r
			}})
			for _, client := range []*Compression{nil, {}} {
				r := newRecorder()
				c := dial(t, New(&Options{MaxMessageSize: -1, Compression: client}), url, r)
				require.Equal(t, string(pattern(size)), string(wait(t, r.got).Data))
				require.Equal(t, string(noise(size)), string(wait(t, r.got).Data))
				require.Equal(t, "head "+string(pattern(size)), string(wait(t, r.got).Data))
				require.NoError(t, c.Close(1000, ""))
				wait(t, r.closed)
			}
		}
	}
}

// writeAll writes as there is room.
func writeAll(c transport.Conn, r *recorder, batch ...transport.Message) {
	for len(batch) > 0 {
		n, err := c.Write(batch)
		if err != nil {
			return
		}
		if batch = batch[n:]; len(batch) > 0 {
			<-r.writable
		}
	}
}

func TestCompressionOptions(t *testing.T) {
	t.Parallel()
	for _, level := range []int{-3, 10} {
		require.PanicsWithValue(t, fmt.Sprintf("gorilla: Compression.Level is %d, want -2 to 9", level),
			func() { New(&Options{Compression: &Compression{Level: level}}) })
	}
	z := &Compression{}
	tr := New(&Options{Compression: z})
	require.Equal(t, Compression{}, *z, "the caller's stays as it is")
	require.Equal(t, Compression{Level: 1, Threshold: 512}, *tr.opts.Compression)
	require.Equal(t, Compression{Level: -1, Threshold: 0}, *New(&Options{Compression: &Compression{Level: -1, Threshold: -5}}).opts.Compression)
}

// TestSlowInflate: a message that inflates as its parts come is judged as they come.
func TestSlowInflate(t *testing.T) {
	t.Parallel()
	onBothSides(t, &Options{Compression: &Compression{}}, func(t *testing.T, open func(testing.TB) *peer) {
		p := open(t)
		z := deflate(t, pattern(50_000))
		p.chopped(fragments(rsv1|opText, z, 3, p.client), 5)
		p.expect(opText, pattern(50_000))
		p.finish()
	})
}
