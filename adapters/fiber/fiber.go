package fiber

import (
	"errors"
	"net"
	"net/http"
	"time"

	gofiber "github.com/gofiber/fiber/v3"

	"github.com/weftws/weft/handler"
)

var (
	// ErrWritten is what a Handler returns when a middleware had given the response a body
	// before the endpoint was reached. The client gets what the app's ErrorHandler makes of it.
	ErrWritten = errors.New("fiber: a middleware has given the response a body already, so that the request can't become a connection")

	// ErrNoServer is what a Handler returns for requests that no fasthttp.Server has read
	// from a connection, such as those that an adaptor brings from net/http.
	ErrNoServer = errors.New("fiber: the request comes from no connection of a fasthttp.Server")

	// errKept is why a session is aborted that fasthttp has kept the connection of.
	errKept = errors.New("fiber: fasthttp has not handed the connection over")
)

// Options are the settings of a Handler.
type Options struct {
	// TakeoverTimeout bounds the time between the acceptor's yes and fasthttp's handing
	// over of the connection: the time that middleware takes when the handler has returned. The
	// default is 10 s. A longer one holds the place of a session for
	// each request that middleware answers in another way.
	TakeoverTimeout time.Duration
}

// Handler mounts an endpoint on a path. o may be nil. It panics if endpoint is nil, or
// if fasthttp can't carry its transport: it carries those that say so with
// transport.Features.Upgrade.
func Handler(endpoint *handler.Endpoint, o *Options) gofiber.Handler {
	if endpoint == nil {
		panic("fiber: Handler without an endpoint")
	}
	if tr := endpoint.Transport(); !tr.Features().Upgrade {
		panic("fiber: fasthttp can't carry transport " + tr.Name() +
			": only one that takes the connection of a request over, as gobwas and gorilla do; mount it on a net/http server")
	}
	timeout := 10 * time.Second
	if o != nil && o.TakeoverTimeout > 0 {
		timeout = o.TakeoverTimeout
	}
	return func(c gofiber.Ctx) error {
		ctx := c.RequestCtx()
		switch {
		case ctx.ConnRequestNum() == 0:
			return ErrNoServer
		case ctx.Response.IsBodyStream() || len(ctx.Response.Body()) > 0:
			return ErrWritten
		}
		r, err := newRequest(c)
		if err != nil {
			return gofiber.NewError(http.StatusBadRequest, "the request URI is malformed")
		}
		w := newWriter(timeout)
		go w.serve(endpoint, r)
		<-w.decided
		switch {
		case w.panicked != nil:
			panic(w.panicked) // for the app's middleware
		case c.IsAbandoned(): // its client has an answer
			w.giveUp()
		case w.hijacked:
			keeps := c.App().Server().KeepHijackedConns
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(nc net.Conn) { w.handOver(nc, keeps) })
			c.Status(http.StatusSwitchingProtocols) // for access logs
		default:
			w.answer(&ctx.Response)
		}
		return nil
	}
}
