// Package middleware has what most applications put around their handlers: a
// function from a [handler.Handler] to another one, for each message that comes in,
// and from a [handler.Sender] to another one for each that goes out.
//
//	auth := middleware.NewAuthenticator(verify, nil)
//	ep := handler.NewEndpoint(gobwas.New(nil), mux,
//		handler.WithSubProtocols(envelope.NewJSON(nil)),
//		handler.WithAccept(auth.Accept),
//		handler.WithMiddleware(
//			middleware.RequestID,
//			middleware.Log(slog.Default()),
//			middleware.Recover,
//			middleware.RateLimit(50, 100),
//			middleware.Timeout(5*time.Second),
//			auth.Authenticate,
//			middleware.Authorize(
//				middleware.Deny("SEND /app/admin/"),
//				middleware.Allow("SEND /app/", middleware.SignedIn),
//				middleware.Allow("SUBSCRIBE /topic/", middleware.Anyone),
//			),
//		))
//
// With auth.Accept a handshake must show credentials, which a page in a browser can't
// do but by a cookie or the URL. Where clients show them in their Connect, leave
// WithAccept out or set [AuthOptions].ConnectLater.
//
// # Use
//
// The first one listed is outermost: it sees a message first and its error last, and
// with handler.WithOutbound the first one sees a message first too. This order
// makes sense, and any of them may be left out:
//
//   - [RequestID] names the message, so that all others can say which one they mean.
//   - [Trace] and [Log] see all, also what the others refuse, and how it ended.
//   - [Recover] turns a panic into an error that those two see.
//   - [RateLimit] refuses before a message costs anything, and limits the guessing of
//     passwords.
//   - [MaxInFlight] bounds what is done at a time, and may wait for it.
//   - [Timeout] bounds the time of what follows, the waiting not included.
//   - [Authenticator] says who the user is, which all that follow may ask for.
//   - [RateLimitBy] with [ByUser] limits each user.
//   - [Authorize] says what the user may do.
//   - [Deduplicate] comes last, so that only what was allowed is remembered.
//
// On the way out there are [LogOutbound] and [TraceOutbound]. There is no limit of
// rate there: the session's queue and its overflow policy are that.
//
// # Options
//
// A middleware without settings is a plain function; one that has some is made by a
// constructor, which panics if they make no sense. A nil pointer to options is the
// defaults. What one value counts it counts for all chains that it stands in.
//
// # Semantics
//
// Connect and Disconnect are messages and pass through the chain. For each Connect
// that the chain has accepted there is one Disconnect; none of these middlewares
// refuses or swallows a Disconnect, and none refuses a Connect that the next one
// has accepted.
//
// A refusal is a *subprotocol.Error: its code and text are constant and say
// nothing about the inside. It ends the session only where the documentation says
// so, or where the sub-protocol ends with every error (Features.FatalErrors), as
// STOMP does: there "the session lives on" holds for no refusal. Unsubscribe, Ack
// and Nack are not limited by default: refusing them makes matters worse.
//
// The messages of a transaction pass through the chain when it commits. What they
// have handed to handler.Request.OnCommit follows, outside of the chain: no Timeout
// bounds it, and a panic there ends the session.
//
// # Limits
//
// All tables that are keyed by what clients choose, or are, have a bound and
// forget what has expired or is oldest; long keys are kept as hashes. No goroutine
// and no timer runs for a middleware, except one timer for each session whose
// credentials expire.
package middleware
