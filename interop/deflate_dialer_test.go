package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

// deflatingDialers compress messages of every size.
var deflatingDialers = map[string]transport.Dialer{
	"gobwas": gobwas.New(&gobwas.Options{MaxMessageSize: 16 << 20, Compression: &gobwas.Compression{Threshold: -1}}),
	"takeover": gobwas.New(&gobwas.Options{
		MaxMessageSize: 16 << 20, Compression: &gobwas.Compression{Threshold: -1, ContextTakeover: true},
	}),
	"gorilla": gorilla.New(&gorilla.Options{MaxMessageSize: 16 << 20, Compression: &gorilla.Compression{Threshold: -1}}),
}

// deflateServer is the options of a foreign server, in its own words, and what it
// answers to each dialer.
type deflateServer struct {
	options string
	answers map[string]string
}

// bothDrop is the answer of a server that has options x to one who offers to keep
// no contexts.
func bothDrop(x string) string { return plainAnswer + x }

var npmDeflate = []deflateServer{
	{`{"serverNoContextTakeover":true}`, map[string]string{
		"gobwas": bothDrop(""), "takeover": "permessage-deflate; server_no_context_takeover", "gorilla": bothDrop(""),
	}},
	{`{"serverMaxWindowBits":10}`, map[string]string{
		"gobwas":   bothDrop("; server_max_window_bits=10"),
		"takeover": "permessage-deflate; server_max_window_bits=10",
		"gorilla":  bothDrop("; server_max_window_bits=10"),
	}},
	{`{}`, map[string]string{"gobwas": bothDrop(""), "takeover": "permessage-deflate", "gorilla": bothDrop("")}},
}

var pythonDeflate = []deflateServer{
	{`{}`, map[string]string{"gobwas": bothDrop(""), "takeover": "permessage-deflate", "gorilla": bothDrop("")}},
}

func dialDeflate(t *testing.T, d transport.Dialer, url string) (*end, error) {
	t.Helper()
	e := &end{
		messages: make(chan transport.Message, 64),
		writable: make(chan struct{}, 1),
		closed:   make(chan error, 1),
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.Dial(ctx, url, nil, func(transport.Conn) transport.Receiver { return e })
	e.conn = conn
	return e, err
}

// deflateCases has every dialer talk to a server, which prints a line at the beginning
// and one at the end of each connection.
func deflateCases(t *testing.T, srv *process, path func(name string) string, answers map[string]string) {
	t.Helper()
	noise := make([]byte, 1<<20)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	for kind, d := range deflatingDialers {
		t.Run(kind, func(t *testing.T) {
			for _, name := range []string{"/echo", "/fragments"} {
				e, err := dialDeflate(t, d, path(name))
				require.NoError(t, err)
				require.Equal(t, "answer "+answers[kind], srv.line(t))
				for _, n := range []int{0, 1, 125, 126, 511, 512, 65535, 65536, 1 << 20} {
					prose := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. "), n/45+1)[:n]
					e.echo(t, transport.MessageText, prose)
					e.echo(t, transport.MessageBinary, prose)
					e.echo(t, transport.MessageBinary, noise[:n])
				}
				require.NoError(t, e.conn.Close(transport.StatusNormalClosure, ""))
				var code, read, written int
				line := srv.line(t)
				n, _ := fmt.Sscanf(line, "closed %d %d %d", &code, &read, &written)
				require.Positive(t, n, line)
				require.Equal(t, int(transport.StatusNormalClosure), code)
				if n == 3 { // 3.4 MiB without compression
					require.Less(t, read, 3<<19, "bytes from the dialer")
					require.Less(t, written, 3<<19, "bytes from the server")
				}
				wait(t, e.closed)
			}
		})
	}
}

// weft's dialers compress for a server on npm's ws.
func TestInteropDeflateNPMServer(t *testing.T) {
	foreign(t)
	t.Parallel()
	srv := start(t, "node", "js/deflate_server.mjs")
	base := "ws://" + srv.address(t)
	for _, s := range npmDeflate {
		t.Run(s.options, func(t *testing.T) {
			deflateCases(t, srv, func(name string) string { return base + name + "?" + url.QueryEscape(s.options) }, s.answers)
		})
	}
}

// weft's dialers compress for servers on python3-websockets.
func TestInteropDeflatePythonServer(t *testing.T) {
	foreign(t)
	t.Parallel()
	args := []string{"py/deflate_server.py"}
	for _, s := range pythonDeflate {
		args = append(args, s.options)
	}
	srv := start(t, python, args...)
	var bases []string
	for range pythonDeflate {
		bases = append(bases, "ws://"+srv.address(t))
	}
	for i, s := range pythonDeflate {
		t.Run(s.options, func(t *testing.T) {
			deflateCases(t, srv, func(name string) string { return bases[i] + name }, s.answers)
		})
	}
}
