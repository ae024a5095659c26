package broker_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

var update = flag.Bool("update", false, "rewrite what the servers in testdata/stomp say")

// TestTranscripts has clients say what stands in testdata/stomp, and compares what they
// are told with what stands there. A block of lines "a> " is one transport message of
// client a, "a< " is what comes back, ^@ is NUL and ^M is CR.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/stomp/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(filepath.Clean(name))
			require.NoError(t, err)
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want)) })
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(got), 0o600))
				return
			}
			require.Equal(t, string(want), got)
		})
	}
}

// play returns script with what the server says.
func play(t *testing.T, script string) string {
	b := broker.New(nil)
	defer b.Close()
	mux := handler.NewMux()
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Header.Get("passcode") == "wrong" {
			return errors.New("wrong passcode")
		}
		r.Session.SetUser(r.Message.Header.Get("login"))
		return nil
	}))
	for _, prefix := range []string{"/topic/", "/queue/", "/user/"} {
		mux.Route("SUBSCRIBE "+prefix, b)
		mux.Route("SEND "+prefix, b)
	}
	mux.Route("SEND /app/fail", handler.HandlerFunc(func(context.Context, handler.Request) error {
		return errors.New("what the client must not see")
	}))
	mux.Route("SEND /app/echo", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		_, err := r.Reply(&subprotocol.Message{ContentType: r.Message.ContentType, Body: r.Message.Body})
		return err
	}))
	mux.Route("SUBSCRIBE /app/now", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		_, err := r.Reply(&subprotocol.Message{Destination: r.Message.Destination, Body: []byte("noon")})
		return err
	}))
	p := pipe.New(nil)
	ep := handler.NewEndpoint(p, mux, handler.WithSubProtocols(stomp.New(nil)), handler.WithHeartbeat(0, 0))
	clients := map[string]*talker{}
	var names []string // in the order of their appearance
	var out strings.Builder
	said, who := "", ""
	flush := func() {
		if who == "" {
			return
		}
		c := clients[who]
		if c == nil {
			c = dial(t, p)
			clients[who] = c
			names = append(names, who)
		}
		c.say(said)
		said, who = "", ""
		synctest.Wait()
		for _, name := range names {
			out.WriteString(clients[name].heard(name))
		}
	}
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		mark, text, _ := strings.Cut(line, " ")
		name, spoken := strings.CutSuffix(mark, ">")
		switch {
		case strings.HasSuffix(mark, "<"):
		case spoken && !strings.HasPrefix(line, "#"):
			if name != who {
				flush()
			}
			who = name
			fmt.Fprintln(&out, line)
			said += decode(text) + "\n"
			if strings.HasSuffix(text, "^@") {
				said = strings.TrimSuffix(said, "\n")
			}
		default:
			flush()
			fmt.Fprintln(&out, line)
		}
	}
	flush()
	for _, c := range clients {
		c.leave()
	}
	require.NoError(t, ep.Shutdown(t.Context()))
	return out.String()
}

var (
	encodeNUL = strings.NewReplacer("\x00", "^@", "\r", "^M")
	decodeNUL = strings.NewReplacer("^@", "\x00", "^M", "\r")
	changing  = regexp.MustCompile(`(?m)^(session:|message-id:m).*$`)
)

func decode(s string) string { return decodeNUL.Replace(s) }

// talker is a client that notes what it is told.
type talker struct {
	t    testing.TB
	conn transport.Conn
	gone chan struct{}

	mu   sync.Mutex
	got  []string
	end  error
	over bool
}

func dial(t testing.TB, p *pipe.Transport) *talker {
	c := &talker{t: t, gone: make(chan struct{})}
	conn, err := p.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return c })
	require.NoError(t, err)
	c.conn = conn
	return c
}

func (c *talker) Receive(m transport.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, string(m.Data))
}

func (c *talker) Writable() {}

func (c *talker) Closed(err error) {
	c.mu.Lock()
	c.end, c.over = err, true
	c.mu.Unlock()
	close(c.gone)
}

func (c *talker) say(text string) {
	// A connection that the server has closed takes nothing more.
	_, _ = c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}})
}

// heard is what has come since the last time.
func (c *talker) heard(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out strings.Builder
	for _, m := range c.got {
		m = changing.ReplaceAllString(encodeNUL.Replace(m), "$1...")
		for line := range strings.SplitSeq(strings.TrimSuffix(m, "\n"), "\n") {
			fmt.Fprintf(&out, "%s\n", strings.TrimSuffix(name+"< "+line, " "))
		}
	}
	c.got = nil
	if c.over {
		c.over = false
		var closed *transport.CloseError
		if errors.As(c.end, &closed) {
			fmt.Fprintf(&out, "%s< (closed with %d %q)\n", name, closed.Code, closed.Reason)
		} else {
			fmt.Fprintf(&out, "%s< (closed: %v)\n", name, c.end)
		}
	}
	return out.String()
}

func (c *talker) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
}
