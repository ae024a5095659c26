// Package prometheus shows what weft's endpoints and brokers do as Prometheus metrics. The
// folder dashboard beside it has a Grafana dashboard of them, and the test that keeps both
// in step.
//
// # Use
//
//	m := prometheus.New(nil)
//	prom.MustRegister(m) // github.com/prometheus/client_golang/prometheus
//
//	b := broker.New(nil)
//	m.Broker("main", b)
//	mux := handler.NewMux()
//	mux.Route("SEND /topic/", b)
//	mux.Route("SUBSCRIBE /topic/", b)
//
//	http.Handle("/ws", m.Endpoint("chat", gobwas.New(nil), mux, handler.WithSubProtocols(stomp.New(nil))))
//	http.Handle("/metrics", promhttp.Handler())
//	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
//
// [Metrics.Endpoint] takes what handler.NewEndpoint takes, and a name. More labels, or another
// prefix, are the registry's business: prom.WrapRegistererWith.
//
// # Options
//
// A nil *Options is the defaults. [Options].Class says how destinations become the label
// class: [FirstSegment], unless [ByPrefix] or a function of the application does better.
// MaxClasses and MaxSampled bound what is kept and what a scrape costs.
//
// # Semantics
//
// All names begin with weft_. The labels endpoint and transport say whose a number is;
// subprotocol is the one that was announced, "none" without one, as over SockJS's HTTP requests.
//
// What a handler sees is counted when it returns (received_messages_total by class, kind and
// result: ok; refused, a *subprotocol.Error; failed, anything else), with the time that it
// took. What goes to clients is counted when it is sent or queued (sent_messages_total
// by class, kind and status), and what of it is dropped later in dropped_messages_total by
// policy: newest, oldest, conflated, unsendable, closed. Heartbeats are in neither. Body bytes
// are those of messages; the bytes of frames, heartbeats included, are
// transport_received_bytes_total and transport_sent_bytes_total, without what the transport
// itself adds.
//
// The end of a session has its close status (those from 3000 on are 3xxx and 4xxx) and a
// cause: peer, the client's close frame; disconnect, the client's own Disconnect; local,
// Session.Close; no_heartbeat, no_connect, frame_timeout, timeout, queue_full, too_big, shutdown;
// internal, a panic; error, another rule that the client broke; lost, a connection that broke.
//
// Queues, subscriptions and round trips are looked at when a scrape comes, once a second at
// most. session_queue_depth and round_trip_seconds are histograms of what was found, each
// session weighing the same in each scrape; round trips are known on transports that
// measure them.
//
// When nobody scrapes nothing piles up: counters count on, and the next scrape has all but the
// looks that were not taken. Nothing here waits for the network, and no goroutine runs.
//
// # Limits
//
// Names that clients choose can't grow the number of series. Sub-protocols are those that the
// endpoint was given. A destination's class is admitted by a message that was handled
// or sent, not by one that was refused, up to MaxClasses in all; the rest is "other", and
// weft_unclassified_messages_total says how much of it for want of room. A class is never let
// go of, so whoever may send to any destination can use up the places: where clients
// choose the first segment freely, use ByPrefix.
//
// To be counted costs a message no allocation. Processor time of an endpoint without a
// transport, on a virtual Xeon that had other work too, by go test -bench Message; from run to
// run the difference was 0.2 to 0.4 µs for an echo, whose time is taken, and
// 0.1 to 0.3 µs for a delivery:
//
//	                               without    with
//	echo of raw, in and out         285 ns   513 ns
//	delivery of a publication       161 ns   273 ns
//
// A scrape takes some 0.4 µs for each session that it looks at, and 0.15 µs and 8 bytes for each
// that there is.
//
// Not counted, because no hook tells: requests that a transport answers by itself (no WebSocket
// handshake, a malformed one), and pings.
package prometheus
