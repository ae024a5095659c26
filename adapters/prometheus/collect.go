package prometheus

import (
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/weftws/weft/handler/broker"
)

func (e *endpoint) collect(ch chan<- prom.Metric) {
	st := e.endpoint.Stats()
	count := func(d *prom.Desc, n uint64, labels ...string) {
		counter(ch, d, n, append([]string{e.name, e.transport}, labels...)...)
	}
	set := func(d *prom.Desc, n float64, labels ...string) {
		gauge(ch, d, n, append([]string{e.name, e.transport}, labels...)...)
	}
	count(descAccepted, st.Accepted)
	count(descRefused, st.Refused.Shutdown, "shutdown")
	count(descRefused, st.Refused.Origin, "origin")
	count(descRefused, st.Refused.SubProtocol, "subprotocol")
	count(descRefused, st.Refused.Limit, "limit")
	count(descRefused, st.Refused.Hook, "hook")
	count(descAborted, st.Aborted)
	count(descConnectRefused, st.ConnectRefused)
	count(descConnectTimeouts, st.ConnectTimeouts)
	set(descConnected, float64(st.Sessions))
	set(descLive, float64(st.Live))
	set(descQueuedBytes, float64(st.QueuedBytes))
	count(descDiscarded, st.Discarded)
	count(descDecodeErrors, st.DecodeErrors)
	count(descPanics, st.Panics)
	count(descYields, st.Yields)
	count(descPauses, st.Pauses)

	sample := e.sample()
	set(descSampled, float64(sample.sessions))
	for _, p := range *e.protocols.Load() {
		e.collectProtocol(ch, p, sample.protocols[p])
	}
}

func (e *endpoint) collectProtocol(ch chan<- prom.Metric, p *protocol, now *sampled) {
	base := []string{e.name, e.transport, p.label}
	of := func(labels ...string) []string { return append(base[:len(base):len(base)], labels...) }

	endings := p.endings() // before opened, of which it never has more
	var closed uint64
	for end, n := range endings {
		closed += n
		counter(ch, descClosed, n, of(end.code, end.cause)...)
	}
	missed := uint64(0)
	for end, n := range endings {
		if end.cause == causeNoHeartbeat {
			missed += n
		}
	}
	opened := p.opened.Load()
	counter(ch, descOpened, opened, base...)
	gauge(ch, descSessions, float64(opened-closed), base...)
	counter(ch, descHeartbeats, missed, base...)
	for i, name := range dropNames {
		counter(ch, descDropped, p.dropped[i].messages.Load(), of(name)...)
		counter(ch, descDroppedBytes, p.dropped[i].bytes.Load(), of(name)...)
	}
	traffic := e.endpoint.Traffic(p.name)
	counter(ch, descWireIn, traffic.MessagesIn, base...)
	counter(ch, descWireInBytes, traffic.BytesIn, base...)
	counter(ch, descWireOut, traffic.MessagesOut, base...)
	counter(ch, descWireOutSum, traffic.BytesOut, base...)

	var queued, roundTrip distribution
	queued.add(&p.queued)
	roundTrip.add(&p.roundTrip)
	depths := func(n int64) float64 { return float64(n) }
	ch <- constHistogram(descQueueDepth, queueBounds, &queued, depths, base)
	ch <- constHistogram(descRoundTrip, roundTripBounds, &roundTrip, time.Duration.Seconds, base)
	messages, subscriptions := 0.0, map[string]float64(nil)
	if now != nil {
		messages, subscriptions = now.messages, now.subscriptions
	}
	gauge(ch, descQueued, messages, base...)
	for class, s := range p.sums() {
		e.collectClass(ch, s, of(class))
		if _, ok := subscriptions[class]; !ok {
			gauge(ch, descSubscriptions, 0, of(class)...)
		}
	}
	for class, n := range subscriptions {
		gauge(ch, descSubscriptions, n, of(class)...)
	}
}

func (e *endpoint) collectClass(ch chan<- prom.Metric, s *sums, labels []string) {
	of := func(more ...string) []string { return append(labels[:len(labels):len(labels)], more...) }
	for i, kind := range received {
		for j, name := range resultNames {
			// What never was has no series: most of them.
			if n := s.received[i][j]; n > 0 {
				counter(ch, descReceived, n, of(kindName(kind), name)...)
			}
		}
	}
	for i, kind := range sent {
		for j, status := range statuses {
			if n := s.sent[i][j]; n > 0 {
				counter(ch, descSent, n, of(kindName(kind), status.String())...)
			}
		}
	}
	counter(ch, descReceivedBytes, s.receivedBytes, labels...)
	counter(ch, descSentBytes, s.sentBytes, labels...)
	ch <- constHistogram(descTook, e.metrics.bounds, &s.took, time.Duration.Seconds, labels)
}

func constHistogram[N int64 | time.Duration](d *prom.Desc, bounds []N, of *distribution, unit func(N) float64, labels []string) prom.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, b := range bounds {
		n += of.counts[i]
		buckets[unit(b)] = n
	}
	n += of.counts[len(bounds)]
	return prom.MustNewConstHistogram(d, n, unit(N(of.sum)), buckets, labels...)
}

func collectBroker(ch chan<- prom.Metric, name string, st broker.Stats) {
	for _, g := range [...]struct {
		desc *prom.Desc
		n    float64
	}{
		{descBrokerSessions, float64(st.Sessions)},
		{descBrokerSubscriptions, float64(st.Subscriptions)},
		{descBrokerDestinations, float64(st.Destinations)},
		{descBrokerQueues, float64(st.Queues)},
		{descBrokerRetained, float64(st.Retained)},
		{descBrokerReady, float64(st.Ready)},
		{descBrokerUnsettled, float64(st.Unsettled)},
		{descBrokerQueueBytes, float64(st.QueueBytes)},
		{descBrokerBacklogBytes, float64(st.BacklogBytes)},
	} {
		gauge(ch, g.desc, g.n, name)
	}
	counter(ch, descBrokerAccepted, st.Accepted, name)
	counter(ch, descBrokerDeliveries, st.Delivered, name)
	counter(ch, descBrokerRedeliveries, st.Redelivered, name)
	counter(ch, descBrokerSettled, st.Acked, name, "acked")
	counter(ch, descBrokerSettled, st.QueueCounters.Refused, name, "refused")
	counter(ch, descBrokerLost, st.Dead, name, "dead")
	counter(ch, descBrokerLost, st.Expired, name, "expired")
	counter(ch, descBrokerLost, st.Dropped, name, "dropped")
	counter(ch, descBrokerUnrouted, st.Unrouted, name)
	counter(ch, descBrokerBusy, st.Busy, name)
	counter(ch, descBrokerPanics, st.Panics, name)
}
