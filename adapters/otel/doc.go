// Package otel makes OpenTelemetry's spans and metrics of an endpoint and of its clients,
// with the trace context of W3C in the headers of messages.
//
// # Use
//
//	tel := otel.New(nil) // with the global providers
//	b := broker.New(nil)
//	mux := handler.NewMux()
//	mux.Route("SEND /app/say", handler.Func(say, handler.WithSendTo(tel.Publisher(b), "/topic/chat")))
//	mux.Route("SUBSCRIBE /topic/", b)
//	ep := handler.NewEndpoint(gobwas.New(nil), tel.Handler(mux),
//		append(tel.Options(), handler.WithSubProtocols(stomp.New(nil)))...)
//	_, err := tel.Observe("chat", ep)
//
// [Telemetry.Options] come first: spans and times are then about all that is behind. A client
// is another process with a Telemetry of its own:
//
//	ctx, end := tel.StartSend(ctx, m)
//	end(c.SendReceipt(ctx, m))
//
//	ctx, end := tel.StartReceive(ctx, &d.Message)
//	end(work(ctx, d.Body))
//
// Its Connect carries a trace if client.Options.Connect calls tel.Inject. HTTP middleware such
// as otelhttp around the endpoint needs nothing more: connect is below its span.
//
// # Options
//
// The zero Options uses the global providers and W3C's headers, trusts no client, and calls
// destinations /app, /queue, /topic, /user or [Other]. Whoever has other destinations says so:
//
//	otel.New(&otel.Options{Class: otel.Prefixes("/rooms/", "/news/")})
//
// A provider that is noop.NewTracerProvider or noop.NewMeterProvider turns one half off. A sampler
// sees a span's name, weft.kind and the class before anything is recorded.
//
// # Semantics
//
// The spans, and what each is below:
//
//	connect             the HTTP request's, if there is one; server
//	receive SEND /app   the client's if that is trusted, else linked to it; and so for each kind
//	handle SEND /app    receive: what Telemetry.Handler is around
//	publish /topic      that of the context that Publish got; by Telemetry.Publisher
//	deliver /topic      publish; one for each of some receivers, see Options.MaxDeliveries
//	disconnect          none: it says how the session ended
//	send /app           that of StartSend's context; client
//	receive /topic      publish, by StartReceive; client
//
// What a client SENDs straight to a broker's destination is delivered below its receive: the
// header of a SEND is rewritten before the handler sees it, so that nobody is sent trace context,
// or baggage, that a client has made up. The result of a handler.Func in a transaction is
// published below the part that it came from. A message keeps its context in a queue: each
// redelivery is one more span. Replies and receipts have no spans, and sub-protocol raw carries no
// headers: there a trace ends at the wire.
//
// Spans of a session have session.id, user.id, weft.transport and weft.subprotocol, as
// [SessionAttributes] has them; weft.request if middleware.RequestID is outside; the
// destination, the message's ID and the size of its body, as OpenTelemetry's conventions for
// messaging call them. Bodies and other headers are never recorded, nor is the text of an error
// that was not made for the client.
//
// The metrics are messaging.process.duration (what receive, handled or refused, took),
// messaging.client.operation.duration (publish and send), and from [Telemetry.Observe]
// the numbers of handler.Stats: weft.session.active, weft.message.dropped by weft.reason, and so
// on. Their attributes are the operation, the kind, the class, error.type, and transport
// and sub-protocol of the session.
//
// Nothing waits for a collector, if spans are exported in batches: when it is away the
// processor drops what is over its own bound, OpenTelemetry's handler of errors is told, and
// messages go on. What this package itself leaves out is counted in weft.telemetry.problems:
// trace context that makes no sense (it is read as if it were not there), classes and
// codes over Options.MaxClasses, deliveries over Options.MaxDeliveries.
//
// # Limits
//
// A header of trace context over 512 bytes counts as none. The trace context of a publication,
// which is random numbers and what a tracing system writes into tracestate, is sent to all who
// receive it. Baggage is not carried, unless [Options].Propagator has it: then whatever the
// server's code puts there is sent to clients too.
//
// A delivery's span ends when the session has queued or written the message: not when it
// is received. The deliver spans of one publication are counted by the latest publications of
// the process; now and then one gets more than it may.
//
// A session that was opened within a trace keeps some hundred bytes for it.
package otel
