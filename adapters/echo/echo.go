package echo

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	labstack "github.com/labstack/echo/v5"
)

// ErrWritten is what Handler returns when a middleware had begun the response before the
// endpoint was reached. The client has that response, and no connection.
var ErrWritten = errors.New("echo: a middleware has begun the response already, so that the request can't become a connection")

// Handler mounts an endpoint, or net/http middleware around one, on a path. It panics if
// endpoint is nil.
func Handler(endpoint http.Handler) labstack.HandlerFunc {
	if endpoint == nil {
		panic("echo: Handler without an endpoint")
	}
	return func(c *labstack.Context) error {
		// Without one of echo's below it, the writer leads to no connection either.
		res, _ := labstack.UnwrapResponse(c.Response())
		if res != nil && res.Committed {
			c.Logger().Error(ErrWritten.Error(), "path", c.Path()) // echo's error handler would be silent
			if res.Size == 0 {                                     // no more than the header
				_, _ = c.Response().Write([]byte(ErrWritten.Error() + "\n"))
			}
			return ErrWritten
		}
		v := &values{Context: c.Request().Context(), c: c}
		defer v.leave()
		endpoint.ServeHTTP(&writer{c.Response(), res}, c.Request().WithContext(v))
		return nil
	}
}

// Router is what Mount needs of *echo.Echo and *echo.Group.
type Router interface {
	Any(path string, h labstack.HandlerFunc, m ...labstack.MiddlewareFunc) labstack.RouteInfo
}

// Mount mounts an endpoint, or net/http middleware around one, on prefix and on all paths
// below it, for every method: it is for a SockJS endpoint, which has many paths. The
// endpoint sees what lies below prefix, which may have parameters. Mount panics if endpoint
// is nil, or if prefix does not begin with a slash or ends with one.
func Mount(r Router, prefix string, endpoint http.Handler) {
	if endpoint == nil {
		panic("echo: Mount without an endpoint")
	}
	if !strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") {
		panic("echo: Mount: prefix " + prefix + " must begin with a slash and not end with one")
	}
	below := func(c *labstack.Context) error {
		return Handler(http.StripPrefix(mounted(c.Request().URL, c.Param("*")), endpoint))(c)
	}
	r.Any(prefix, below)
	r.Any(prefix+"/*", below)
}

// mounted is the path of u in front of rest, which echo may have found in either form of
// it.
func mounted(u *url.URL, rest string) string {
	front, ok := strings.CutSuffix(u.EscapedPath(), rest)
	if ok {
		if decoded, err := url.PathUnescape(front); err == nil {
			front = decoded
		}
	} else {
		front = strings.TrimSuffix(u.Path, rest)
	}
	return strings.TrimSuffix(front, "/")
}

// values is the request's context with what middleware has Set. echo uses its Contexts for
// one request after the other, so this one lets go.
type values struct {
	context.Context

	mu sync.RWMutex
	c  *labstack.Context
}

func (v *values) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.c = nil
}

// Value prefers what was Set.
func (v *values) Value(key any) any {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if name, ok := key.(string); ok && v.c != nil {
		if value := v.c.Get(name); value != nil {
			return value
		}
	}
	return v.Context.Value(key)
}

// writer tells echo's Response that it has lost its connection: echo asks only whether
// it has written.
type writer struct {
	http.ResponseWriter
	res *labstack.Response // may be nil
}

var _ http.Hijacker = (*writer)(nil)

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is that of net/http.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.res != nil {
		w.res.Committed, w.res.Status = true, http.StatusSwitchingProtocols
	}
	return nc, rw, err
}
