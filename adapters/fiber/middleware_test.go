package fiber_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	gofiber "github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/compress"
	"github.com/gofiber/fiber/v3/middleware/cors"
	"github.com/gofiber/fiber/v3/middleware/etag"
	"github.com/gofiber/fiber/v3/middleware/helmet"
	"github.com/gofiber/fiber/v3/middleware/logger"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/gofiber/fiber/v3/middleware/requestid"
	"github.com/gofiber/fiber/v3/middleware/timeout"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/adapters/fiber"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/sockjs"
	"github.com/weftws/weft/transport/tcp"
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

func requireRefused(t *testing.T, s *handlertest.Server, status int, text string) {
	t.Helper()
	_, err := s.DialWith(nil)
	var refusal *transport.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, status, refusal.Status)
	require.Contains(t, refusal.Text, text)
}

// Locals and what is in the context reach the hook, and what a session keeps of them is
// its own: fasthttp uses a request's memory again.
func TestValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	engines(t, func(t *testing.T, st handlertest.Stack, keeps bool) {
		st = in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
			app.Use(func(c gofiber.Ctx) error {
				c.Locals("user", c.Get("Authorization")) // not copied
				c.Locals("bytes", c.Request().Header.Peek("Authorization"))
				c.Locals("both", "fiber's")
				c.Locals(key{}, 5)
				//nolint:staticcheck // fiber's keys are strings
				c.SetContext(context.WithValue(context.WithValue(context.Background(), "in context", "yes"), "both", "not seen"))
				return c.Next()
			})
			app.Get("/test", fiber.Handler(ep, nil))
		})
		var mu sync.Mutex
		kept := make(map[string][]byte)
		s := st.Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
				if ctx.Value(key{}) != 5 || ctx.Value("both") != "fiber's" || ctx.Value("in context") != "yes" || ctx.Value("absent") != nil {
					return &transport.Refusal{Status: http.StatusTeapot}
				}
				if h.Query != "" || h.Path != "/test" {
					return &transport.Refusal{Status: http.StatusTeapot, Text: h.Path}
				}
				s.SetUser(ctx.Value("user").(string))
				mu.Lock()
				defer mu.Unlock()
				kept[s.ID()+h.Header.Get("authorization")] = ctx.Value("bytes").([]byte)
				return nil
			}))
		const n = 20
		for i := range n {
			talkAs(t, s, http.Header{"Authorization": {fmt.Sprintf("user %04d", i)}})
		}
		for i := range n {
			name := fmt.Sprintf("user %04d", i)
			found := 0
			for ses := range s.Endpoint.Sessions().User(name) {
				found++
				require.Equal(t, name, ses.User())
				require.Equal(t, name, string(kept[ses.ID()+name]))
			}
			require.Equal(t, 1, found, name)
		}
	})
}

func TestWritten(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(c gofiber.Ctx) error{
		"body":   func(c gofiber.Ctx) error { return c.SendString("not for you") },
		"stream": func(c gofiber.Ctx) error { return c.SendStream(strings.NewReader("not for you")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engines(t, func(t *testing.T, st handlertest.Stack, keeps bool) {
				seen := make(chan error, 1)
				s := in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
					app.Use(func(c gofiber.Ctx) error {
						err := c.Next()
						seen <- err
						return err
					}, func(c gofiber.Ctx) error {
						if err := write(c); err != nil {
							return err
						}
						return c.Next()
					})
					app.Get("/test", fiber.Handler(ep, nil))
				}).Start(t, handler.HandlerFunc(handlertest.Echo))
				requireRefused(t, s, http.StatusInternalServerError, fiber.ErrWritten.Error())
				require.ErrorIs(t, <-seen, fiber.ErrWritten)
				require.Zero(t, s.Endpoint.Stats().Accepted)
			})
		})
	}
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

// What fiber's own middleware sets, and what is written when the handler has returned, is in
// no connection's bytes.
func TestMiddlewareAround(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack, keeps bool) {
		var log buffer
		s := in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
			app.Use(logger.New(logger.Config{Stream: &log, Format: "${status} ${path}\n"}), recover.New(), compress.New(), cors.New(),
				helmet.New(), etag.New(), requestid.New(), func(c gofiber.Ctx) error {
					c.Status(http.StatusAccepted)
					c.Cookie(&gofiber.Cookie{Name: "a", Value: "b"})
					if err := c.Next(); err != nil {
						return err
					}
					c.Set("X-Late", "yes")
					_, err := c.WriteString("the end")
					return err
				})
			app.Get("/test", timeout.New(fiber.Handler(ep, nil), timeout.Config{Timeout: handlertest.Timeout}))
		}).Start(t, handler.HandlerFunc(handlertest.Echo))
		for range 3 {
			talk(t, s)
		}
		require.Eventually(t, func() bool { return strings.Count(log.String(), "101 /test\n") == 3 }, handlertest.Timeout, time.Millisecond)
	})
}

// When a middleware loses patience while the hook thinks, or gives the connection to somebody
// else, the client has its answer and the session is let go of.
func TestNotHandedOver(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, st handlertest.Stack, keeps bool) {
		answered := make(chan struct{})
		s := in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
			app.Get("/test", timeout.New(fiber.Handler(ep, nil), timeout.Config{Timeout: time.Millisecond}))
		}).Start(t, handler.HandlerFunc(handlertest.Echo), handler.WithAccept(
			func(ctx context.Context, _ *handler.Session, _ *transport.Handshake) error {
				<-ctx.Done()
				<-answered
				return nil
			}))
		requireRefused(t, s, http.StatusRequestTimeout, "Request Timeout")
		close(answered)
		require.Eventually(t, func() bool { return s.Endpoint.Stats().Aborted == 1 }, handlertest.Timeout, time.Millisecond)

		s = in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
			app.Use(func(c gofiber.Ctx) error {
				err := c.Next()
				c.RequestCtx().Hijack(nil)
				c.Status(http.StatusGone)
				return err
			})
			app.Get("/test", fiber.Handler(ep, &fiber.Options{TakeoverTimeout: 20 * time.Millisecond}))
		}).Start(t, handler.HandlerFunc(handlertest.Echo))
		requireRefused(t, s, http.StatusGone, "")
		require.Eventually(t, func() bool { return s.Endpoint.Stats().Aborted == 1 }, handlertest.Timeout, time.Millisecond)
	})
}

// odd is a transport of which ServeHTTP is something else.
type odd struct {
	transport.Transport
	serve func(w http.ResponseWriter, r *http.Request)
}

func (o odd) ServeHTTP(w http.ResponseWriter, r *http.Request, _ transport.Acceptor) { o.serve(w, r) }

// An endpoint's panic is the app's, as long as it has the request; its goroutine's end is an answer.
func TestTrouble(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		serve  func(w http.ResponseWriter, r *http.Request)
		status int
		text   string
	}{
		"panic":  {func(http.ResponseWriter, *http.Request) { panic("in ServeHTTP") }, 500, "in ServeHTTP"},
		"goexit": {func(http.ResponseWriter, *http.Request) { runtime.Goexit() }, 500, ""},
		"late panic": {func(w http.ResponseWriter, _ *http.Request) {
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer nc.Close()
			_, _, err = http.NewResponseController(w).Hijack()
			fmt.Fprintf(nc, "HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\n%.4s", err)
			panic("in ServeHTTP, behind Hijack")
		}, 410, "http"},
		"body alone": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }, 200, "hello"},
		"two statuses": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("X-Two", "one")
			w.Header().Add("X-Two", "two")
			w.WriteHeader(402)
			w.WriteHeader(403)
		}, 402, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ep := handler.NewEndpoint(odd{gobwas.New(nil), tt.serve}, handler.HandlerFunc(handlertest.Echo), handler.WithSubProtocols(raw.New(nil)))
			app := gofiber.New()
			app.Get("/test", recover.New(), fiber.Handler(ep, nil))
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			stop := serve(app, ln)
			nc, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer func() { require.NoError(t, stop()) }()
			defer nc.Close()
			_, err = io.WriteString(nc, "GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, tt.status, resp.StatusCode)
			require.Contains(t, string(text), tt.text)
			if tt.status == 402 {
				require.Equal(t, []string{"one", "two"}, resp.Header.Values("X-Two"))
			}
		})
	}
}

// An app that net/http serves has no connection to hand over.
func TestNoServer(t *testing.T) {
	t.Parallel()
	ep := handler.NewEndpoint(gobwas.New(nil), handler.HandlerFunc(handlertest.Echo), handler.WithSubProtocols(raw.New(nil)))
	app := gofiber.New()
	app.Get("/test", fiber.Handler(ep, nil))
	rec := httptest.NewRecorder()
	adaptor.FiberApp(app)(rec, httptest.NewRequest(http.MethodGet, "/test", nil))
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Equal(t, fiber.ErrNoServer.Error(), rec.Body.String())
}

// What fasthttp can't carry is refused by name, before there is a request.
func TestMisuse(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "fiber: Handler without an endpoint", func() { fiber.Handler(nil, nil) })
	for name, tr := range map[string]transport.Transport{
		"sockjs": sockjs.New(gobwas.New(nil), nil), "pipe": pipe.New(nil), "tcp": tcp.New(nil),
	} {
		h := handler.HandlerFunc(handlertest.Echo)
		require.PanicsWithValue(t, "fiber: fasthttp can't carry transport "+name+": only one that takes the connection of a "+
			"request over, as gobwas and gorilla do; mount it on a net/http server",
			func() { fiber.Handler(handler.NewEndpoint(tr, h, handler.WithSubProtocols(stomp.New(nil))), nil) })
	}
}
