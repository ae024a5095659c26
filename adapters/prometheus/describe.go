package prometheus

import prom "github.com/prometheus/client_golang/prometheus"

// Labels that metrics have in common.
var (
	ofMetrics  []string
	ofEndpoint = []string{"endpoint", "transport"}
	ofProtocol = []string{"endpoint", "transport", "subprotocol"}
	ofClass    = []string{"endpoint", "transport", "subprotocol", "class"}
	ofBroker   = []string{"broker"}
)

// descs are all that a Metrics has, in the order of their definition.
var descs []*prom.Desc

func describe(name, help string, labels []string, more ...string) *prom.Desc {
	d := prom.NewDesc("weft_"+name, help, append(append([]string(nil), labels...), more...), nil)
	descs = append(descs, d)
	return d
}

var (
	descClasses      = describe("classes", "Destination classes that have a label of their own.", ofMetrics)
	descUnclassified = describe("unclassified_messages_total",
		"Messages that count as class \"other\" because there were too many classes, theirs could not be a label, or Options.Class panicked.", ofMetrics, "reason")

	// Handshakes and sessions.
	descAccepted        = describe("handshakes_accepted_total", "Handshakes that the endpoint accepted.", ofEndpoint)
	descRefused         = describe("handshakes_refused_total", "Handshakes that the endpoint refused.", ofEndpoint, "reason")
	descAborted         = describe("handshakes_aborted_total", "Handshakes that were accepted and ended before they were open.", ofEndpoint)
	descConnectRefused  = describe("connects_refused_total", "Sessions whose Connect the handler refused.", ofEndpoint)
	descConnectTimeouts = describe("connect_timeouts_total", "Clients that sent no Connect in time.", ofEndpoint)
	descConnected       = describe("connected_sessions", "Sessions that are connected now.", ofEndpoint)
	descLive            = describe("admitted_sessions", "Sessions that count against the limit now: also those that connect or end.", ofEndpoint)
	descSessions        = describe("open_sessions", "Sessions whose connection is open now.", ofProtocol)
	descOpened          = describe("sessions_opened_total", "Sessions whose connection was opened.", ofProtocol)
	descClosed          = describe("sessions_closed_total", "Sessions that were open and have ended, by close status and cause.", ofProtocol, "code", "cause")
	descHeartbeats      = describe("heartbeats_missed_total", "Clients that fell silent for longer than they had promised.", ofProtocol)
	descRoundTrip       = describe("round_trip_seconds", "Latest round trip of sessions, looked at by each scrape.", ofProtocol)

	// Messages.
	descReceived      = describe("received_messages_total", "Messages that were handled, by kind and result.", ofClass, "kind", "result")
	descReceivedBytes = describe("received_body_bytes_total", "Bytes of the bodies of messages that were handled.", ofClass)
	descTook          = describe("handler_duration_seconds", "Time that the handler took for a message, with all its middleware.", ofClass)
	descSent          = describe("sent_messages_total", "Messages for clients, by kind and what became of them.", ofClass, "kind", "status")
	descSentBytes     = describe("sent_body_bytes_total", "Bytes of the bodies of messages for clients that were sent or queued.", ofClass)
	descDropped       = describe("dropped_messages_total", "Messages for clients that were dropped.", ofProtocol, "reason")
	descDroppedBytes  = describe("dropped_bytes_total", "Bytes of messages for clients that were dropped.", ofProtocol, "reason")
	descSubscriptions = describe("subscriptions", "Subscriptions of connected sessions now.", ofClass)

	// What the transport moved, and what waits for it.
	descWireIn      = describe("transport_received_messages_total", "Messages of the transport that came in.", ofProtocol)
	descWireInBytes = describe("transport_received_bytes_total", "Bytes of the transport's messages that came in.", ofProtocol)
	descWireOut     = describe("transport_sent_messages_total", "Messages that the transport has taken.", ofProtocol)
	descWireOutSum  = describe("transport_sent_bytes_total", "Bytes of the messages that the transport has taken.", ofProtocol)
	descQueuedBytes = describe("queued_bytes", "Bytes that all queues hold now.", ofEndpoint)
	descQueued      = describe("queued_messages", "Messages in the queues of connected sessions now.", ofProtocol)
	descQueueDepth  = describe("session_queue_depth", "Messages in a session's queue, looked at by each scrape.", ofProtocol)
	descSampled     = describe("sampled_sessions", "Sessions that the latest scrape has looked at.", ofEndpoint)

	// What goes wrong.
	descDiscarded    = describe("discarded_messages_total", "Messages of the transport that came in after the end of their session had begun.", ofEndpoint)
	descDecodeErrors = describe("decode_errors_total", "Malformed messages of clients.", ofEndpoint)
	descPanics       = describe("panics_total", "Panics of handlers, hooks and functions of options.", ofEndpoint)
	descYields       = describe("reader_yields_total", "Readers that were handed over because a handler was slow.", ofEndpoint)
	descPauses       = describe("reader_pauses_total", "Times that reading paused because a session's window was full.", ofEndpoint)

	// Brokers.
	descBrokerSessions      = describe("broker_sessions", "Sessions that have subscriptions now.", ofBroker)
	descBrokerSubscriptions = describe("broker_subscriptions", "Subscriptions now.", ofBroker)
	descBrokerDestinations  = describe("broker_destinations", "Topics, users' destinations and queues that are in use now.", ofBroker)
	descBrokerQueues        = describe("broker_queues", "Queues now.", ofBroker)
	descBrokerRetained      = describe("broker_retained_messages", "Last values of topics that are kept now.", ofBroker)
	descBrokerReady         = describe("broker_ready_messages", "Messages that wait in queues and backlogs now.", ofBroker)
	descBrokerUnsettled     = describe("broker_unsettled_deliveries", "Deliveries that are not acknowledged now.", ofBroker)
	descBrokerQueueBytes    = describe("broker_queue_bytes", "Bytes that queues hold now.", ofBroker)
	descBrokerBacklogBytes  = describe("broker_backlog_bytes", "Bytes that the backlogs of subscriptions hold now.", ofBroker)
	descBrokerAccepted      = describe("broker_accepted_messages_total", "Messages that queues and backlogs have accepted.", ofBroker)
	descBrokerDeliveries    = describe("broker_deliveries_total", "Deliveries out of queues and backlogs that sessions have taken.", ofBroker)
	descBrokerRedeliveries  = describe("broker_redeliveries_total", "Deliveries of messages that were delivered before.", ofBroker)
	descBrokerSettled       = describe("broker_settled_deliveries_total", "Deliveries that were acknowledged or refused.", ofBroker, "result")
	descBrokerLost          = describe("broker_dropped_messages_total", "Messages that were accepted and given up.", ofBroker, "reason")
	descBrokerUnrouted      = describe("broker_unrouted_messages_total", "Messages for a topic or a user that nobody had subscribed to.", ofBroker)
	descBrokerBusy          = describe("broker_busy_total", "Messages that were refused because a topic was published to too fast.", ofBroker)
	descBrokerPanics        = describe("broker_panics_total", "Panics of hooks and Senders.", ofBroker)
)

func counter(ch chan<- prom.Metric, d *prom.Desc, n uint64, labels ...string) {
	ch <- prom.MustNewConstMetric(d, prom.CounterValue, float64(n), labels...)
}

func gauge(ch chan<- prom.Metric, d *prom.Desc, n float64, labels ...string) {
	ch <- prom.MustNewConstMetric(d, prom.GaugeValue, n, labels...)
}
