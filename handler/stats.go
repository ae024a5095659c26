package handler

import (
	"runtime"
	"sync/atomic"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Stats is what an endpoint has counted since it was made, but for the first
// three, which are what there is now. The numbers are read one after the other,
// so that they may be apart by what happened meanwhile.
type Stats struct {
	Sessions    int   // connected
	Live        int   // admitted and not let go of: also those that connect or end
	QueuedBytes int64 // held by all queues, as WithMaxQueuedBytes counts

	Accepted       uint64 // handshakes
	Aborted        uint64 // of these, ended before they were open
	ConnectRefused uint64 // sessions whose Connect the handler refused
	Ended          uint64 // sessions that were open
	Refused        Refusals

	// Of all sub-protocols. What came in after the end of its session began is
	// discarded, and counted by that alone.
	Traffic
	Discarded uint64

	Dropped Drops

	ConnectTimeouts  uint64 // clients that sent no Connect in time
	HeartbeatsMissed uint64 // clients that fell silent

	DecodeErrors  uint64
	HandlerErrors uint64 // Connect's and Disconnect's too
	Panics        uint64 // of handlers, hooks and the functions of options
	Yields        uint64 // readers handed over because of a slow handler
	Pauses        uint64 // full windows
}

// Traffic counts transport messages and their bytes.
type Traffic struct {
	MessagesIn, BytesIn   uint64
	MessagesOut, BytesOut uint64
}

// Refusals counts refused handshakes by reason.
type Refusals struct{ Shutdown, Origin, SubProtocol, Limit, Hook uint64 }

// Drops counts messages that were accepted or offered for sending and were not
// sent, by DropReason.
type Drops struct{ Newest, Oldest, Conflated, Unsendable, Closed uint64 }

// DropReason is why messages were dropped.
type DropReason uint8

const (
	// DroppedNewest: there was no room for it, and the policy keeps the older
	// ones.
	DroppedNewest DropReason = iota
	// DroppedOldest: it made room for a newer one.
	DroppedOldest
	// DroppedConflated: a newer one with its key took its place.
	DroppedConflated
	// DroppedUnsendable: the sub-protocol or the transport can't carry it, or not
	// before the session is connected.
	DroppedUnsendable
	// DroppedClosed: it was queued when the session ended, or overflowed the queue
	// and ended the session.
	DroppedClosed
	dropReasons
)

// String returns "newest", "oldest", "conflated", "unsendable" or "closed".
func (r DropReason) String() string {
	switch r {
	case DroppedNewest:
		return "newest"
	case DroppedOldest:
		return "oldest"
	case DroppedConflated:
		return "conflated"
	case DroppedUnsendable:
		return "unsendable"
	case DroppedClosed:
		return "closed"
	default:
		return "none"
	}
}

// Drop is a number of messages of one session that were dropped together.
type Drop struct {
	Reason   DropReason
	Messages int
	Bytes    int // as they would have been sent; 0 if they could not be encoded
}

// Hooks are told what happens. Each may be nil. They are called from any
// goroutine, must be quick, and may call methods of the session. A panic of
// theirs is counted and goes no further.
type Hooks struct {
	// Refuse: a handshake was refused with err. h is valid until it returns.
	Refuse func(h *transport.Handshake, err error)

	// Open: a session's connection is open; its Connect comes next.
	Open func(s *Session)

	// Close: a session has ended, after its Disconnect. Each Open has one Close.
	Close func(s *Session, cause error)

	// Drop: messages to the client were dropped.
	Drop func(s *Session, d Drop)

	// HandlerError: the handler returned err for m, which is valid until the
	// hook returns.
	HandlerError func(s *Session, m *subprotocol.Message, err error)

	// Panic: a handler, a hook of WithAccept or the key function of
	// WithSessionsPerKey panicked with v, or called runtime.Goexit.
	Panic func(s *Session, v any, stack []byte)
}

// counts are what an endpoint counts rarely.
type counts struct {
	accepted, aborted, connectRefused, ended atomic.Uint64
	refused                                  [refusals]atomic.Uint64
	dropped                                  [dropReasons]atomic.Uint64
	discarded, decodeErrors, handlerErrors   atomic.Uint64
	panics, yields, pauses                   atomic.Uint64
	connectTimeouts, heartbeatsMissed        atomic.Uint64
}

// tally is what some of the sessions of one sub-protocol count with every message. Several of them,
// each on cache lines of its own, keep processors from waiting for each other.
type tally struct {
	messagesIn, bytesIn, messagesOut, bytesOut atomic.Uint64
	_                                          [128 - 4*8]byte
}

func (t *tally) in(bytes int) {
	t.messagesIn.Add(1)
	t.bytesIn.Add(uint64(bytes))
}

func (t *tally) out(messages, bytes int) {
	t.messagesOut.Add(uint64(messages))
	t.bytesOut.Add(uint64(bytes))
}

type tallies struct {
	all  []tally
	last atomic.Uint32
}

func newTallies() *tallies { return &tallies{all: make([]tally, 2*runtime.GOMAXPROCS(0))} }

func (t *tallies) addTo(sum *Traffic) {
	for i := range t.all {
		sum.MessagesIn += t.all[i].messagesIn.Load()
		sum.BytesIn += t.all[i].bytesIn.Load()
		sum.MessagesOut += t.all[i].messagesOut.Load()
		sum.BytesOut += t.all[i].bytesOut.Load()
	}
}

// next returns the tally of a new session.
func (t *tallies) next() *tally {
	return &t.all[int(t.last.Add(1))%len(t.all)]
}

// Stats returns the counters.
func (e *Endpoint) Stats() Stats {
	c := &e.counts
	st := Stats{
		Sessions:       e.sessions.Len(),
		Live:           e.sessions.remaining(),
		QueuedBytes:    e.queuedBytes.Load(),
		Accepted:       c.accepted.Load(),
		Aborted:        c.aborted.Load(),
		ConnectRefused: c.connectRefused.Load(),
		Ended:          c.ended.Load(),
		Refused: Refusals{
			Shutdown:    c.refused[refusedShutdown].Load(),
			Origin:      c.refused[refusedOrigin].Load(),
			SubProtocol: c.refused[refusedSubProtocol].Load(),
			Limit:       c.refused[refusedLimit].Load(),
			Hook:        c.refused[refusedHook].Load(),
		},
		Discarded: c.discarded.Load(),
		Dropped: Drops{
			Newest:     c.dropped[DroppedNewest].Load(),
			Oldest:     c.dropped[DroppedOldest].Load(),
			Conflated:  c.dropped[DroppedConflated].Load(),
			Unsendable: c.dropped[DroppedUnsendable].Load(),
			Closed:     c.dropped[DroppedClosed].Load(),
		},
		ConnectTimeouts:  c.connectTimeouts.Load(),
		HeartbeatsMissed: c.heartbeatsMissed.Load(),

		DecodeErrors:  c.decodeErrors.Load(),
		HandlerErrors: c.handlerErrors.Load(),
		Panics:        c.panics.Load(),
		Yields:        c.yields.Load(),
		Pauses:        c.pauses.Load(),
	}
	for _, t := range e.tallies {
		t.addTo(&st.Traffic)
	}
	return st
}

// Traffic returns the share that the sessions of one sub-protocol have in what Stats counts:
// those whose Session.SubProtocol it is, "" for those without one.
func (e *Endpoint) Traffic(subProtocol string) Traffic {
	var sum Traffic
	if t, ok := e.tallies[subProtocol]; ok {
		t.addTo(&sum)
	}
	return sum
}
