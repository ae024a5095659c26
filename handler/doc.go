// Package handler has what an application is written against: a [Handler] works
// on messages, a [Session] is the client they come from, and an [Endpoint] puts
// both on top of a transport and its sub-protocols.
//
//	echo := handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
//		if r.Message.Kind != subprotocol.KindSend {
//			return nil
//		}
//		_, err := r.Reply(&subprotocol.Message{Body: r.Message.Body})
//		return err
//	})
//	ep := handler.NewEndpoint(gobwas.New(nil), echo, handler.WithSubProtocols(raw.New(nil)))
//	http.Handle("/echo", ep)
//	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
//
// # Messages in
//
// Connect, everything that the client sends, and Disconnect are messages and
// pass through the same middleware. Where the sub-protocol has no Connect of
// its own the session makes one before it reads anything; a handler that
// returns an error for it refuses the session with status 1008. A handler that
// accepted Connect sees exactly one Disconnect, as the last message, however
// the session ends: the client's own, or one that the session makes. The context
// has ended by then, and context.Cause of it says why; it is [ErrDisconnected]
// where the Disconnect is the client's, and then a reply still goes out. A handler
// that refused sees none.
//
// Where the sub-protocol has a Connect of its own, nothing may be sent before the
// handler has accepted it: see [ErrNotConnected].
//
// Messages of one session are handled one after the other, in order, on the
// goroutine that read them. When a handler is slow the transport goes on reading
// elsewhere, so that pings are answered; what comes in meanwhile is copied into a
// small window, and reading pauses when that is full. The handler notices nothing.
//
// # What the session does itself
//
// Where the sub-protocol has them, the session answers what needs no application. A
// request that asks for a receipt gets exactly one answer when its handler has returned: a
// Receipt, an Error if there was one, or before these the handler's own Reply where
// the sub-protocol has replies. The session knows its subscriptions, so that Unsubscribe,
// Ack and Nack come with their destination. It keeps the parts of a transaction until
// Commit, and handles them then, one after the other; handlers see neither
// Begin, Commit nor Abort. [Request.OnCommit] is where a handler puts what reaches others, so
// that a transaction of which a part fails has done nothing. Heartbeats are sent and
// awaited as both sides agreed. Connected has the session's ID and, in the header
// user-name, its user. A Connect on a live session shows fresh
// credentials; a handler tells it from the first one by [Session.Connected].
//
// # Messages out
//
// [Request.Reply] writes at once when nothing is queued. Whatever else is sent
// is queued for the endpoint's workers, which write all that a session has
// queued together. The queue is bounded: [WithQueue] and [WithMaxQueuedBytes]
// say how, [WithOverflow] what happens then. Only [Session.SendContext] waits.
// A [Publication] is encoded once for all its receivers. [WithOutbound] wraps all that
// is sent.
//
// # Ending
//
// [Session.Close] sends what is queued and then closes; [Endpoint.Shutdown]
// does so with all sessions. A session that is silent has no goroutine, no
// timer and no buffer, and neither has an endpoint whose sessions all are.
//
// # Errors
//
// A *subprotocol.Error that a handler returns is shown to the client, where the
// sub-protocol has errors, and closes the session if it is fatal, or if the sub-protocol ends
// with every error, as STOMP does. Of any other
// error the client learns only that there was one. All errors are
// counted in [Stats] and told to [Hooks]. Errors that say that a session is over
// unwrap to net.ErrClosed.
package handler
