package echo_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	labstack "github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/adapters/echo"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func talk(t *testing.T, s *handlertest.Server) {
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

// before is middleware that does something, and goes on.
func before(f func(c *labstack.Context)) labstack.MiddlewareFunc {
	return func(next labstack.HandlerFunc) labstack.HandlerFunc {
		return func(c *labstack.Context) error {
			f(c)
			return next(c)
		}
	}
}

// What middleware has Set, and what is in the request's context, is there for the hook,
// and the former for no longer.
func TestValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	engines(t, func(t *testing.T, st handlertest.Stack) {
		st = in(st, func(r *labstack.Echo, ep *handler.Endpoint) {
			r.Use(before(func(c *labstack.Context) {
				c.Set("user", c.Request().Header.Get("Authorization"))
				c.Set("both", "echo's")
				ctx := context.WithValue(c.Request().Context(), key{}, "of net/http")
				c.SetRequest(c.Request().WithContext(context.WithValue(ctx, "both", "not seen"))) //nolint:staticcheck // echo's keys are strings
			}))
			r.GET("/test", echo.Handler(ep))
			r.GET("/other", func(c *labstack.Context) error {
				c.Set("user", "somebody else")
				return nil
			})
		})
		var kept context.Context
		s := st.Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(ctx context.Context, s *handler.Session, _ *transport.Handshake) error {
				if ctx.Value(key{}) != "of net/http" || ctx.Value("both") != "echo's" || ctx.Value("absent") != nil {
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
		write  func(c *labstack.Context)
		status int // 0: the connection is opened
		text   string
	}{
		"header": {func(c *labstack.Context) { c.Response().WriteHeader(202) }, 202, "begun the response already"},
		"body":   {func(c *labstack.Context) { _ = c.String(200, "not for you") }, 200, "not for you"},
		"flushed": {func(c *labstack.Context) {
			_ = c.String(403, "go away")
			c.Response().(http.Flusher).Flush()
		}, 403, "go away"},
		"not sent": {func(c *labstack.Context) {
			c.Response().Header().Set("X-Request-Id", "1")
			c.SetCookie(&http.Cookie{Name: "a", Value: "b"})
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engines(t, func(t *testing.T, st handlertest.Stack) {
				var log buffer
				s := in(st, func(r *labstack.Echo, ep *handler.Endpoint) {
					r.Logger = slog.New(slog.NewTextHandler(&log, nil))
					r.Use(middleware.RequestLogger())
					r.GET("/test", echo.Handler(ep), middleware.Recover(), before(tt.write))
				}).Start(t, handler.HandlerFunc(handlertest.Echo))
				if tt.status == 0 {
					talk(t, s)
					require.Eventually(t, func() bool { return strings.Contains(log.String(), "status=101") },
						handlertest.Timeout, time.Millisecond, "the log tells what became of the request")
					return
				}
				_, err := s.DialWith(nil)
				var refusal *transport.Refusal
				require.ErrorAs(t, err, &refusal)
				require.Equal(t, tt.status, refusal.Status)
				require.Contains(t, refusal.Text, tt.text)
				require.Zero(t, s.Endpoint.Stats().Accepted)
				require.Eventually(t, func() bool { return strings.Contains(log.String(), echo.ErrWritten.Error()) },
					handlertest.Timeout, time.Millisecond)
			})
		})
	}
}

// What echo's own middleware puts around the response, and what is written when the handler
// has returned, is in no connection's bytes.
func TestMiddlewareAround(t *testing.T) {
	t.Parallel()
	after := func(next labstack.HandlerFunc) labstack.HandlerFunc {
		return func(c *labstack.Context) error {
			if err := next(c); err != nil {
				return err
			}
			return c.String(http.StatusOK, "the end")
		}
	}
	engines(t, func(t *testing.T, st handlertest.Stack) {
		s := in(st, func(r *labstack.Echo, ep *handler.Endpoint) {
			r.Use(middleware.RequestLogger(), middleware.Recover(), middleware.GzipWithConfig(middleware.GzipConfig{}),
				middleware.BodyDump(func(*labstack.Context, []byte, []byte, error) {}),
				middleware.ContextTimeout(handlertest.Timeout), middleware.BodyLimit(1<<10), middleware.Secure(),
				middleware.RequestID(), after)
			r.GET("/test", echo.Handler(ep))
		}).Start(t, handler.HandlerFunc(handlertest.Echo))
		for range 3 {
			talkAs(t, s, http.Header{"Accept-Encoding": {"gzip"}})
		}
	})
}

// When a middleware loses patience the hook learns of it, and the client has an answer.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack) {
		s := in(st, func(r *labstack.Echo, ep *handler.Endpoint) {
			r.GET("/test", echo.Handler(ep), middleware.ContextTimeout(time.Millisecond))
		}).Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(ctx context.Context, _ *handler.Session, _ *transport.Handshake) error {
				<-ctx.Done()
				return &transport.Refusal{Status: http.StatusServiceUnavailable, Text: context.Cause(ctx).Error()}
			}))
		_, err := s.DialWith(nil)
		require.ErrorContains(t, err, context.DeadlineExceeded.Error())
		require.EqualValues(t, 1, s.Endpoint.Stats().Refused.Hook)
	})
}

// Middleware of net/http may stand in front of echo.
func TestInFront(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack) {
		wrapped := func(wrap func(http.Handler) http.Handler, m ...labstack.MiddlewareFunc) *handlertest.Server {
			return st.Served("echo", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
				r := labstack.New()
				r.Logger = slog.New(slog.DiscardHandler)
				r.Use(m...)
				r.GET("/test", echo.Handler(ep))
				return serve(wrap(r), ln)
			}).Start(t, handler.HandlerFunc(handlertest.Echo))
		}
		talk(t, wrapped(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(unwrapped{w}, r) })
		}))
		for _, s := range []*handlertest.Server{
			wrapped(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, handlertest.Timeout, "late") }),
			wrapped(func(h http.Handler) http.Handler { return h }, before(func(c *labstack.Context) {
				c.SetResponse(struct{ http.ResponseWriter }{c.Response()}) // leads nowhere
			})),
		} {
			_, err := s.DialWith(nil)
			var refusal *transport.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, http.StatusInternalServerError, refusal.Status)
			require.Contains(t, refusal.Text, "can't hand over the connection")
			require.EqualValues(t, 1, s.Endpoint.Stats().Aborted)
		}
	})
}

// unwrapped is a ResponseWriter of net/http middleware that has no Hijack of its own.
type unwrapped struct{ http.ResponseWriter }

func (w unwrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestMisuse(t *testing.T) {
	t.Parallel()
	h := http.NotFoundHandler()
	require.PanicsWithValue(t, "echo: Handler without an endpoint", func() { echo.Handler(nil) })
	require.PanicsWithValue(t, "echo: Mount without an endpoint", func() { echo.Mount(labstack.New(), "/a", nil) })
	for _, prefix := range []string{"", "a", "/a/", "/"} {
		require.Panics(t, func() { echo.Mount(labstack.New(), prefix, h) }, prefix)
	}
}
