package gorilla

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// TestFramesBehindAnswer: what a server sends in one piece with its answer is the
// first that a dialer reads, whole or not.
func TestFramesBehindAnswer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 100, 3000, 20_000} {
		for _, chop := range []int{0, 1, 100} {
			if chop == 1 && size > 100 {
				continue
			}
			far, listener := make(chan *peer, 1), listen(t)
			go func() {
				nc, err := listener.Accept()
				if err != nil {
					return
				}
				p := newPeer(t, nc, bufio.NewReader(nc), false)
				r, err := http.ReadRequest(p.br)
				if err != nil {
					return
				}
				b := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptOf(r))
				b = append(b, frame(opText, pattern(size), false)...)
				b = append(b, frame(fin|opPing, []byte("p"), false)...)
				p.choppedMay(b, chop)
				far <- p
			}()
			r := newRecorder()
			dial(t, New(nil), "ws://"+listener.Addr().String(), r)
			p := wait(t, far)
			p.expect(opPong, []byte("p"))
			p.send(fin|opCont, "end")
			require.Equal(t, string(pattern(size))+"end", string(wait(t, r.got).Data))
			p.send(fin|opClose, "\x03\xe8")
			p.expectClose(1000)
			p.nc.Close()
			require.Equal(t, &transport.CloseError{Code: 1000}, wait(t, r.closed))
		}
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// FuzzHeaderEnd: wherever an answer is cut, its header ends at the same byte, and where
// net/http finds that end too.
func FuzzHeaderEnd(f *testing.F) {
	for _, s := range []string{"", "HTTP/1.1 101 x\r\nA: b\r\n\r\nrest", "HTTP/1.1 200 OK\n\nrest", "a\n\r\n\r\n", "\r\n\r\n", "a\r\r\n\r\r\nb"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, answer string, chop int) {
		var whole, cut socket
		want := whole.headerEnd([]byte(answer))
		got := 0
		for b := []byte(answer); len(b) > 0 && !cut.done; {
			n := min(max(chop, 1), len(b))
			got += cut.headerEnd(b[:n])
			b = b[n:]
		}
		require.Equal(t, want, got)
		require.Equal(t, whole.done, cut.done)
		br := bufio.NewReader(strings.NewReader(answer))
		resp, err := http.ReadResponse(br, nil)
		if err != nil || !whole.done {
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols {
			rest := new(bytes.Buffer)
			_, _ = rest.ReadFrom(br)
			require.Equal(t, answer[want:], rest.String())
		}
	})
}

// TestAnswerLimit: a refusal with a long body is read as far as it is kept.
func TestAnswerLimit(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
			fmt.Fprintf(nc, "HTTP/1.1 503 Full\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 1_000_000))
		}
	}()
	_, err := New(&Options{MaxHeaderBytes: 4 << 10}).Dial(context.Background(), "ws://"+ln.Addr().String(), nil,
		func(transport.Conn) transport.Receiver { panic("opened") })
	var refusal *transport.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, 503, refusal.Status)
	require.Equal(t, strings.Repeat("x", 1024), refusal.Text)
}
