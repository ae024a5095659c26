// Package gin mounts weft's endpoints in routers of github.com/gin-gonic/gin.
//
// # Use
//
// An endpoint is a handler of one path. What middleware in front of it has Set is in the
// context of the hook that admits clients:
//
//	ep := handler.NewEndpoint(gobwas.New(nil), h, handler.WithSubProtocols(raw.New(nil)), handler.WithAccept(
//		func(ctx context.Context, s *handler.Session, _ *transport.Handshake) error {
//			user, _ := ctx.Value("user").(string)
//			s.SetUser(user)
//			return nil
//		}))
//	r := gin.Default()
//	r.GET("/ws", authenticate, weftgin.Handler(ep)) // authenticate calls c.Set("user", name)
//	r.Run("127.0.0.1:8080")
//
// where weftgin is the name under which this package is imported. A SockJS endpoint has
// many paths, and [Mount] all of them:
//
//	weftgin.Mount(r, "/sockjs", handler.NewEndpoint(sockjs.New(gobwas.New(nil), nil), mux, opts...))
//
// # Options
//
// There are none: they are the endpoint's and the transport's.
//
// # Semantics
//
// Every transport that net/http serves runs here. The connection is taken over from
// gin, which sees its request end with status 101: a message costs what it costs under
// net/http.
//
// The hook of handler.WithAccept finds with ctx.Value what c.Get finds, and behind that what is
// in the request's own context. gin uses its Contexts again, so that a ctx which is kept
// until the hook has returned finds only the latter.
//
// Middleware may replace c.Writer as long as its Hijack leads to gin's, as those do
// that embed gin.ResponseWriter. What it writes when the handler has returned fails with
// http.ErrHijacked and reaches nobody. Where no Hijack leads to the server the client is
// refused with a text that says so. A middleware that had begun the response gives [ErrWritten],
// in c.Errors and so in gin's log, and in the body of the response if that has not begun.
// A status or fields that are set and not sent do no harm; they are not in the answer to a
// handshake.
//
// Another way to mount SockJS is in front of the router, with sockjs.Mount: gin's
// middleware then does not see these requests.
//
// # Limits
//
// HTTP/2 carries no WebSocket here, as under net/http: browsers use a connection with
// HTTP/1.1. The parameters of a route are not in the Handshake; a middleware can Set them.
// http.Server.ReadHeaderTimeout bounds a request that does not come; gin's Run sets none.
package gin
