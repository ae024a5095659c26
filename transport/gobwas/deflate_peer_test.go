package gobwas

import (
	"bufio"
	"bytes"
	"compress/flate" // not the one that the code uses
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// packer is a peer's own compression.
type packer struct {
	keepsOut, keepsIn bool // context takeover
	level             int
	w                 *flate.Writer
	buf               bytes.Buffer
	window            []byte
}

var tail = "\x00\x00\xff\xff"

func (z *packer) pack(data []byte) []byte {
	z.buf.Reset()
	if z.w == nil || !z.keepsOut {
		level := z.level
		if level == 0 {
			level = flate.BestCompression
		}
		z.w, _ = flate.NewWriter(&z.buf, level)
	}
	_, _ = z.w.Write(data)
	_ = z.w.Flush()
	return bytes.TrimSuffix(bytes.Clone(z.buf.Bytes()), []byte(tail))
}

func (z *packer) unpack(payload []byte) ([]byte, error) {
	r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail+"\x01"+tail)), z.window)
	data, err := io.ReadAll(r)
	if z.keepsIn {
		z.window = append(bytes.Clone(z.window), data...)
		z.window = z.window[max(0, len(z.window)-1<<15):]
	}
	return data, err
}

// openOffering connects to a server and offers; it returns the answer too.
func openOffering(t testing.TB, url, offer string) (*peer, string) {
	t.Helper()
	nc, err := net.Dial("tcp", hostOf(url))
	require.NoError(t, err)
	request := strings.TrimSuffix(upgradeRequest, "\r\n")
	if offer != "" {
		request += "Sec-WebSocket-Extensions: " + offer + "\r\n"
	}
	_, err = nc.Write([]byte(request + "\r\n"))
	require.NoError(t, err)
	p := newPeer(t, nc, bufio.NewReader(nc), true)
	resp, err := http.ReadResponse(p.br, nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 101, resp.StatusCode)
	require.LessOrEqual(t, len(resp.Header.Values("Sec-WebSocket-Extensions")), 1)
	p.packed = true
	return p, resp.Header.Get("Sec-WebSocket-Extensions")
}

// dialAnswered dials a server that answers an offer with that.
func dialAnswered(t testing.TB, tr *Transport, answer string, open func(transport.Conn) transport.Receiver) (p *peer, offer string, err error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		br := bufio.NewReader(nc)
		if r, err := http.ReadRequest(br); err == nil {
			offer = r.Header.Get("Sec-WebSocket-Extensions")
			fmt.Fprint(nc, strings.Replace(goodAnswer, "ACCEPT", acceptOf(r), 1))
			for line := range strings.SplitSeq(answer, "|") {
				if line != "" {
					fmt.Fprintf(nc, "Sec-WebSocket-Extensions: %s\r\n", line)
				}
			}
			fmt.Fprint(nc, "\r\n")
		}
		p = newPeer(t, nc, br, false)
		p.packed = true
	})
	_, err = tr.Dial(context.Background(), "ws://"+ln.Addr().String()+"/", nil, open)
	wg.Wait()
	return p, offer, err
}

// onBothCompressed runs f for a server and a dialer under test that echo and have
// agreed on compression.
func onBothCompressed(t *testing.T, opts Options, f func(t *testing.T, open func(t testing.TB) *peer)) {
	t.Helper()
	if opts.Compression == nil {
		opts.Compression = &Compression{}
	}
	if opts.PingInterval == 0 {
		opts.PingInterval = -1
	}
	tr := New(&opts)
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		echoes := make(chan *patientEcho, 1)
		url := serve(t, "bare", tr, &acceptor{open: func(c transport.Conn) transport.Receiver {
			e := newPatientEcho(c)
			echoes <- e
			return e
		}})
		f(t, func(t testing.TB) *peer {
			p, answer := openOffering(t, url, "permessage-deflate")
			require.Contains(t, answer, "permessage-deflate")
			p.echo = wait(t, echoes)
			return p
		})
	})
	t.Run("dialer", func(t *testing.T) {
		t.Parallel()
		f(t, func(t testing.TB) *peer {
			var e *patientEcho
			answer := tr.opts.Compression.offer()
			answer.ClientLimit = false
			p, _, err := dialAnswered(t, tr, answer.String(), func(c transport.Conn) transport.Receiver {
				e = newPatientEcho(c)
				return e
			})
			require.NoError(t, err)
			p.echo = e
			return p
		})
	})
}

// expectMessage reads one message and unpacks it.
func (p *peer) expectMessage(z *packer, op byte, want []byte) (packed bool) {
	p.t.Helper()
	f, err := p.next()
	require.NoError(p.t, err, p.name)
	require.Equal(p.t, op, f.op, "%s: payload %.80q", p.name, f.payload)
	got := f.payload
	if f.packed {
		got, err = z.unpack(f.payload)
		require.NoError(p.t, err, p.name)
		require.Less(p.t, len(f.payload), len(got), "%s: compressed only if it gets smaller", p.name)
	}
	if !bytes.Equal(want, got) {
		require.Fail(p.t, "message differs", "%s: want %d bytes, got %d", p.name, len(want), len(got))
	}
	return f.packed
}

// sendFragments writes a message in frames of n bytes; 0 means one frame.
func (p *peer) sendFragments(first byte, payload []byte, n int) {
	p.t.Helper()
	if n == 0 {
		n = max(len(payload), 1)
	}
	var b []byte
	for {
		m := min(n, len(payload))
		last := byte(0)
		if m == len(payload) {
			last = fin
		}
		b = append(b, frame(first|last, payload[:m], p.client)...)
		payload, first = payload[m:], opCont
		if last != 0 {
			break
		}
	}
	p.write(b)
}
