package sockjs

import "sync/atomic"

// legID is one of the protocol's transports.
type legID uint8

const (
	legWebSocket legID = iota
	legRawWebSocket
	legXHR
	legXHRStreaming
	legEventSource
	legHTMLFile
	legJSONP
	legs
)

var legNames = [legs]string{"websocket", "raw-websocket", "xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp"}

// Stats are what a Transport has counted.
type Stats struct {
	// Sessions is how many sessions over requests it keeps, with those that are closed
	// and not forgotten yet.
	Sessions int

	// Legs has the counts of each of the protocol's transports, by the last part of its
	// path; a WebSocket without frames is "raw-websocket".
	Legs map[string]LegStats

	// Forwards has the counts of Options.Cluster.
	Forwards ForwardStats
}

// ForwardStats are the counts of requests that were for sessions of other nodes.
type ForwardStats struct {
	Requests uint64 // so far
	Failed   uint64 // of these: the other node was not reached, or did not end its answer
	Waiting  int    // being answered now
}

// LegStats are the counts of one of the protocol's transports. A session counts for the
// one that opened it.
type LegStats struct {
	Open     int    // sessions that are open now
	Opened   uint64 // sessions so far
	Requests uint64 // receive requests and upgrades so far
	Waiting  int    // receive requests that are being answered now
}

type legStats struct {
	open, waiting    atomic.Int64
	opened, requests atomic.Uint64
}

type stats struct {
	legs                      [legs]legStats
	forwarded, forwardsFailed atomic.Uint64
}

func (s *stats) opened(id legID) {
	s.legs[id].open.Add(1)
	s.legs[id].opened.Add(1)
}

func (s *stats) ended(id legID) { s.legs[id].open.Add(-1) }

func (s *stats) enter(id legID) {
	s.legs[id].requests.Add(1)
	s.legs[id].waiting.Add(1)
}

func (s *stats) leave(id legID) { s.legs[id].waiting.Add(-1) }

// Stats returns what was counted so far. The counts are not taken at one moment.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	st := Stats{Sessions: len(t.sessions), Legs: make(map[string]LegStats, legs)}
	t.mu.Unlock()
	for id, name := range legNames {
		l := &t.stats.legs[id]
		st.Legs[name] = LegStats{
			Open: int(l.open.Load()), Opened: l.opened.Load(), Requests: l.requests.Load(), Waiting: int(l.waiting.Load()),
		}
	}
	st.Forwards = ForwardStats{Requests: t.stats.forwarded.Load(), Failed: t.stats.forwardsFailed.Load()}
	if t.cluster != nil {
		st.Forwards.Waiting = int(t.cluster.waiting.Load())
	}
	return st
}
