//go:build unix

package benchmarks

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// process is a server in a process of its own.
type process struct {
	name string
	addr string
	in   io.WriteCloser
	out  *bufio.Reader
}

// startServer starts a row; it ends with the test.
func startServer(t testing.TB, name string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serverEnv+"="+name, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{name: name, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close() // the server ends with its standard input
		_ = cmd.Wait()
	})
	p.addr = p.line(t)
	return p
}

func (p *process) line(t testing.TB) string {
	t.Helper()
	s, err := p.out.ReadString('\n')
	require.NoError(t, err, p.name)
	return strings.TrimSpace(s)
}

func (p *process) ask(t testing.TB, command string) string {
	t.Helper()
	_, err := fmt.Fprintln(p.in, command)
	require.NoError(t, err)
	return p.line(t)
}

func (p *process) usage(t testing.TB, command string) (u usage) {
	t.Helper()
	_, err := fmt.Sscan(p.ask(t, command), &u.cpu, &u.resident, &u.heap, &u.stacks, &u.goroutines)
	require.NoError(t, err)
	return u
}

// connect opens n WebSocket connections.
func (p *process) connect(t testing.TB, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dialRaw(t, p.addr)
	}
	return conns
}

// dialRaw opens a WebSocket connection of which nothing but the socket remains.
func dialRaw(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	require.NoError(t, err)
	// One byte at a time: what follows the answer is the test's.
	var answer []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(answer), "\r\n\r\n"); answer = append(answer, b[0]) {
		_, err := nc.Read(b)
		require.NoError(t, err)
	}
	require.Contains(t, string(answer), fmt.Sprint(http.StatusSwitchingProtocols))
	require.NoError(t, nc.SetDeadline(time.Time{}))
	return nc
}

func readFull(t testing.TB, nc net.Conn, buf []byte) {
	if _, err := io.ReadFull(nc, buf); err != nil {
		t.Fatal(err)
	}
}

// maskedFrame is what a client sends, masked once and sent many times.
func maskedFrame(op ws.OpCode, data []byte) []byte {
	b := []byte{0x80 | byte(op)}
	switch n := len(data); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	start := len(b)
	b = append(b, data...)
	ws.Cipher(b[start:], mask, 0)
	return b
}

// echoRounds sends each connection's frame and reads its echo, n times each.
func echoRounds(t testing.TB, conns []net.Conn, frame []byte, answer, n int) {
	var wg sync.WaitGroup
	errs := make(chan error, len(conns))
	for _, nc := range conns {
		wg.Go(func() {
			buf := make([]byte, answer)
			for range n {
				if _, err := nc.Write(frame); err != nil {
					errs <- err
					return
				}
				if _, err := io.ReadFull(nc, buf); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

// readAll reads n bytes from each connection.
func readAll(t testing.TB, conns []net.Conn, n int) {
	var wg sync.WaitGroup
	errs := make(chan error, len(conns))
	for _, nc := range conns {
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, nc, int64(n)); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
