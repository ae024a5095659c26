package sockjs

import (
	"sync"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// An inbox calls the receiver of one connection. What comes in is queued by whoever has
// read it, a request or a WebSocket, and delivered by one goroutine at a time.
type inbox struct {
	mu sync.Mutex
	r  transport.Receiver // nil before Open has returned

	queue     []incoming
	running   bool     // a goroutine delivers
	receiving bool     // Receive runs and has not yielded
	inline    bool     // that Receive runs on the goroutine of the WebSocket's reader
	current   incoming // what it was given
	turn      uint64   // counts the changes of receiving: tells a goroutine that its Receive has yielded
	paused    bool
	discards  bool // closed on this side: what comes in is dropped

	wakes  int  // Writable is due so many times
	waking bool // a goroutine calls Writable

	final  error // the argument of Closed, once the end is settled
	closed bool  // Closed has been called or is being called
}

// incoming is a message and, if it is the last of its frame, who waits for it.
type incoming struct {
	m    transport.Message
	done chan struct{}
}

func (i *incoming) finish() {
	if i.done != nil {
		close(i.done)
	}
	*i = incoming{}
}

// open begins to deliver to r.
func (b *inbox) open(r transport.Receiver) {
	b.mu.Lock()
	b.r = r
	b.kick()
	b.mu.Unlock()
	b.notify(0)
}

// over reports whether nothing more is received.
func (b *inbox) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.discards || b.final != nil
}

// push queues the strings of a frame, whose bytes belong to the inbox from here on. The
// channel is closed when the last of them was received, its Receive has yielded, or it
// was dropped.
func (b *inbox) push(messages [][]byte) <-chan struct{} {
	done := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(messages) == 0 || b.discards || b.final != nil {
		close(done)
		return done
	}
	for _, p := range messages {
		b.queue = append(b.queue, incoming{m: transport.Message{Type: transport.MessageText, Data: p}})
	}
	b.queue[len(b.queue)-1].done = done
	b.kick()
	return done
}

// pass delivers m on the caller's goroutine if nothing is in its way, and reports whether
// it did.
func (b *inbox) pass(m transport.Message) bool {
	b.mu.Lock()
	if b.r == nil || b.running || b.paused || len(b.queue) > 0 || b.final != nil || b.discards {
		b.mu.Unlock()
		return false
	}
	b.running = true
	turn := b.enter(incoming{m: m}, true)
	b.mu.Unlock()
	defer b.leave(turn)
	b.r.Receive(m)
	return true
}

// enter notes that Receive is being called. The lock is held.
func (b *inbox) enter(i incoming, inline bool) (turn uint64) {
	b.receiving, b.inline, b.current = true, inline, i
	b.turn++
	return b.turn
}

// leave notes that the Receive of that turn is over, also when it has ended its goroutine,
// unless it has yielded.
func (b *inbox) leave(turn uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.turn == turn && b.receiving {
		b.receiving, b.running = false, false
		b.current.finish()
		b.kick()
	}
}

// kick starts the goroutine that delivers, if there is something for it. The lock is
// held.
func (b *inbox) kick() {
	if !b.running && b.ready() {
		b.running = true
		go b.run()
	}
}

func (b *inbox) ready() bool {
	switch {
	case b.r == nil:
		return false
	case len(b.queue) > 0:
		return !b.paused
	default:
		return b.final != nil && !b.closed && !b.waking // no Writable after Closed
	}
}

func (b *inbox) run() {
	b.mu.Lock()
	for b.ready() {
		if len(b.queue) == 0 {
			b.closed = true
			b.mu.Unlock()
			b.r.Closed(b.final)
			return // running stays set: nothing follows
		}
		i := b.queue[0]
		b.queue[0] = incoming{}
		if b.queue = b.queue[1:]; len(b.queue) == 0 {
			b.queue = nil
		}
		turn := b.enter(i, false)
		b.mu.Unlock()
		if !b.receive(i.m, turn) {
			return
		}
		b.mu.Lock()
		b.receiving = false
		b.current.finish()
	}
	b.running = false
	b.mu.Unlock()
}

// receive calls Receive and reports whether this goroutine goes on.
func (b *inbox) receive(m transport.Message, turn uint64) bool {
	returned := false
	defer func() {
		if !returned {
			b.leave(turn) // the receiver ends the goroutine
		}
	}()
	b.r.Receive(m)
	returned = true
	wire.Scribble(m.Data)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.turn == turn
}

// yield is transport.Yielder's Yield. inline tells that the reader of a WebSocket is held
// up by this Receive.
func (b *inbox) yield() (ok, inline bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.receiving {
		return false, false
	}
	b.receiving, b.running = false, false
	b.turn++
	b.current.finish()
	b.kick()
	return true, b.inline
}

func (b *inbox) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = true
}

func (b *inbox) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = false
	b.kick()
}

// discard drops what was not received, and what will come.
func (b *inbox) discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.discards = true
	for i := range b.queue {
		b.queue[i].finish()
	}
	b.queue = nil
}

// settle fixes the argument of Closed, which follows what was queued before.
func (b *inbox) settle(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.final != nil {
		return
	}
	b.final = err
	b.wakes = 0
	b.kick()
}

// notify calls Writable n times more, now or after Open has returned, unless the end has
// begun on this side.
func (b *inbox) notify(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakes += n
	if b.r == nil || b.waking || b.wakes == 0 {
		return
	}
	b.waking = true
	for b.wakes > 0 && b.final == nil && !b.discards {
		b.wakes--
		b.mu.Unlock()
		b.r.Writable()
		b.mu.Lock()
	}
	b.waking = false
	b.kick()
}
