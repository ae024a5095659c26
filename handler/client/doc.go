// Package client is the client's end of every sub-protocol, over every
// transport.Dialer.
//
// # Use
//
//	c, err := client.Dial(ctx, "wss://example.org/stomp", gobwas.New(nil), stomp.New(nil), &client.Options{
//		Connect: func(ctx context.Context, header http.Header, m *subprotocol.Message) error {
//			m.Header = subprotocol.Header{{Name: "login", Value: "ann"}, {Name: "passcode", Value: secret()}}
//			return nil
//		},
//	})
//	defer c.Close(ctx)
//	sub, err := c.Subscribe(ctx, "/queue/jobs", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual}, nil)
//	for d, err := range sub.Messages(ctx) {
//		if err != nil {
//			return err
//		}
//		work(d.Body)
//		d.Ack(ctx)
//	}
//
// A function given to [Client.Subscribe] takes the place of the range. [Client.Send] sends
// and goes on, [Client.SendReceipt] waits until the server has done what there is to
// do, [Client.Request] for an answer, and [Client.Begin] begins a [Transaction].
//
// The handshake's header is Options.Header. Credentials belong to Options.Connect, which is called for
// each attempt, so that a token may be fresh. Other people's brokers want the header host, a
// virtual host of theirs, in a CONNECT of STOMP.
//
// # Options
//
// The zero [Options] reconnects for ever, wants heartbeats every 10 s both ways, and
// bounds everything that waits. [Hooks] tell what the client does by itself.
//
// # Semantics
//
// A client has one connection at a time. When that ends, or the server is silent for three times as
// long as was agreed, the client is [Waiting] for the next attempt: delays double, with a
// random part. A server that refuses the credentials ends it instead, see [Retryable].
// The first attempt is not repeated unless Reconnect.First says so.
//
// Every new connection begins with the subscriptions, in the order in which they were made,
// and with what was queued behind them. Where there are receipts, a subscription that the
// server then refuses ends, and the others stay.
//
// Nothing is sent twice. What the transport had not taken when a connection ended goes over
// the next one, in order. What it had taken is gone: of a Send nobody learns whether the server got
// it, and a call that waits for its answer gets [ErrConnectionLost]. What belongs to a
// connection, a delivery to be acknowledged or a transaction, ends with it: [ErrStale].
// Deliveries that are to be acknowledged and that nobody has taken are dropped then, because
// they come again; others can still be taken.
//
// Deliveries of one subscription come in order. Nothing keeps a slow function, or a range that
// is left, from heartbeats: what comes is kept until it is too much, then the client reads
// no further, and silence is not held against the server. While some call waits for its
// answer more is kept, so that the answer is found; one that still stands behind too much
// ends with its context.
//
// An Error of the server goes to the call that it names, or ends the Subscribe; one that
// names neither goes to Hooks.Error, or is what the connection ended with: in STOMP it ends
// with every Error.
//
// An idle client has no goroutine of its own, and one timer if there are heartbeats.
//
// # Limits
//
// What is queued and not sent is lost when the process ends, and so is what was delivered without
// acknowledgements. Where nothing keeps messages for who is away, such as topics, what was
// published meanwhile is missed. A subscription that has ended may still be sent messages for a
// moment: they go to Hooks.Unclaimed. Attempts go to one URL.
package client
