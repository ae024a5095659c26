package gin

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"

	gingonic "github.com/gin-gonic/gin"
)

// ErrWritten is what a request's Errors get when a middleware had begun the response
// before the endpoint was reached. The client has that response, and no connection.
var ErrWritten = errors.New("gin: a middleware has begun the response already, so that the request can't become a connection")

// Handler mounts an endpoint, or net/http middleware around one, on a path. It panics if
// endpoint is nil.
func Handler(endpoint http.Handler) gingonic.HandlerFunc {
	if endpoint == nil {
		panic("gin: Handler without an endpoint")
	}
	return func(c *gingonic.Context) {
		if c.Writer.Written() {
			_ = c.Error(ErrWritten)
			c.Abort()
			if c.Writer.Size() == 0 { // no more than the header
				_, _ = c.Writer.WriteString(ErrWritten.Error() + "\n")
			}
			return
		}
		v := &values{Context: c.Request.Context(), c: c}
		defer v.leave()
		endpoint.ServeHTTP(&writer{c.Writer}, c.Request.WithContext(v))
	}
}

// wildcard is the name of the parameter in the routes of Mount.
const wildcard = "weft"

// Mount mounts an endpoint, or net/http middleware around one, on prefix and on all paths
// below it, for every method: it is for a SockJS endpoint, which has many paths. The
// endpoint sees what lies below prefix, which may have parameters. r is an engine or a
// group. Mount panics if endpoint is nil, or if prefix does not begin with a slash or ends with one.
func Mount(r gingonic.IRoutes, prefix string, endpoint http.Handler) {
	if endpoint == nil {
		panic("gin: Mount without an endpoint")
	}
	if !strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/") {
		panic("gin: Mount: prefix " + prefix + " must begin with a slash and not end with one")
	}
	below := func(c *gingonic.Context) {
		mounted := strings.TrimSuffix(c.Request.URL.Path, c.Param(wildcard))
		Handler(http.StripPrefix(mounted, endpoint))(c)
	}
	r.Any(prefix, below) // else gin redirects
	r.Any(prefix+"/*"+wildcard, below)
}

// values is the request's context with what middleware has Set. gin uses its Contexts for
// one request after the other, so this one lets go.
type values struct {
	context.Context

	mu sync.RWMutex
	c  *gingonic.Context
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
	if v.c != nil {
		if value, ok := v.c.Get(key); ok {
			return value
		}
	}
	return v.Context.Value(key)
}

// writer is a gin.ResponseWriter whose status tells what became of the request.
type writer struct{ gingonic.ResponseWriter }

var _ http.Hijacker = (*writer)(nil)

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack goes around gin where gin relies on a Hijacker that is not there.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.WriteHeader(http.StatusSwitchingProtocols) // for access logs: gin writes nothing yet
	if u, ok := w.ResponseWriter.(interface{ Unwrap() http.ResponseWriter }); ok {
		if _, ok := u.Unwrap().(http.Hijacker); !ok {
			return http.NewResponseController(u.Unwrap()).Hijack()
		}
	}
	return w.ResponseWriter.Hijack()
}
