package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// Opcodes, as numbers on purpose: the tests share no table with the code.
const (
	opCont, opText, opBin        = 0, 1, 2
	opClose, opPing, opPong      = 8, 9, 10
	fin                     byte = 0x80
)

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Frame encodes one frame in the shortest form.
func Frame(first byte, payload []byte, masked bool) []byte {
	form := 1
	switch {
	case len(payload) > 65535:
		form = 8
	case len(payload) > 125:
		form = 2
	}
	return FrameForm(first, payload, masked, form)
}

// FrameForm encodes one frame with a length of 1, 2 or 8 bytes.
func FrameForm(first byte, payload []byte, masked bool, form int) []byte {
	b := append(make([]byte, 0, 14+len(payload)), Announce(first, uint64(len(payload)), masked, form)...)
	start := len(b)
	b = append(b, payload...)
	if masked {
		for i := range payload {
			b[start+i] ^= testMask[i%4]
		}
	}
	return b
}

// Announce encodes a frame header alone.
func Announce(first byte, n uint64, masked bool, form int) []byte {
	var bit byte
	if masked {
		bit = 0x80
	}
	b := []byte{first}
	switch form {
	case 1:
		b = append(b, bit|byte(n))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	case 8:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), n)
	}
	if masked {
		b = append(b, testMask[:]...)
	}
	return b
}

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
}

// onBothSides runs f for a server under test and for a dialer under test. open makes
// a connection; it is not for use by many goroutines at once.
func (e *Engine) onBothSides(t *testing.T, l *duplex.Limits, f func(t *testing.T, open func(t testing.TB) *peer)) {
	t.Helper()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		f(t, e.serverSide(t, l))
	})
	t.Run("dialer", func(t *testing.T) {
		t.Parallel()
		f(t, dialerSide(t, e.New(l, nil)))
	})
}

// UpgradeRequest is an opening handshake with the key of section 1.3.
const UpgradeRequest = "GET /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

func (e *Engine) serverSide(t testing.TB, l *duplex.Limits) func(t testing.TB) *peer {
	opened := make(chan *patientEcho, 1)
	url := e.serve(t, e.Kinds[0], l, &acceptor{open: func(c transport.Conn) transport.Receiver {
		e := newPatientEcho(c)
		opened <- e
		return e
	}})
	host := HostOf(url)
	var mu sync.Mutex
	return func(t testing.TB) *peer {
		mu.Lock()
		defer mu.Unlock()
		nc, err := net.Dial("tcp", host)
		require.NoError(t, err)
		_, err = nc.Write([]byte(UpgradeRequest))
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

// HostOf is the host and the port of url.
func HostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

func dialerSide(t testing.TB, tr transport.Dialer) func(t testing.TB) *peer {
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
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			AcceptOf(r))
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
	p.write(Frame(first, []byte(payload), p.client))
}

// sendMay writes what the other side may have stopped to take.
func (p *peer) sendMay(b []byte) { _, _ = p.nc.Write(b) }

type rawFrame struct {
	op      byte
	payload []byte
}

// next reads one frame and holds it to every rule of section 5.2. What the code
// sends is never fragmented.
func (p *peer) next() (rawFrame, error) {
	var h [10]byte
	if _, err := io.ReadFull(p.br, h[:2]); err != nil {
		return rawFrame{}, err
	}
	op := h[0] & 0x0f
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
	if op == opText {
		require.True(p.t, utf8.Valid(payload))
	}
	return rawFrame{op, payload}, nil
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

func pattern(n int) []byte { return bytes.Repeat([]byte("abcdefghijk"), n/11+1)[:n] }

// writeAll writes m once there is room.
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
