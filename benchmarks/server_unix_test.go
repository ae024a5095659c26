//go:build unix

package benchmarks

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

// The comparisons need the server's cost without the load generator's: the test
// binary starts itself a second time as the server, on a core of its own as far as
// the scheduler gives it one, and asks it over a pipe what it has used.

// serverEnv names the row that a child process serves.
const serverEnv = "WEFT_BENCH_SERVER"

func TestMain(m *testing.M) {
	if row := os.Getenv(serverEnv); row != "" {
		if err := serveRow(row); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

// A row is one server: it handles connections of ln until ln is closed, and
// publishes n messages to all of them on demand.
type row struct {
	serve   func(ln net.Listener) error
	publish func(n int)
}

var publication = []byte(strings.Repeat("weft ", 26)[:128])

func rows() map[string]func() row {
	return map[string]func() row{
		"weft":           func() row { return weftRow(false) },
		"weft-http":      func() row { return weftRow(true) },
		"weft-transport": transportRow,
		"hand":           handRow,
		"writers":        writersRow,
	}
}

// serveRow is the child process: it prints its address, then answers commands.
func serveRow(name string) error {
	debug.SetGCPercent(100)
	newRow, ok := rows()[name]
	if !ok {
		return fmt.Errorf("no row %q", name)
	}
	r := newRow()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = r.serve(ln) }()
	fmt.Println(ln.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int
		switch cmd, arg, _ := strings.Cut(in.Text(), " "); cmd {
		case "usage":
			fmt.Println(readUsage())
		case "memory":
			u := readUsage()
			u.memory()
			fmt.Println(u)
		case "publish":
			if _, err := fmt.Sscan(arg, &n); err != nil {
				return err
			}
			r.publish(n)
			fmt.Println("ok")
		}
	}
	return in.Err()
}

// usage is what a server process has used, in microseconds and bytes.
type usage struct{ cpu, resident, heap, stacks, goroutines int64 }

func (u usage) String() string {
	return fmt.Sprint(u.cpu, u.resident, u.heap, u.stacks, u.goroutines)
}

func readUsage() usage {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	u := usage{cpu: ru.Utime.Nano()/1000 + ru.Stime.Nano()/1000, goroutines: int64(runtime.NumGoroutine())}
	return u
}

// memory collects garbage first, and leaves the CPU time as it is.
func (u *usage) memory() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	u.heap, u.stacks = int64(ms.HeapInuse), int64(ms.StackInuse)
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident int64
		_, _ = fmt.Sscan(string(b), &size, &resident)
		u.resident = resident * int64(os.Getpagesize())
	}
}

// weftRow is a whole stack: gobwas, raw, and a handler that replies.
func weftRow(netHTTP bool) row {
	ep := handler.NewEndpoint(gobwas.New(nil), handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		_, err := r.Reply(&subprotocol.Message{Kind: subprotocol.KindReply, Type: r.Message.Type, Body: r.Message.Body})
		return err
	}), handler.WithSubProtocols(raw.New(nil)))
	serve := func(ln net.Listener) error { return ep.Serve(context.Background(), ln) }
	if netHTTP {
		serve = func(ln net.Listener) error { return http.Serve(ln, ep) } //nolint:gosec // the peer is the test
	}
	return row{serve: serve, publish: func(n int) {
		for range n {
			p := handler.NewPublication(&subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: publication})
			for s := range ep.Sessions().All() {
				_, _ = s.Publish(p, "", "")
			}
		}
	}}
}

// transportRow is weft's transport without a session above it.
func transportRow() row {
	return row{serve: func(ln net.Listener) error {
		return gobwas.New(nil).Serve(context.Background(), ln, echoAcceptor{})
	}}
}

type echoAcceptor struct{}

func (echoAcceptor) Accept(*transport.Handshake) (transport.Admission, error) {
	return echoAcceptor{}, nil
}
func (echoAcceptor) SubProtocol() string                      { return "" }
func (echoAcceptor) Open(c transport.Conn) transport.Receiver { return &echoReceiver{c: c} }
func (echoAcceptor) Abort(error)                              {}

type echoReceiver struct {
	c     transport.Conn
	batch [1]transport.Message
}

func (e *echoReceiver) Receive(m transport.Message) { e.batch[0] = m; _, _ = e.c.Write(e.batch[:]) }
func (e *echoReceiver) Writable()                   {}
func (e *echoReceiver) Closed(error)                {}

// handRow is what one would write by hand on gobwas for this benchmark and nothing
// else: a goroutine, one reused buffer, frames parsed in place, one write. It
// answers no pings, has no limits but its buffer, checks no UTF-8 and never closes.
func handRow() row {
	return row{serve: acceptLoop(func(nc net.Conn) {
		buf := make([]byte, 32<<10)
		out := make([]byte, 0, 32<<10)
		r, w := 0, 0
		for {
			for {
				h, size := parseHeader(buf[r:w])
				if size == 0 || w-r < size+int(h.Length) {
					break
				}
				data := buf[r+size : r+size+int(h.Length)]
				r += size + int(h.Length)
				ws.Cipher(data, h.Mask, 0)
				out = appendFrame(out[:0], h.OpCode, data)
				if _, err := nc.Write(out); err != nil {
					return
				}
			}
			w = copy(buf, buf[r:w])
			r = 0
			n, err := nc.Read(buf[w:])
			if err != nil {
				return
			}
			w += n
		}
	})}
}

// writersRow broadcasts through a queue and a goroutine for each connection, which
// drains all that is queued into one write.
func writersRow() row {
	var mu sync.Mutex
	queues := map[net.Conn]chan []byte{}
	return row{
		serve: acceptLoop(func(nc net.Conn) {
			queue := make(chan []byte, 1024)
			mu.Lock()
			queues[nc] = queue
			mu.Unlock()
			go func() {
				var out []byte
				for frame := range queue {
					out = append(out[:0], frame...)
					for more := true; more; {
						select {
						case frame := <-queue:
							out = append(out, frame...)
						default:
							more = false
						}
					}
					if _, err := nc.Write(out); err != nil {
						return
					}
				}
			}()
			_, _ = io.Copy(io.Discard, nc)
		}),
		publish: func(n int) {
			for range n {
				frame := appendFrame(nil, ws.OpText, publication)
				mu.Lock()
				for _, queue := range queues {
					select {
					case queue <- frame:
					default:
					}
				}
				mu.Unlock()
			}
		},
	}
}

func acceptLoop(handle func(net.Conn)) func(net.Listener) error {
	return func(ln net.Listener) error {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer nc.Close()
				if _, err := ws.Upgrade(nc); err == nil {
					handle(nc)
				}
			}()
		}
	}
}

func parseHeader(p []byte) (h ws.Header, size int) {
	if len(p) < 6 {
		return h, 0
	}
	h.OpCode = ws.OpCode(p[0] & 15)
	h.Length = int64(p[1] & 127)
	size = 6
	switch h.Length {
	case 126:
		size = 8
	case 127:
		size = 14
	}
	if len(p) < size {
		return h, 0
	}
	switch size {
	case 8:
		h.Length = int64(binary.BigEndian.Uint16(p[2:]))
	case 14:
		h.Length = int64(binary.BigEndian.Uint64(p[2:]))
	}
	copy(h.Mask[:], p[size-4:])
	return h, size
}

func appendFrame(b []byte, op ws.OpCode, data []byte) []byte {
	b = append(b, 0x80|byte(op))
	switch n := len(data); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, data...)
}
