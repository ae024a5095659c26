package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/examples/custom/cborcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// client collects what comes.
type client struct {
	conn     transport.Conn
	messages chan transport.Message
	closed   chan error
}

func (c *client) Receive(m transport.Message) {
	m.Data = bytes.Clone(m.Data)
	c.messages <- m
}
func (c *client) Writable()        {}
func (c *client) Closed(err error) { c.closed <- err }

func dial(t *testing.T, d transport.Dialer, url, protocol string) *client {
	t.Helper()
	c := &client{messages: make(chan transport.Message, 16), closed: make(chan error, 1)}
	conn, err := d.Dial(t.Context(), url, &transport.DialConfig{SubProtocols: []string{protocol}},
		func(transport.Conn) transport.Receiver { return c })
	require.NoError(t, err)
	require.Equal(t, protocol, conn.SubProtocol())
	c.conn = conn
	return c
}

func (c *client) say(t *testing.T, typ transport.MessageType, data string) {
	t.Helper()
	n, err := c.conn.Write([]transport.Message{{Type: typ, Data: []byte(data)}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func (c *client) hears(t *testing.T, typ transport.MessageType, data string) {
	t.Helper()
	select {
	case m := <-c.messages:
		require.Equal(t, data, string(m.Data))
		require.Equal(t, typ, m.Type)
	case <-time.After(patience):
		require.FailNow(t, "nothing came", "instead of %q", data)
	}
}

func shutdown(t *testing.T, ep *handler.Endpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, ep.Shutdown(ctx))
}

// conversation is the same whatever carries it.
func conversation(t *testing.T, d transport.Dialer, url string) {
	t.Helper()
	const text, binary = transport.MessageText, transport.MessageBinary
	lines := dial(t, d, url, "v1.line.example")
	lines.say(t, text, "SUB 1 /topic/chat")
	lines.say(t, text, "SEND /app/chat hello, world")
	lines.hears(t, text, "MSG 1 /topic/chat hello, world")
	lines.say(t, text, "SEND /app/nowhere x")
	lines.hears(t, text, `ERROR not-found nothing here handles SEND to "/app/nowhere"`)
	lines.say(t, text, "HELO")
	lines.hears(t, text, `ERROR malformed there is no such line with "HELO"`)

	// The body is CBOR on both sides: the first codec is for what has no content type.
	lines.say(t, text, "SUB 2 /topic/readings")
	data, err := cborcodec.New().Append(nil, reading{"roof", 21.5})
	require.NoError(t, err)
	lines.say(t, binary, "SEND /app/readings "+string(data))
	lines.hears(t, binary, "MSG 2 /topic/readings "+string(data))
	data, err = cborcodec.New().Append(nil, reading{Celsius: 1})
	require.NoError(t, err)
	lines.say(t, binary, "SEND /app/readings "+string(data))
	lines.hears(t, text, "ERROR invalid sensor is missing")
	lines.say(t, text, "SEND /app/readings {}")
	lines.hears(t, text, "ERROR bad-body the body can't be read as application/cbor")

	// A client with weft's own parts hears what lines say.
	json := dial(t, d, url, "v1.json.weft")
	json.say(t, text, `{"type":"connect"}`)
	<-json.messages
	json.say(t, text, `{"type":"subscribe","subscription":"s","receipt":"r","destination":"/topic/chat"}`)
	json.hears(t, text, `{"type":"receipt","receipt":"r"}`)
	lines.say(t, text, "SEND /app/chat to all")
	json.hears(t, text, `{"type":"deliver","subscription":"s","destination":"/topic/chat","contentType":"text/plain","text":"to all"}`)
	lines.hears(t, text, "MSG 1 /topic/chat to all")

	for _, c := range []*client{lines, json} {
		require.NoError(t, c.conn.Close(transport.StatusNormalClosure, ""))
		<-c.closed
	}
}

func TestOverPipe(t *testing.T) {
	t.Parallel()
	p := pipe.New(nil)
	ep := newEndpoint(p)
	conversation(t, p, "pipe://localhost/")
	shutdown(t, ep)
}

func TestOverWebSocket(t *testing.T) {
	t.Parallel()
	ep := newEndpoint(gobwas.New(nil))
	srv := httptest.NewServer(ep)
	conversation(t, gobwas.New(nil), "ws"+strings.TrimPrefix(srv.URL, "http"))
	shutdown(t, ep)
	srv.Close()
}

// Each part stays under 80 lines of code, without blank lines and comments.
func TestSize(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"line/line.go", "cborcodec/cborcodec.go"} {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		lines := 0
		for s := range strings.Lines(string(source)) {
			if s = strings.TrimSpace(s); s != "" && !strings.HasPrefix(s, "//") {
				lines++
			}
		}
		require.Greater(t, lines, 20, name)
		require.Less(t, lines, 80, name)
	}
}
