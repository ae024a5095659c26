package gin_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gingonic "github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/adapters/gin"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func echo(t *testing.T, s *handlertest.Server) {
	t.Helper()
	talkAs(t, s, nil)
}

// talkAs returns when the session is open on the server's side too.
func talkAs(t *testing.T, s *handlertest.Server, header http.Header) {
	t.Helper()
	c, err := s.DialWith(&handlertest.DialOptions{Header: header})
	require.NoError(t, err)
	require.NoError(t, c.Send(&subprotocol.Message{Body: []byte("hello")}))
	m, err := c.Receive()
	require.NoError(t, err)
	require.Equal(t, "hello", string(m.Body))
}

// What middleware has Set, and what is in the request's context, is there for the hook,
// and the former for no longer.
func TestValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	engines(t, func(t *testing.T, st handlertest.Stack) {
		st = in(st, func(r *gingonic.Engine, ep *handler.Endpoint) {
			r.Use(func(c *gingonic.Context) {
				c.Set("user", c.GetHeader("Authorization"))
				c.Set("both", "gin's")
				ctx := context.WithValue(c.Request.Context(), key{}, "of net/http")
				c.Request = c.Request.WithContext(context.WithValue(ctx, "both", "not seen")) //nolint:staticcheck // gin's keys are strings
			})
			r.GET("/test", gin.Handler(ep))
			r.GET("/other", func(c *gingonic.Context) { c.Set("user", "somebody else") })
		})
		var kept context.Context
		s := st.Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(ctx context.Context, s *handler.Session, _ *transport.Handshake) error {
				if ctx.Value(key{}) != "of net/http" || ctx.Value("both") != "gin's" || ctx.Value("absent") != nil {
					return &transport.Refusal{Status: http.StatusTeapot}
				}
				s.SetUser(ctx.Value("user").(string))
				kept = ctx
				return nil
			}))
		for _, user := range []string{"ann", "bob"} {
			talkAs(t, s, http.Header{"Authorization": {user}})
			require.Len(t, slices.Collect(s.Endpoint.Sessions().User(user)), 1)
			resp, err := http.Get("http://" + s.Addr + "/other")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}
		require.Equal(t, 2, s.Endpoint.Sessions().Len())
		require.Eventually(t, func() bool { return kept.Value("user") == nil }, handlertest.Timeout, time.Millisecond)
		require.Equal(t, "of net/http", kept.Value(key{}))
	})
}

// buffer is written to by a server.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A middleware that wrote leaves the client with what it wrote, whole, and an error in the
// log.
func TestWritten(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		write  gingonic.HandlerFunc
		status int // 0: the connection is opened
		text   string
	}{
		"header": {func(c *gingonic.Context) { c.Status(202); c.Writer.WriteHeaderNow() }, 202, "begun the response already"},
		"body":   {func(c *gingonic.Context) { c.String(200, "not for you") }, 200, "not for you"},
		"flushed": {func(c *gingonic.Context) {
			c.String(403, "go away")
			c.Writer.Flush()
		}, 403, "go away"},
		"aborted": {func(c *gingonic.Context) { c.AbortWithStatusJSON(401, "who?") }, 401, "who?"},
		"not sent": {func(c *gingonic.Context) {
			c.Status(202)
			c.Header("X-Request-Id", "1")
			c.SetCookie("a", "b", 1, "/", "", false, false)
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engines(t, func(t *testing.T, st handlertest.Stack) {
				var log buffer
				s := in(st, func(r *gingonic.Engine, ep *handler.Endpoint) {
					r.Use(gingonic.LoggerWithWriter(&log), gingonic.Recovery())
					r.GET("/test", tt.write, gin.Handler(ep))
				}).Start(t, handler.HandlerFunc(handlertest.Echo))
				if tt.status == 0 {
					echo(t, s)
					require.Eventually(t, func() bool { return strings.Contains(log.String(), " 101 ") },
						handlertest.Timeout, time.Millisecond, "the log tells what became of the request")
					return
				}
				_, err := s.DialWith(nil)
				var refusal *transport.Refusal
				require.ErrorAs(t, err, &refusal)
				require.Equal(t, tt.status, refusal.Status)
				require.Contains(t, refusal.Text, tt.text)
				require.Zero(t, s.Endpoint.Stats().Accepted)
				require.Eventually(t, func() bool {
					return name == "aborted" || strings.Contains(log.String(), gin.ErrWritten.Error())
				}, handlertest.Timeout, time.Millisecond)
			})
		})
	}
}

// zipped is a compressing writer as gin's users have them.
type zipped struct {
	gingonic.ResponseWriter
	z *gzip.Writer
}

func (w *zipped) Write(p []byte) (int, error)       { return w.z.Write(p) }
func (w *zipped) WriteString(s string) (int, error) { return w.z.Write([]byte(s)) }

func compress(c *gingonic.Context) {
	z := gzip.NewWriter(c.Writer)
	c.Writer = &zipped{c.Writer, z}
	c.Next()
	_ = z.Close() // writes a header and a trailer
}

// dump keeps what is written, and writes it when the handler has returned.
func dump(c *gingonic.Context) {
	w := &dumped{ResponseWriter: c.Writer}
	c.Writer = w
	c.Next()
	_, _ = w.ResponseWriter.Write(append(w.body.Bytes(), "the end"...))
}

type dumped struct {
	gingonic.ResponseWriter
	body bytes.Buffer
}

func (w *dumped) Write(p []byte) (int, error) { return w.body.Write(p) }

// inTime runs what follows on another goroutine, with a writer that keeps the response, and
// answers in its place when that takes too long.
func inTime(d time.Duration) gingonic.HandlerFunc {
	return func(c *gingonic.Context) {
		w := &timed{ResponseWriter: c.Writer, header: make(http.Header), status: http.StatusServiceUnavailable}
		c.Writer = w
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Next()
		}()
		select {
		case <-done:
		case <-time.After(d):
		}
		w.mu.Lock()
		w.late = true
		if !w.hijacked {
			maps.Copy(w.ResponseWriter.Header(), w.header)
			w.ResponseWriter.Header().Set("Content-Length", strconv.Itoa(len(w.body)))
			w.ResponseWriter.WriteHeader(w.status)
			_, _ = w.ResponseWriter.Write(w.body)
			w.ResponseWriter.Flush()
		}
		w.mu.Unlock()
		<-done
	}
}

type timed struct {
	gingonic.ResponseWriter
	mu             sync.Mutex
	late, hijacked bool
	header         http.Header
	status         int
	body           []byte
}

func (w *timed) Header() http.Header { return w.header }

func (w *timed) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *timed) Written() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hijacked || len(w.body) > 0
}

func (w *timed) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *timed) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late {
		return nil, nil, http.ErrHandlerTimeout
	}
	w.hijacked = true
	return w.ResponseWriter.Hijack()
}

func TestMiddlewareAround(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack) {
		s := in(st, func(r *gingonic.Engine, ep *handler.Endpoint) {
			r.Use(gingonic.LoggerWithWriter(io.Discard), gingonic.Recovery(), compress, dump, inTime(handlertest.Timeout), compress)
			r.GET("/test", gin.Handler(ep), func(c *gingonic.Context) { c.String(200, "a handler behind") })
		}).Start(t, handler.HandlerFunc(handlertest.Echo))
		for range 3 { // what is written afterwards is in no connection's bytes
			echo(t, s)
		}
	})
}

// When a middleware loses patience while the hook thinks, the client has its answer and the
// session is let go of.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack) {
		answered := make(chan struct{})
		s := in(st, func(r *gingonic.Engine, ep *handler.Endpoint) {
			r.GET("/test", inTime(time.Millisecond), gin.Handler(ep))
		}).Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(context.Context, *handler.Session, *transport.Handshake) error {
				<-answered
				return nil
			}))
		_, err := s.DialWith(nil)
		close(answered)
		var refusal *transport.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, http.StatusServiceUnavailable, refusal.Status)
		require.Eventually(t, func() bool { return s.Endpoint.Stats().Aborted == 1 }, handlertest.Timeout, time.Millisecond)
	})
}

// unwrapped is a ResponseWriter of net/http middleware that has no Hijack of its own.
type unwrapped struct{ http.ResponseWriter }

func (w unwrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Middleware of net/http may stand in front of gin.
func TestInFront(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack) {
		wrapped := func(wrap func(http.Handler) http.Handler) *handlertest.Server {
			return st.Served("gin", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
				r := gingonic.New()
				r.Use(gingonic.Recovery())
				r.GET("/test", gin.Handler(ep))
				return serve(wrap(r), ln)
			}).Start(t, handler.HandlerFunc(handlertest.Echo))
		}
		echo(t, wrapped(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(unwrapped{w}, r) })
		}))
		s := wrapped(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, handlertest.Timeout, "late") })
		_, err := s.DialWith(nil)
		var refusal *transport.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, http.StatusInternalServerError, refusal.Status)
		require.Contains(t, refusal.Text, "can't hand over the connection")
		require.EqualValues(t, 1, s.Endpoint.Stats().Aborted)
	})
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	h := http.NotFoundHandler()
	require.PanicsWithValue(t, "gin: Handler without an endpoint", func() { gin.Handler(nil) })
	require.PanicsWithValue(t, "gin: Mount without an endpoint", func() { gin.Mount(gingonic.New(), "/a", nil) })
	for _, prefix := range []string{"", "a", "/a/", "/"} {
		require.Panics(t, func() { gin.Mount(gingonic.New(), prefix, h) }, prefix)
	}
}
