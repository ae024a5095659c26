package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// naive is a slog.Handler that quotes nothing, as homemade ones do.
type naive struct {
	mu    sync.Mutex
	level slog.Level
	lines []string
}

func (n *naive) Enabled(_ context.Context, l slog.Level) bool { return l >= n.level }
func (n *naive) WithAttrs([]slog.Attr) slog.Handler           { return n }
func (n *naive) WithGroup(string) slog.Handler                { return n }
func (n *naive) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %s:", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%s", a.Key, a.Value)
		return true
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, b.String())
	return nil
}

// take returns the lines since the last take, with the session's ID replaced.
func (n *naive) take(id string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	for _, l := range n.lines {
		lines = append(lines, strings.ReplaceAll(l, id, "ID"))
	}
	n.lines = nil
	return lines
}

func TestLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &naive{level: slog.LevelDebug}
		var id string
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			id = r.Session.ID()
			if r.Message.Kind == subprotocol.KindConnect {
				r.Session.SetUser("an\nn")
			}
			time.Sleep(time.Millisecond)
			switch r.Message.Destination {
			case "/fails":
				return errors.New("disk\x1b[2J full")
			case "/refuses":
				return &subprotocol.Error{Code: "no\n", Text: "not\rthis"}
			case "/panics":
				panic("oops")
			case "/ends":
				_ = r.Session.Close(1000, "")
				time.Sleep(time.Second)
				return fmt.Errorf("asked: %w", net.ErrClosed)
			}
			r.Message.Destination = "/changed"
			return nil
		}, handler.WithMiddleware(middleware.RequestID, middleware.Log(slog.New(log)), middleware.Recover))
		c := s.dial([2]string{"authorization", "Bearer secret"})
		for _, d := range []string{"/app/x", `/a\nb\u202e\u0000`, "/fails", "/refuses", "/panics", "/ends"} {
			c.send(`{"type":"send","destination":"` + d + `","receipt":"1","body":"secret"}`)
			time.Sleep(time.Second)
		}
		<-c.gone
		time.Sleep(5 * time.Second)
		synctest.Wait()
		const who = " session=ID user=an?n transport=pipe subprotocol="
		require.Equal(t, []string{
			"INFO session connected: kind=CONNECT request=PREFIX-1 duration=1ms" + who + " path=/chat remote=client-1",
			"DEBUG message handled: kind=SEND destination=/app/x request=1 duration=1ms" + who,
			"DEBUG message handled: kind=SEND destination=/a?b?? request=1 duration=1ms" + who,
			"ERROR message failed: kind=SEND destination=/fails request=1 duration=1ms" + who + " code=internal error=disk?[2J full",
			"WARN message refused: kind=SEND destination=/refuses request=1 duration=1ms" + who + " code=no? error=subprotocol: no?: not?this",
			"ERROR message failed: kind=SEND destination=/panics request=1 duration=1ms" + who + " code=internal error=middleware: panic: oops",
			"DEBUG message handled: kind=SEND destination=/ends request=1 duration=1.001s" + who + " error=asked: use of closed network connection",
			"INFO session ended: kind=DISCONNECT request=PREFIX-2 duration=1ms" + who + " cause=transport: ended with status 1000: closed on this side",
		}, withoutPrefix(log.take(id)))
	})
}

// withoutPrefix replaces what RequestID has drawn.
func withoutPrefix(lines []string) []string {
	for i, l := range lines {
		before, rest, ok := strings.Cut(l, "request=")
		if _, n, made := strings.Cut(rest, "-"); ok && made && strings.Index(rest, "-") == 8 {
			lines[i] = before + "request=PREFIX-" + n
		}
	}
	return lines
}

// TestLogLevels: what a production logger is not interested in costs it nothing, and a
// panic that passes is not missed.
func TestLogLevels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &naive{level: slog.LevelInfo}
		var id string
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			id = r.Session.ID()
			if r.Message.Destination == "/panics" {
				panic("oops")
			}
			return nil
		}, handler.WithMiddleware(middleware.Log(slog.New(log))))
		c := s.dial()
		c.send(send, `{"type":"send","destination":"/panics"}`)
		<-c.gone
		require.Equal(t, []string{"connected", "receipt"}, c.codes()) // waits for the Disconnect too
		lines := log.take(id)
		require.Len(t, lines, 3)
		require.Contains(t, lines[0], "INFO session connected")
		require.Contains(t, lines[1], "ERROR message failed: kind=SEND destination=/panics")
		require.Contains(t, lines[1], "panicked")
		require.Contains(t, lines[2], "INFO session ended")
	})
	require.Panics(t, func() { middleware.Log(nil) })
	require.Panics(t, func() { middleware.LogOutbound(nil) })
}

// TestLogOfTheEnd: a handler that found its session ended has not failed.
func TestLogOfTheEnd(t *testing.T) {
	for _, end := range []error{net.ErrClosed, context.Canceled, errors.New("failed")} {
		t.Run(end.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := &naive{level: slog.LevelInfo}
				s := newStack(t, on(subprotocol.KindDisconnect, func(context.Context, handler.Request) error { return end }),
					handler.WithMiddleware(middleware.Log(slog.New(log))))
				s.dial().leave()
				lines := log.take("none")
				require.Len(t, lines, 2)
				if errors.Is(end, net.ErrClosed) || errors.Is(end, context.Canceled) {
					require.Contains(t, lines[1], "INFO session ended")
				} else {
					require.Contains(t, lines[1], "ERROR message failed")
				}
			})
		})
	}
}

func TestLogOutbound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &naive{level: slog.LevelDebug}
		var sess *handler.Session
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			sess = r.Session
			if r.Message.Kind != subprotocol.KindSend {
				return nil
			}
			_, err := r.Reply(&subprotocol.Message{Kind: subprotocol.KindBegin})
			require.Error(t, err, "a server has no Begin")
			return &subprotocol.Error{Code: "no", Text: "secret"}
		}, handler.WithOutbound(middleware.LogOutbound(slog.New(log))))
		c := s.dial()
		c.send(send)
		require.Equal(t, []string{"connected", "no"}, c.codes())
		_, err := sess.Send(&subprotocol.Message{Destination: "/to\npic", Body: []byte("secret")})
		require.NoError(t, err)
		c.leave()
		lines := log.take(sess.ID())
		require.Len(t, lines, 4)
		require.Equal(t, "DEBUG message sent: kind=CONNECTED status=sent session=ID user= transport=pipe subprotocol=", lines[0])
		require.Contains(t, lines[1], "WARN message dropped: kind=BEGIN status=dropped session=ID user= transport=pipe subprotocol= error=")
		require.Equal(t, "DEBUG message sent: kind=ERROR status=sent session=ID user= transport=pipe subprotocol= code=no", lines[2])
		require.Equal(t, "DEBUG message sent: kind=DELIVER destination=/to?pic status=queued session=ID user= transport=pipe subprotocol=", lines[3])
	})
}
