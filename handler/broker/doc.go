// Package broker is a message broker in the memory of one process: topics for all who
// subscribe, queues for one consumer each, and destinations of users, with
// acknowledgements, redelivery and transactions, for every sub-protocol that has them.
//
// # Use
//
//	b := broker.New(&broker.Options{DeadLetter: "/queue/dead"})
//	mux.Route("SUBSCRIBE /topic/", b)                         // clients subscribe,
//	mux.Route("SEND /topic/", b)                              // publish, if they may,
//	mux.Route("SUBSCRIBE /queue/", b)                         // and acknowledge what they took
//	mux.Route("SEND /queue/", b)
//	mux.Route("SUBSCRIBE /user/", b)                          // without SEND: only the server writes to users
//	mux.Route("SEND /app/say", handler.Func(say, handler.WithSendTo(b, "/topic/chat")))
//	err := b.Publish(ctx, "/queue/jobs", &subprotocol.Message{Body: job})
//	err = b.PublishToUser(ctx, "ann", "/queue/news", &subprotocol.Message{Body: news})
//
// A Broker may also be the handler of an endpoint by itself. Who may send and subscribe
// where is decided in front of it, by routes and middleware. A wildcard may match more than
// its route lets see: where some topics are not for everybody, refuse patterns that
// match them, or keep such topics under a prefix of a Broker of its own. Sessions whose sub-protocol has no
// subscriptions are subscribed by the server: see [Broker.Subscribe].
//
// # Options
//
// [Options] says how destinations begin, and bounds all that a Broker holds. Clients say
// more with headers: in a SUBSCRIBE prefetch-count (unsettled deliveries at a time) and
// selector (where Options.Selectors allows it), in a SEND ttl (milliseconds), expires
// (milliseconds since 1970, 0 for never) and retain (true keeps the last value of a topic, with
// an empty body it forgets it).
//
// # Semantics
//
// A message to a topic goes to those who are subscribed at that moment. All
// subscribers get the messages of one topic in the same order, and the message is encoded once
// for all that need no acknowledgement. A subscription to a topic may have the
// wildcards * for one segment and ** for any number of them; it gets what is sent to
// several topics in any order. When a SUBSCRIBE was handled no later message can be missed,
// and what was retained comes before. When an UNSUBSCRIBE was handled nothing more comes.
//
// A message to a queue goes to one consumer, by turns among those whose window of
// unsettled deliveries has room, and waits while there is none. The order of a queue is that
// of the SENDs, and what comes back takes its old place: a consumer gets messages in that
// order, except that a redelivered one may come late. A message leaves the queue when it is
// settled by an ACK, or, where the subscription has none, when the session has taken it;
// what a session has no room for stays in the queue and does not end the session. After
// a NACK others may have the message at once, the same consumer after RedeliveryDelay.
// When a consumer ends, by UNSUBSCRIBE or with its session, what it has not settled goes to others
// at once. From the second time on a delivery has the headers redelivered:true and
// delivery-count. After MaxDeliveries the message is a dead letter, with the headers
// dead-reason, dead-destination and dead-deliveries. A queue without messages and
// consumers is forgotten.
//
// With AckClient an ACK or NACK is about that delivery and all before it of that
// subscription, with AckClientIndividual about it alone. On topics, too, they bound what is
// unsettled: what comes meanwhile waits in a backlog of the subscription, which drops the
// oldest when it is full. What is refused comes back after RedeliveryDelay; what is not settled
// when the subscription ends is gone.
//
// "/user/queue/news" is each user's own. A session subscribes to it under that name and gets what is
// published to its user, or to the session alone; a session without a user gets the latter.
// A SEND to "/user/ann/queue/news" publishes to ann, with the name percent-encoded: route it only
// if clients may write to each other. The user is asked for when the message is given to a
// session, so that nothing goes to one that has another user by then. Such messages are not stored.
//
// The SENDs, ACKs and NACKs of a transaction are done together at COMMIT: if one of them
// can't be done, none is. What may still be missing after a COMMIT that failed is the effects of
// other handlers in the same transaction.
//
// Messages whose time is over are not delivered. They leave the memory within seconds.
//
// Hooks and Senders (handler.WithOutbound) may call the Broker, and must be quick: publishers of
// a topic and an UNSUBSCRIBE wait for a slow one, ten seconds at most; for a subscriber nobody
// waits. No lock is held, and there is one timer at most, and none if nothing waits for a time.
//
// # Limits
//
// Nothing is written to disk, and there is no other process: when this one ends all is
// gone. A session that ends loses what it had taken without acknowledgement and not sent.
// Topics with acknowledgements encode each delivery by itself. Destinations longer
// than 1024 bytes are refused. Where RedeliveryDelay is over, or no other consumer has room, a
// refused message may come back to the consumer that refused it although there are others.
package broker
