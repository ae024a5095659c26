package gobwas

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the protocol's hash
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// Opcodes, as numbers on purpose: the tests share no table with the code.
const (
	opCont, opText, opBin        = 0, 1, 2
	opClose, opPing, opPong      = 8, 9, 10
	fin                     byte = 0x80
)

// patientEcho sends back what comes and waits inside Receive for room.
type patientEcho struct {
	c        transport.Conn
	writable chan struct{}
	closed   chan error
}

func newPatientEcho(c transport.Conn) *patientEcho {
	return &patientEcho{c: c, writable: make(chan struct{}, 16), closed: make(chan error, 1)}
}

func (e *patientEcho) Receive(m transport.Message) {
	for {
		n, err := e.c.Write([]transport.Message{m})
		if n == 1 || err != nil {
			return
		}
		select {
		case <-e.writable:
		case <-time.After(20 * time.Second):
			return
		}
	}
}
func (e *patientEcho) Writable()        { e.writable <- struct{}{} }
func (e *patientEcho) Closed(err error) { e.closed <- err }

// peer is the other end of a connection whose near end echoes: it writes bytes and
// reads strictly.
type peer struct {
	t      testing.TB
	nc     net.Conn
	br     *bufio.Reader
	client bool // the peer is the client, so it masks and is not masked to
	echo   *patientEcho
	name   string // of the case, for messages
	packed bool   // messages may be compressed
}

// onBothSides runs f for a server under test and for a dialer under test. open makes
// a connection; it is not for use by many goroutines at once.
func onBothSides(t *testing.T, opts *Options, f func(t *testing.T, open func(t testing.TB) *peer)) {
	t.Helper()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		f(t, serverSide(t, New(opts)))
	})
	t.Run("dialer", func(t *testing.T) {
		t.Parallel()
		f(t, dialerSide(t, New(opts)))
	})
}

func serverSide(t testing.TB, tr *Transport) func(t testing.TB) *peer {
	opened := make(chan *patientEcho, 1)
	url := serve(t, "bare", tr, &acceptor{open: func(c transport.Conn) transport.Receiver {
		e := newPatientEcho(c)
		opened <- e
		return e
	}})
	host := hostOf(url)
	var mu sync.Mutex
	return func(t testing.TB) *peer {
		mu.Lock()
		defer mu.Unlock()
		nc, err := net.Dial("tcp", host)
		require.NoError(t, err)
		_, err = nc.Write([]byte(upgradeRequest))
		require.NoError(t, err)
		p := newPeer(t, nc, bufio.NewReader(nc), true)
		resp, err := http.ReadResponse(p.br, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		// The pair of key and answer is the example of section 1.3.
		require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
		p.echo = wait(t, opened)
		return p
	}
}

func dialerSide(t testing.TB, tr *Transport) func(t testing.TB) *peer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	var mu sync.Mutex
	return func(t testing.TB) *peer {
		mu.Lock()
		defer mu.Unlock()
		peers := make(chan *peer, 1)
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				close(peers)
				return
			}
			peers <- acceptRaw(t, nc)
		}()
		var e *patientEcho
		_, err := tr.Dial(context.Background(), "ws://"+ln.Addr().String()+"/", nil, func(c transport.Conn) transport.Receiver {
			e = newPatientEcho(c)
			return e
		})
		require.NoError(t, err)
		p := wait(t, peers)
		p.echo = e
		return p
	}
}

// acceptRaw answers an opening handshake.
func acceptRaw(t testing.TB, nc net.Conn) *peer {
	br := bufio.NewReader(nc)
	if r, err := http.ReadRequest(br); err == nil {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(sum[:]))
	}
	return newPeer(t, nc, br, false)
}

func newPeer(t testing.TB, nc net.Conn, br *bufio.Reader, client bool) *peer {
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc, br: br, client: client}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	_, err := p.nc.Write(b)
	require.NoError(p.t, err, p.name)
}

// send writes one frame: first is the byte with the FIN bit, the reserved bits and
// the opcode.
func (p *peer) send(first byte, payload string) {
	p.t.Helper()
	p.write(frame(first, []byte(payload), p.client))
}

// sendMay writes what the other side may have stopped to take.
func (p *peer) sendMay(b []byte) { _, _ = p.nc.Write(b) }

// chopped writes b in pieces of n bytes, each a segment of its own; 0 means whole.
func (p *peer) chopped(b []byte, n int) {
	p.t.Helper()
	if n == 0 {
		n = max(len(b), 1)
	}
	for len(b) > 0 {
		m := min(n, len(b))
		p.write(b[:m])
		b = b[m:]
	}
}

type rawFrame struct {
	op      byte
	payload []byte
	packed  bool
}

// next reads one frame and holds it to every rule of section 5.2. What the code
// sends is never fragmented.
func (p *peer) next() (rawFrame, error) {
	var h [10]byte
	if _, err := io.ReadFull(p.br, h[:2]); err != nil {
		return rawFrame{}, err
	}
	op := h[0] & 0x0f
	packed := p.packed && op < 8 && h[0]&0x40 != 0
	if packed {
		h[0] &^= 0x40
	}
	require.Equal(p.t, fin, h[0]&0xf0, "FIN set, reserved bits clear")
	require.Contains(p.t, []byte{opText, opBin, opClose, opPing, opPong}, op)
	require.Equal(p.t, !p.client, h[1]&0x80 != 0, "a client masks, a server does not")
	n := uint64(h[1] & 0x7f)
	switch n {
	case 126:
		_, err := io.ReadFull(p.br, h[:2])
		require.NoError(p.t, err, p.name)
		n = uint64(binary.BigEndian.Uint16(h[:]))
		require.GreaterOrEqual(p.t, n, uint64(126), "shortest form")
	case 127:
		_, err := io.ReadFull(p.br, h[:8])
		require.NoError(p.t, err, p.name)
		n = binary.BigEndian.Uint64(h[:])
		require.Greater(p.t, n, uint64(65535), "shortest form")
	}
	if op >= 8 {
		require.LessOrEqual(p.t, n, uint64(125), "control frame")
	}
	var mask [4]byte
	if !p.client {
		_, err := io.ReadFull(p.br, mask[:])
		require.NoError(p.t, err, p.name)
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(p.br, payload)
	require.NoError(p.t, err, p.name)
	if !p.client {
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
	}
	if op == opText && !packed {
		require.True(p.t, utf8.Valid(payload))
	}
	return rawFrame{op, payload, packed}, nil
}

// expect reads one frame of that opcode and payload.
func (p *peer) expect(op byte, payload []byte) {
	p.t.Helper()
	f, err := p.next()
	require.NoError(p.t, err, p.name)
	require.Equal(p.t, op, f.op, "%s: payload %.80q", p.name, f.payload)
	if !bytes.Equal(payload, f.payload) {
		require.Fail(p.t, "payload differs", p.name+": want %d bytes %.80q, got %d bytes %.80q", len(payload), payload, len(f.payload), f.payload)
	}
}

// expectClose reads the close frame, the next one that comes.
func (p *peer) expectClose(code int) {
	p.t.Helper()
	f, err := p.next()
	require.NoError(p.t, err, p.name)
	require.Equal(p.t, byte(opClose), f.op, "%s: payload %.80q", p.name, f.payload)
	if code == 1005 {
		require.Empty(p.t, f.payload)
		return
	}
	require.GreaterOrEqual(p.t, len(f.payload), 2)
	require.Equal(p.t, code, int(binary.BigEndian.Uint16(f.payload)), "%s: reason %q", p.name, f.payload[2:])
	require.True(p.t, utf8.Valid(f.payload[2:]))
}

// expectEnd says that nothing more comes and the other side has closed its half.
func (p *peer) expectEnd() {
	p.t.Helper()
	b, err := p.br.ReadByte()
	require.ErrorIs(p.t, err, io.EOF, "%s: byte %#x", p.name, b)
}

// expectFail is what follows a broken rule: a close frame, the end, and an error that
// tells what was found.
func (p *peer) expectFail(code int) {
	p.t.Helper()
	p.expectClose(code)
	p.expectEnd()
	p.nc.Close()
	var end *transport.EndError
	require.ErrorAs(p.t, wait(p.t, p.echo.closed), &end)
	require.Equal(p.t, code, int(end.Code))
	require.ErrorIs(p.t, end, net.ErrClosed)
}

// finish ends a sound connection by a close handshake that the peer begins.
func (p *peer) finish() {
	p.t.Helper()
	p.send(fin|opClose, "\x03\xe8")
	p.expectClose(1000)
	if p.client {
		p.expectEnd() // the server closes first
	}
	p.nc.Close()
	require.Equal(p.t, &transport.CloseError{Code: 1000}, wait(p.t, p.echo.closed))
}
