package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// processEnv makes the test binary the program itself: every row is tested as
// weftbench uses it, in a process of its own.
const processEnv = "WEFT_COMPARE_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds everything that a test waits for.
const patience = 30 * time.Second

// A process is a row in a process of its own.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
	addr   string

	serving string // the id of the process that serves, if it is another one
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p := &process{cmd: exec.CommandContext(ctx, exe, args...)}
	p.cmd.Env = append(os.Environ(), processEnv+"=1")
	p.cmd.Stderr = &p.stderr
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.in.Close()
		_ = p.cmd.Wait()
		cancel()
	})
	return p
}

// serve starts a row and waits until it listens.
func serve(t *testing.T, r row, args ...string) *process {
	t.Helper()
	if r.Unavailable != "" {
		t.Skip(r.Unavailable)
	}
	p := start(t, append([]string{"-row", r.Name}, args...)...)
	word, addr, _ := strings.Cut(p.line(t), " ")
	require.Equal(t, "listening", word)
	p.addr, p.serving, _ = strings.Cut(addr, " ")
	return p
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	s, err := p.out.ReadString('\n')
	require.NoError(t, err, &p.stderr)
	return strings.TrimSuffix(s, "\n")
}

func (p *process) say(t *testing.T, line string) {
	t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	require.NoError(t, err)
}

// wait returns how the process ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	_, err := io.Copy(io.Discard, p.out)
	require.NoError(t, err)
	return p.cmd.Wait()
}

// A client is the other end of a row: messages of either framing.
type client struct {
	send func(ctx context.Context, typ websocket.MessageType, data []byte) error
	// receive returns a message, or for TCP as many bytes as sent last.
	receive func(ctx context.Context, n int) (websocket.MessageType, []byte, error)
	close   func() error
}

func dial(t *testing.T, r row, addr string, secure bool) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	insecure := &tls.Config{InsecureSkipVerify: true} // the server makes its certificate itself
	if r.Framing == "tcp" {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		if secure {
			nc = tls.Client(nc, insecure)
		}
		t.Cleanup(func() { nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		return &client{
			send: func(_ context.Context, _ websocket.MessageType, data []byte) error {
				_, err := nc.Write(data)
				return err
			},
			receive: func(_ context.Context, n int) (websocket.MessageType, []byte, error) {
				b := make([]byte, n)
				_, err := io.ReadFull(nc, b)
				return 0, b, err
			},
			close: func() error {
				if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					return err
				}
				_, err := nc.Read(make([]byte, 1))
				if err == io.EOF { //nolint:errorlint // Read returns it bare
					return nil
				}
				return fmt.Errorf("after its end: %w", err)
			},
		}
	}
	scheme := "ws"
	transport := &http.Transport{TLSClientConfig: insecure}
	if secure {
		scheme = "wss"
	}
	o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	c, _, err := websocket.Dial(ctx, scheme+"://"+addr+"/ws", o) //nolint:bodyclose // Dial says that it need not be
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	cl := &client{
		send: c.Write,
		receive: func(ctx context.Context, _ int) (websocket.MessageType, []byte, error) {
			return c.Read(ctx)
		},
		close: func() error { return c.Close(websocket.StatusNormalClosure, "") },
	}
	for _, f := range r.Hello {
		require.NoError(t, cl.send(ctx, messageType(f.Type), f.Data))
	}
	var answers []byte
	for !bytes.Contains(answers, []byte(r.Ready)) {
		_, data, err := cl.receive(ctx, 0)
		require.NoError(t, err)
		answers = append(answers, data...)
	}
	return cl
}

func messageType(name string) websocket.MessageType {
	if name == "binary" {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

// echo sends data and requires it back.
func (c *client) echo(t *testing.T, r row, typ websocket.MessageType, data []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, size := data, len(data)
	if r.Echo != nil {
		request = append(append(bytes.Clone(r.Echo.Request[:r.Echo.At]), data...), r.Echo.Request[r.Echo.At:]...)
		size += r.Echo.Answer
	}
	require.NoError(t, c.send(ctx, typ, request))
	gotType, got, err := c.receive(ctx, size)
	require.NoError(t, err)
	require.Len(t, got, size)
	if r.Framing == "websocket" {
		require.Equal(t, typ, gotType)
	}
	if r.Echo == nil {
		require.True(t, bytes.Equal(data, got), "another message came back")
	} else {
		require.True(t, bytes.Contains(got, data), "the body did not come back")
	}
}

// light are the rows without the brokers, which are slow to start, and without SockJS;
// both have tests of their own.
func light() []row {
	return slices.DeleteFunc(rows(), func(r row) bool { return r.Kind == "broker" || r.SockJS != "" })
}

// each runs a test for every light row, plain and over TLS where the row has it.
func each(t *testing.T, test func(t *testing.T, r row, p *process, secure bool)) {
	for _, r := range light() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			test(t, r, serve(t, r), false)
		})
		if r.TLS {
			t.Run(r.Name+"/tls", func(t *testing.T) {
				t.Parallel()
				test(t, r, serve(t, r, "-tls"), true)
			})
		}
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r row, p *process, secure bool) {
		c := dial(t, r, p.addr, secure)
		switch {
		case r.Echo != nil:
			for _, n := range []int{0, 1, 64, 1 << 10, 16 << 10, 60 << 10} {
				c.echo(t, r, messageType(r.Echo.Type), bytes.Repeat([]byte("w"), n))
			}
		case r.Kind == "echo":
			for range 3 { // what is kept between messages, is kept rightly
				c.echo(t, r, websocket.MessageText, []byte("grüße"))
				c.echo(t, r, websocket.MessageBinary, []byte{0xff, 0, 0xfe})
				c.echo(t, r, websocket.MessageText, nil)
				c.echo(t, r, websocket.MessageBinary, nil)
				c.echo(t, r, websocket.MessageBinary, bytes.Repeat([]byte{0xab, 0xcd}, 32<<10))
				c.echo(t, r, websocket.MessageText, bytes.Repeat([]byte("weft"), 16<<10))
			}
		}
		require.NoError(t, c.close())
	})
}

// What a row says of UTF-8 is what it does.
func TestUTF8(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r row, p *process, secure bool) {
		if r.Kind != "echo" || r.Framing != "websocket" {
			t.Skip("its messages are its own")
		}
		c := dial(t, r, p.addr, secure)
		if !r.UTF8 {
			c.echo(t, r, websocket.MessageText, []byte{'a', 0xff})
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, c.send(ctx, websocket.MessageText, []byte{'a', 0xff}))
		_, _, err := c.receive(ctx, 0)
		require.Error(t, err)
		require.NoError(t, ctx.Err(), "it neither answered nor ended the connection")
	})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	const connections, publications = 5, 20
	each(t, func(t *testing.T, r row, p *process, secure bool) {
		clients := make([]*client, connections)
		for i := range clients {
			clients[i] = dial(t, r, p.addr, secure)
			if r.Kind == "echo" {
				clients[i].echo(t, r, websocket.MessageText, []byte("here")) // it is among the connections now
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, n := range []int{1, publications} {
			p.say(t, fmt.Sprint("publish ", n))
			for _, c := range clients {
				var got []byte
				messages := 0
				for bytes.Count(got, []byte(r.Marker)) < n {
					_, data, err := c.receive(ctx, len(tcpPublication))
					require.NoError(t, err)
					got = append(got, data...)
					messages++
				}
				require.Equal(t, n, bytes.Count(got, message))
				switch {
				case r.Framing == "tcp":
					require.Len(t, got, n*len(tcpPublication))
				case n == 1 || r.Kind == "echo":
					require.Equal(t, n, messages)
					require.Len(t, got, n*(len(message)+r.Envelope))
				default: // a separator between those that share a message
					require.GreaterOrEqual(t, len(got), n*(len(message)+r.Envelope))
				}
			}
			require.Equal(t, "published", p.line(t))
		}
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	for _, r := range light() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			p.say(t, "stats")
			var got map[string]uint64
			require.NoError(t, json.Unmarshal([]byte(p.line(t)), &got))
			if strings.HasPrefix(r.Name, "node") {
				require.Empty(t, got)
				return
			}
			for _, field := range []string{"goroutines", "heap", "stack", "sys", "gc"} {
				require.Positive(t, got[field], field)
			}
			p.in.Close() // its parent is gone
			require.NoError(t, p.wait(t))
		})
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	for _, r := range light() {
		t.Run(r.Name+"/stdin", func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			dial(t, r, p.addr, false) // an open connection is no reason to stay
			p.in.Close()
			require.NoError(t, p.wait(t), &p.stderr)
		})
		t.Run(r.Name+"/signal", func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			p.say(t, "stats") // node takes signals once it reads commands
			p.line(t)
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, p.wait(t), &p.stderr)
		})
	}
}

// A client that reads nothing may hold up publications, but not the end.
func TestStopWhilePublishing(t *testing.T) {
	t.Parallel()
	for _, r := range light() {
		if strings.HasPrefix(r.Name, "node") {
			continue // its one thread queues them all first
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			dial(t, r, p.addr, false)
			p.say(t, "publish 200000")
			p.in.Close()
			require.NoError(t, p.wait(t), &p.stderr)
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	p := start(t, "-list")
	out, err := io.ReadAll(p.out)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Wait())
	var list []map[string]any
	require.NoError(t, json.Unmarshal(out, &list))
	require.Len(t, list, len(rows()))
	seen := map[string]bool{}
	for _, got := range list {
		name, _ := got["name"].(string)
		require.False(t, seen[name], "%s stands there twice", name)
		seen[name] = true
		for _, field := range reflect.VisibleFields(reflect.TypeFor[row]()) {
			if tag := field.Tag.Get("json"); tag != "" {
				require.Contains(t, got, tag, name)
			}
		}
		for _, field := range []string{"name", "library", "url", "limit"} {
			require.NotEmpty(t, got[field], "%s: %s", name, field)
		}
		require.Contains(t, []any{"echo", "pubsub", "broker"}, got["kind"])
		require.Contains(t, []any{"websocket", "http", "tcp"}, got["framing"])
		require.Equal(t, "off", got["compression"])
		require.IsType(t, []any{}, got["hello"])
		if got["unavailable"] == "" {
			require.NotEmpty(t, got["version"], name)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	require.Len(t, message, 128)
	require.True(t, json.Valid(message))
	require.Equal(t, 1, bytes.Count(message, []byte(marker)))
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() }) // after the parallel subtests
	names := make([]string, 0, len(rows()))
	for _, r := range rows() {
		names = append(names, r.Name)
	}
	for _, c := range []struct {
		name, input, want string
		args              []string
	}{
		{"unknown row", "", `no row "nope"; rows: ` + strings.Join(names, ", "), []string{"-row", "nope"}},
		{"no row", "", `no row ""; rows: `, nil},
		{"unknown flag", "", "-nope", []string{"-nope"}},
		{"argument", "", `unexpected argument "tcp"`, []string{"tcp"}},
		{"port taken", "", "address already in use", []string{"-row", "tcp", "-addr", taken.Addr().String()}},
		{"port taken, nats", "", "address already in use", []string{"-row", "nats", "-addr", taken.Addr().String()}},
		{"unknown command", "nope\n", `no command "nope"`, []string{"-row", "tcp"}},
		{"publish what", "publish x\n", `publish "x": not a count`, []string{"-row", "tcp"}},
		{"no TLS", "", "row tcp-epoll ", []string{"-row", "tcp-epoll", "-tls"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, c.args...)
			_, err := io.WriteString(p.in, c.input)
			require.NoError(t, err)
			var exit *exec.ExitError
			require.ErrorAs(t, p.wait(t), &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, p.stderr.String(), c.want)
		})
	}
}

// A peer's set-up can be read at a glance and says where it comes from.
func TestPeersAreShort(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("peer_*.go")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 10)
	for _, file := range append(files, "ws.mjs", "sockjs.mjs") {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.LessOrEqual(t, bytes.Count(b, []byte("\n")), 60, file)
		require.Contains(t, string(b), "https://", file)
	}
}
