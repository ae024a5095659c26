package gobwas

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// parse feeds input in pieces and returns what the parser says, one line each.
func parse(t *testing.T, input []byte, state ws.State, limit int64, piece func(left int) int) (said []string) {
	d := parser{limit: limit, state: state}
	var pending []byte
	for len(input) > 0 {
		k := min(max(piece(len(input)), 1), len(input))
		pending = append(bytes.Clone(pending), input[:k]...)
		input = input[k:]
		for {
			ev, n, err := d.next(pending)
			require.LessOrEqual(t, int64(len(d.msg)), limit)
			require.LessOrEqual(t, cap(d.msg), max(2*len(d.msg), 4<<10), "room grows with what has come")
			pending = pending[n:]
			if err != nil {
				return append(said, "error "+err.Error())
			}
			if ev.op == ws.OpContinuation {
				require.Less(t, len(pending), ws.MaxHeaderSize+ws.MaxControlFramePayloadSize)
				break
			}
			said = append(said, fmt.Sprintf("%d %x", ev.op, ev.data))
			if ev.op == ws.OpClose {
				if ce, err := parseClose(ev.data); err == nil {
					require.True(t, ce.Code.Sendable() || ce.Code == transport.StatusNoStatusReceived)
				}
				return said
			}
			d.release()
		}
	}
	return said
}

func wireFrame(first byte, mask bool, body string) string {
	b := []byte{first, byte(len(body))}
	if mask {
		b[1] |= 0x80
		b = append(b, 0x11, 0x22, 0x33, 0x44)
	}
	start := len(b)
	b = append(b, body...)
	if mask {
		ws.Cipher(b[start:], [4]byte{0x11, 0x22, 0x33, 0x44}, 0)
	}
	return string(b)
}

// FuzzParser holds that the parser says the same however its input is cut, keeps no
// more than the limit, and never panics.
func FuzzParser(f *testing.F) {
	for _, mask := range []bool{true, false} {
		hello, ping := wireFrame(0x81, mask, "hello"), wireFrame(0x89, mask, "p")
		for _, s := range []string{
			hello, hello + ping + hello, wireFrame(0x82, mask, "\x00\xff"), wireFrame(0x82, mask, ""),
			wireFrame(0x01, mask, "h\xc3") + ping + wireFrame(0x80, mask, "\xa9"), wireFrame(0x01, mask, "\xf0\x9f") + wireFrame(0x00, mask, "\x98") + wireFrame(0x80, mask, "\x80"),
			wireFrame(0x01, mask, "") + wireFrame(0x00, mask, "") + wireFrame(0x80, mask, ""),
			wireFrame(0x81, mask, "\xed\xa0\x80"), wireFrame(0x01, mask, "\xf4\x90"),
			wireFrame(0x88, mask, "\x03\xe8bye"), wireFrame(0x88, mask, ""), wireFrame(0x88, mask, "\x03"), wireFrame(0x88, mask, "\x03\xed"),
			wireFrame(0x8a, mask, "pong"), wireFrame(0x80, mask, "x"), wireFrame(0x01, mask, "a") + wireFrame(0x81, mask, "b"), wireFrame(0x09, mask, "x"),
			wireFrame(0xc1, mask, "x"), wireFrame(0x83, mask, "x"),
			"\x82\xfe\x00\x7e\x01\x02\x03\x04" + strings.Repeat("x", 126), "\x82\x7e\x00\x7e" + strings.Repeat("x", 126),
			"\x82\xfe\x00\x01\x01\x02\x03\x04x", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", "\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff",
		} {
			f.Add([]byte(s), []byte{1}, !mask, uint16(1000))
			f.Add([]byte(s), []byte{3, 1, 200}, !mask, uint16(4))
		}
	}
	f.Fuzz(func(t *testing.T, input, cuts []byte, client bool, limit uint16) {
		state := ws.StateServerSide
		if client {
			state = ws.StateClientSide
		}
		whole := parse(t, input, state, int64(limit), func(left int) int { return left })
		i := 0
		cut := parse(t, input, state, int64(limit), func(int) int {
			if len(cuts) == 0 {
				return 1
			}
			i++
			return int(cuts[(i-1)%len(cuts)])
		})
		require.Equal(t, whole, cut)
	})
}

// scripted is a connection whose peer has said all it will say, and goes away. With
// stays it does so only after a read has been interrupted by a deadline.
type scripted struct {
	net.Conn
	in     io.Reader
	stays  chan struct{}
	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (c *scripted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if n == 0 && c.stays != nil {
		<-c.stays
		c.stays = nil
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}

func (c *scripted) interrupt(t time.Time) error {
	if c.stays != nil && !t.IsZero() {
		select {
		case c.stays <- struct{}{}:
		default:
		}
	}
	return nil
}
func (c *scripted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.out.Write(p)
}
func (c *scripted) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
func (c *scripted) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}
func (c *scripted) SetDeadline(t time.Time) error     { return c.interrupt(t) }
func (c *scripted) SetReadDeadline(t time.Time) error { return c.interrupt(t) }
func (*scripted) SetWriteDeadline(time.Time) error    { return nil }
func (*scripted) RemoteAddr() net.Addr                { return &net.UnixAddr{Name: "peer"} }
func (*scripted) LocalAddr() net.Addr                 { return &net.UnixAddr{Name: "here"} }

const goodRequest = "GET /chat?a=b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// FuzzHandshake holds that a request on a bare listener is answered once, with 101 if
// and only if it was admitted, and that an admission is opened or aborted.
func FuzzHandshake(f *testing.F) {
	for _, s := range []string{
		goodRequest + "\r\n",
		goodRequest + "Origin: http://localhost\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\r\n" + wireFrame(0x81, true, "early"),
		goodRequest + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
		strings.Replace(goodRequest, "GET", "POST", 1) + "\r\n", strings.Replace(goodRequest, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n",
		strings.Replace(goodRequest, "13", "8", 1) + "\r\n", strings.Replace(goodRequest, "/chat", "http://localhost/chat", 1) + "\r\n",
		strings.Replace(goodRequest, "dGhl", "", 1) + "\r\n", goodRequest + "Broken\r\n\r\n", goodRequest + " folded: x\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n", "\r\n\r\n", "garbage", goodRequest + strings.Repeat("X-Long: "+strings.Repeat("x", 90)+"\r\n", 100) + "\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	tr := New(&Options{PingInterval: -1, MaxHeaderBytes: 2048, Compression: &Compression{}})
	f.Fuzz(func(t *testing.T, request []byte, admit bool) {
		nc := &scripted{in: bytes.NewReader(request)}
		if bytes.Contains(request, []byte("\r\n\r\n")) {
			nc.stays = make(chan struct{}, 1)
		}
		a := &countingAcceptor{admit: admit, closed: make(chan struct{})}
		tr.serveConn(context.Background(), nc, a)
		said := nc.said()
		require.LessOrEqual(t, a.accepts, 1)
		if a.accepts == 1 && admit {
			require.Equal(t, 1, a.opens+a.aborts)
		} else {
			require.Zero(t, a.opens+a.aborts)
		}
		if a.opens == 1 {
			<-a.closed
			require.True(t, strings.HasPrefix(said, "HTTP/1.1 101 "), said)
			require.Equal(t, 1, strings.Count(said, "HTTP/1.1 "))
			return
		}
		require.False(t, strings.HasPrefix(said, "HTTP/1.1 101 "), said)
		require.NotContains(t, said, "permessage-deflate")
		if a.accepts == 1 {
			require.True(t, strings.HasPrefix(said, "HTTP/1.1 418 "), said)
		}
	})
}

type countingAcceptor struct {
	admit                  bool
	accepts, opens, aborts int
	closed                 chan struct{}
}

func (a *countingAcceptor) Accept(*transport.Handshake) (transport.Admission, error) {
	a.accepts++
	if !a.admit {
		return nil, &transport.Refusal{Status: 418, Text: "no"}
	}
	return a, nil
}
func (a *countingAcceptor) SubProtocol() string { return "" }
func (a *countingAcceptor) Open(transport.Conn) transport.Receiver {
	a.opens++
	return closedReceiver(a.closed)
}
func (a *countingAcceptor) Abort(error) { a.aborts++ }

type closedReceiver chan struct{}

func (closedReceiver) Receive(transport.Message) {}
func (closedReceiver) Writable()                 {}
func (r closedReceiver) Closed(error)            { close(r) }
