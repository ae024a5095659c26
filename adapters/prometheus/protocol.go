package prometheus

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/transport"
)

// protocol counts what the sessions of one sub-protocol of one endpoint do.
type protocol struct {
	name  string // Session.SubProtocol
	label string

	bounds int
	shards [shards]atomic.Pointer[map[string]*cell] // by class; replaced, never changed
	opened atomic.Uint64
	// By handler.DropReason.
	dropped [len(dropNames)]struct{ messages, bytes atomic.Uint64 }

	// Written by one sampling at a time.
	queued, roundTrip histogram

	mu     sync.Mutex // held to replace a map of shards, too
	closed map[ending]uint64
}

var dropNames = [...]string{
	handler.DroppedNewest.String(), handler.DroppedOldest.String(), handler.DroppedConflated.String(),
	handler.DroppedUnsendable.String(), handler.DroppedClosed.String(),
}

func newProtocol(name string, bounds int) *protocol {
	p := &protocol{
		name: name, label: label(name), bounds: bounds, closed: make(map[ending]uint64),
		queued: newHistogram(len(queueBounds)), roundTrip: newHistogram(len(roundTripBounds)),
	}
	if name == "" {
		p.label = "none"
	}
	for i := range p.shards {
		p.shards[i].Store(new(map[string]*cell))
	}
	return p
}

// shards is in how many parts sessions count, so that processors seldom wait for each other. It
// is a power of two.
const shards = 8

// shardOf is the part that s counts in. The ID is random.
func shardOf(s *handler.Session) int {
	if id := s.ID(); id != "" {
		return int(id[0]) % shards
	}
	return 0
}

// find returns the cell of a class, nil if there is none yet.
func (p *protocol) find(shard int, class string) *cell {
	return (*p.shards[shard].Load())[class]
}

// add returns the cell of a class that find did not. A class that nobody has is one from now on if
// admit says so and there is room.
func (p *protocol) add(shard int, all *classes, class string, admit bool) *cell {
	own := classOther
	if admit {
		own = all.admit(class)
	} else if known, ok := all.lookup(class); ok {
		own = known
	}
	if c := p.find(shard, own); c != nil {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.shards[shard].Load()
	if c := old[own]; c != nil {
		return c
	}
	cells := maps.Clone(old)
	if cells == nil {
		cells = make(map[string]*cell)
	}
	c := &cell{took: newHistogram(p.bounds)}
	cells[own] = c
	p.shards[shard].Store(&cells)
	return c
}

// sums adds up the shards, by class.
func (p *protocol) sums() map[string]*sums {
	all := make(map[string]*sums)
	for i := range p.shards {
		for class, c := range *p.shards[i].Load() {
			s := all[class]
			if s == nil {
				s = new(sums)
				all[class] = s
			}
			s.add(c)
		}
	}
	return all
}

// ending is how a session ended.
type ending struct{ code, cause string }

func (p *protocol) close(e ending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed[e]++
}

func (p *protocol) endings() map[ending]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.closed)
}

// codeName is the close status in the cause of a session's end. Those that clients may
// choose freely are two values in all.
func codeName(cause error) string {
	switch code := codeOf(cause); {
	case code >= 1000 && code <= 1015:
		return strconv.Itoa(int(code))
	case code >= 3000 && code <= 3999:
		return "3xxx"
	case code >= 4000 && code <= 4999:
		return "4xxx"
	default:
		return "other"
	}
}

func codeOf(cause error) transport.StatusCode {
	if e, ok := errors.AsType[*transport.CloseError](cause); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*transport.EndError](cause); ok {
		return e.Code
	}
	return 0
}

// The cause of a session's end that is counted apart, too.
const causeNoHeartbeat = "no_heartbeat"

// causeName says why a session ended.
func causeName(cause error) string {
	for _, c := range [...]struct {
		err  error
		name string
	}{
		{handler.ErrDisconnected, "disconnect"},
		{handler.ErrNoHeartbeat, causeNoHeartbeat},
		{handler.ErrNoConnect, "no_connect"},
		{handler.ErrFrameTimeout, "frame_timeout"},
		{handler.ErrQueueFull, "queue_full"},
		{handler.ErrShutdown, "shutdown"},
		{transport.ErrLocalClose, "local"},
		{transport.ErrTimeout, "timeout"},
		{transport.ErrMessageTooBig, "too_big"},
	} {
		if errors.Is(cause, c.err) {
			return c.name
		}
	}
	if _, ok := errors.AsType[*transport.CloseError](cause); ok {
		return "peer"
	}
	switch codeOf(cause) {
	case 0, transport.StatusAbnormalClosure:
		return "lost"
	case transport.StatusInternalError:
		return "internal"
	default:
		return "error"
	}
}

// suffix tells labels apart that would be the same.
func suffix(n int) string { return fmt.Sprintf("~%d", n) }
