// Package broadcast is publish and subscribe by exact destination, in the memory of
// one process.
//
// # Use
//
//	b := broadcast.New(nil)
//	mux.Route("SUBSCRIBE /topic/", b)                         // clients subscribe
//	mux.Route("SEND /topic/", b)                              // and publish, if they may
//	mux.Route("SEND /app/say", handler.Func(say, handler.WithSendTo(b, "/topic/chat")))
//	err := b.Publish(ctx, "/topic/news", &subprotocol.Message{Body: news})
//
// Sessions whose sub-protocol has no subscriptions, such as raw, are subscribed by the
// server: call [Broadcaster.Subscribe] when they connect. Such a client can't tell when
// that was done, but by an answer to its first message.
//
// # Options
//
// [Options] bounds destinations and subscriptions, each over all sessions.
//
// # Semantics
//
// A message goes to those who are subscribed to exactly its destination at that
// moment; it is not kept. It is encoded once, not for each receiver. All receivers of
// a destination get its messages in the same order. A subscription is in force when
// the SUBSCRIBE was handled, so that a client with the receipt misses nothing, and
// nothing is queued for it after its UNSUBSCRIBE was handled.
//
// What a session has subscribed to ends with the session, without anybody's help. Who
// ends a subscription instead of its client, by sending an Unsubscribe or by refusing a
// SUBSCRIBE that the Broadcaster has accepted, calls [Broadcaster.Unsubscribe] too. A
// receiver that is too slow is the endpoint's matter: see handler.WithOverflow. A SEND
// in a transaction is published at the Commit.
//
// Deliveries are not acknowledged: a SUBSCRIBE that asks for that is refused.
//
// # Limits
//
// There are no wildcards, no history, no queues and no other process: that is a
// broker's work. Publishing holds the lock of the destination, so a hook or a Sender
// (handler.WithOutbound) must not publish, subscribe or unsubscribe itself: it would wait
// for ever. Hooks.Drop may close the session instead, which ends what it has subscribed
// to. Destinations longer than 1024 bytes are refused.
package broadcast
