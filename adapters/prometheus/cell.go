package prometheus

import (
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// What became of a message that came in.
const (
	resultOK      = iota
	resultRefused // a *subprotocol.Error, made for the client
	resultFailed  // any other error, and a panic
	results
)

var resultNames = [results]string{"ok", "refused", "failed"}

// statuses are what may become of a message that goes out.
var statuses = [...]handler.Status{handler.Sent, handler.Queued, handler.Dropped, handler.Closed}

// received are the kinds that a handler sees, sent those that a Sender does. The last one of
// each stands for what there may be some day.
var (
	received = [...]subprotocol.Kind{
		subprotocol.KindSend, subprotocol.KindSubscribe, subprotocol.KindUnsubscribe, subprotocol.KindAck,
		subprotocol.KindNack, subprotocol.KindConnect, subprotocol.KindDisconnect, 0,
	}
	sent = [...]subprotocol.Kind{
		subprotocol.KindDeliver, subprotocol.KindReply, subprotocol.KindReceipt, subprotocol.KindError,
		subprotocol.KindConnected, subprotocol.KindUnsubscribe, 0,
	}
)

// place returns where v stands in all, or the last place.
func place[T comparable](all []T, v T) int {
	for i, o := range all {
		if o == v {
			return i
		}
	}
	return len(all) - 1
}

func kindName(k subprotocol.Kind) string {
	if k == 0 {
		return "other"
	}
	return k.String()
}

// cell is what some of the sessions of one sub-protocol have counted for one class.
type cell struct {
	received      [len(received)][results]atomic.Uint64
	receivedBytes atomic.Uint64
	took          histogram

	sent      [len(sent)][len(statuses)]atomic.Uint64
	sentBytes atomic.Uint64
}

// histogram counts by upper bounds that its owner has, and what is above all.
type histogram struct {
	counts []atomic.Uint64
	sum    atomic.Int64
}

func newHistogram(bounds int) histogram { return histogram{counts: make([]atomic.Uint64, bounds+1)} }

func observe[N int64 | time.Duration](h *histogram, bounds []N, n N) {
	i := 0
	for i < len(bounds) && n > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(n))
}

// distribution is what several histograms have counted.
type distribution struct {
	counts []uint64
	sum    int64
}

func (d *distribution) add(h *histogram) {
	if d.counts == nil {
		d.counts = make([]uint64, len(h.counts))
	}
	for i := range h.counts {
		d.counts[i] += h.counts[i].Load()
	}
	d.sum += h.sum.Load()
}

// sums is what the cells of one class have counted.
type sums struct {
	received      [len(received)][results]uint64
	receivedBytes uint64
	took          distribution

	sent      [len(sent)][len(statuses)]uint64
	sentBytes uint64
}

func (s *sums) add(c *cell) {
	for i := range c.received {
		for j := range c.received[i] {
			s.received[i][j] += c.received[i][j].Load()
		}
	}
	for i := range c.sent {
		for j := range c.sent[i] {
			s.sent[i][j] += c.sent[i][j].Load()
		}
	}
	s.receivedBytes += c.receivedBytes.Load()
	s.sentBytes += c.sentBytes.Load()
	s.took.add(&c.took)
}
