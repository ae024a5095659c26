package inspect

import (
	"sync"
	"time"

	"github.com/weftws/weft/transport"
)

// What a watch holds until its viewer has taken it. Older frames make room for newer ones.
const (
	maxHeld      = 256
	maxHeldBytes = 1 << 20
)

// frame is a transport message that passed.
type frame struct {
	at   time.Time
	out  bool
	typ  transport.MessageType
	size int
	data []byte // a copy; nil if it was over the limit
}

// watch is one viewer of one session.
type watch struct {
	limit int // of the frames that are copied
	more  chan struct{}

	mu     sync.Mutex
	frames []frame
	bytes  int
	missed int
}

func newWatch(limit int) *watch { return &watch{limit: limit, more: make(chan struct{}, 1)} }

func record(ws []*watch, out bool, at time.Time, m *transport.Message) {
	for _, w := range ws {
		w.record(out, at, m)
	}
}

func (w *watch) record(out bool, at time.Time, m *transport.Message) {
	f := frame{at: at, out: out, typ: m.Type, size: m.Len()}
	if f.size <= w.limit {
		f.data = append(append(make([]byte, 0, f.size), m.Head...), m.Data...)
	}
	w.mu.Lock()
	for len(w.frames) > 0 && (len(w.frames) >= maxHeld || w.bytes+len(f.data) > maxHeldBytes) {
		w.bytes -= len(w.frames[0].data)
		w.frames[0] = frame{}
		w.frames = w.frames[1:]
		w.missed++
	}
	w.frames = append(w.frames, f)
	w.bytes += len(f.data)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// take returns what has passed since the last call, and how many frames had to go.
func (w *watch) take() (frames []frame, missed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames, missed = w.frames, w.missed
	w.frames, w.bytes, w.missed = nil, 0, 0
	return frames, missed
}
