// Package fiber mounts weft's endpoints in apps of github.com/gofiber/fiber/v3.
//
// It is for version 3, the current one. The server below fiber is fasthttp and not net/http,
// so that fiber's own adaptor can't do it: it gives away no more than a copy of the
// request, and keeps what a client has sent behind it.
//
// # Use
//
// An endpoint is a handler of one path. What middleware in front of it has put into Locals is
// in the context of the hook that admits clients:
//
//	ep := handler.NewEndpoint(gobwas.New(nil), h, handler.WithSubProtocols(raw.New(nil)), handler.WithAccept(
//		func(ctx context.Context, s *handler.Session, _ *transport.Handshake) error {
//			user, _ := ctx.Value("user").(string)
//			s.SetUser(user)
//			return nil
//		}))
//	app := fiber.New()
//	app.Server().KeepHijackedConns = true
//	app.Get("/ws", authenticate, weftfiber.Handler(ep, nil)) // authenticate calls c.Locals("user", name)
//	app.Listen("127.0.0.1:8080")
//
// where weftfiber is the name under which this package is imported.
//
// # Options
//
// KeepHijackedConns is fasthttp's. With it fasthttp lets go of a connection that was taken over.
// Without it fasthttp keeps a goroutine, the request and a buffer of each connection
// until its end, and a second goroutine waits while bytes leave. The flag holds for the
// whole server: other handlers that take connections over must close them themselves. It must not
// be changed while the app serves, and an app whose Handler is given to another
// fasthttp.Server must have it as that server has it. [Options] has what there is besides;
// nil is fine.
//
// # Semantics
//
// The transports gobwas and gorilla run here, plain and over TLS, and any other with
// transport.Features.Upgrade. Others can't, and [Handler] panics while the program is set up:
//
//   - sockjs: its requests wait, are answered piece by piece, and must notice when their
//     client goes, of which fasthttp tells nothing;
//   - tcp and pipe: they are not reached through HTTP on any server.
//
// HTTP/2 is not among what fasthttp speaks. TLS is best on
// transport.NewTLSListener, given to app.Listener: on a listener that fiber makes by itself a
// goroutine waits while bytes leave.
//
// The request is copied, since fasthttp uses its memory again, and so are strings and []byte
// in Locals. What other values refer to is the middleware's to copy. The hook of
// handler.WithAccept finds with ctx.Value what is in Locals, and behind that what is in
// c.Context(). A refusal is fiber's response, to which middleware adds as to any other; to an answer to a
// handshake it adds nothing. Access logs see status 101.
//
// A middleware that has given the response a body before gives [ErrWritten], and an app that net/http
// serves [ErrNoServer], to the app's ErrorHandler. Middleware that answers in another way when
// the handler has returned, or does not wait for it, leaves the session without a
// connection: it is let go of, at the latest after Options.TakeoverTimeout, and counted in
// Stats.Aborted.
//
// # Limits
//
// The context of a handshake does not end when its client goes away: fasthttp does not
// notice; the session then ends as soon as it has begun. A connection that was taken over
// counts no more in fasthttp's Concurrency; handler.WithMaxSessions bounds it. Without fiber's
// ReadTimeout a request has no time in which it must come. The parameters of a route are not
// in the Handshake; a middleware can put them into Locals.
package fiber
