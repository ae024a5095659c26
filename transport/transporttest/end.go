package transporttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
)

// hooks are what a rule does inside the calls of the contract. They must not call
// fatalf.
type hooks struct {
	open      func(e *end)
	receive   func(e *end, i int, m transport.Message) // i counts the calls of Receive
	scribbles bool                                     // receive changes m.Data
}

// An end is the receiver of one side of a connection. It notes what it is told and
// reports at once what must never be, whatever the rule under check.
type end struct {
	k     *kit
	name  string
	hooks hooks

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change
	conn      transport.Conn
	opened    bool // Open has returned
	got       []transport.Message
	bytes     int // in got
	entered   int
	active    int // the number of the Receive that runs and has not yielded, from 1
	writing   bool
	shorts    int // Writes that took less than all
	writables int
	closed    int
	err       error
}

func (k *kit) newEnd(name string, h hooks) *end {
	e := &end{k: k, name: name, hooks: h, changed: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ends = append(k.ends, e)
	return e
}

// note wakes those who wait. The lock is held.
func (e *end) note() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// wait waits until cond holds, which is asked under the lock, and reports whether
// it came to that.
func (e *end) wait(cond func() bool) bool {
	t := time.NewTimer(e.k.f.Patience)
	defer t.Stop()
	for {
		e.mu.Lock()
		ok, changed := cond(), e.changed
		e.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-t.C:
			return false
		}
	}
}

func (e *end) waitClosed() bool       { return e.wait(func() bool { return e.closed > 0 }) }
func (e *end) waitGot(n int) bool     { return e.wait(func() bool { return len(e.got) >= n }) }
func (e *end) waitEntered(n int) bool { return e.wait(func() bool { return e.entered >= n }) }

// idle waits until no Receive runs but those that have yielded.
func (e *end) idle() bool { return e.wait(func() bool { return e.active == 0 }) }

func (e *end) connection() transport.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn
}

func (e *end) received() []transport.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.got)
}

// closedErr waits for Closed and returns its error.
func (e *end) closedErr() error {
	if !e.waitClosed() {
		e.k.fatalf("%s: Closed has not come", e.name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// open is the open function of either side.
func (e *end) open(c transport.Conn) transport.Receiver {
	e.mu.Lock()
	e.conn = c
	e.mu.Unlock()
	if e.hooks.open != nil {
		e.hooks.open(e)
	}
	for range 10 { // a transport that reads too early shall have its chance
		runtime.Gosched()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = true
	e.note()
	return e
}

// Receive notes a copy of m.
func (e *end) Receive(m transport.Message) {
	e.mu.Lock()
	switch {
	case !e.opened:
		e.k.report(ruleOpenFirst, "%s: Receive was called before Open had returned", e.name)
	case e.closed > 0:
		e.k.report(ruleAfterClosed, "%s: Receive was called after Closed", e.name)
	case e.active != 0:
		e.k.report(ruleOneReceive, "%s: Receive was called while another one ran that had not yielded", e.name)
	}
	if len(m.Head) > 0 || m.Shared != nil {
		e.k.report(ruleIntact, "%s: Receive was given a Head or a Shared", e.name)
	}
	i := e.entered
	e.entered++
	e.active = e.entered
	me := e.active
	seen := bytes.Clone(m.Data)
	e.got = append(e.got, transport.Message{Type: m.Type, Data: seen})
	e.bytes += len(seen)
	e.note()
	e.mu.Unlock()

	if e.hooks.receive != nil {
		e.hooks.receive(e, i, m)
	}
	if !e.hooks.scribbles && !bytes.Equal(seen, m.Data) {
		e.k.report(ruleDataValid, "%s: the bytes of message %d changed while Receive ran", e.name, i)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == me {
		e.active = 0
		e.note()
	}
}

// Writable counts.
func (e *end) Writable() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writables++
	allowed := e.shorts
	if e.writing {
		allowed++ // the Write that runs may turn out short
	}
	switch {
	case e.closed > 0:
		e.k.report(ruleAfterClosed, "%s: Writable was called after Closed", e.name)
	case e.writables > allowed:
		e.k.report(ruleWritableOnce, "%s: Writable came %d times for %d short Writes", e.name, e.writables, e.shorts)
	}
	e.note()
}

// Closed notes why.
func (e *end) Closed(err error) {
	_, said := errors.AsType[*transport.CloseError](err)
	_, found := errors.AsType[*transport.EndError](err)
	switch {
	case !errors.Is(err, net.ErrClosed):
		e.k.report(ruleClosedError, "%s: Closed got %v, which does not unwrap to net.ErrClosed", e.name, err)
	case said == found:
		e.k.report(ruleClosedError, "%s: Closed got %v, which is not either a *CloseError or an *EndError", e.name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed++
	switch {
	case e.closed > 1:
		e.k.report(ruleClosedOnce, "%s: Closed was called %d times", e.name, e.closed)
	case !e.opened:
		e.k.report(ruleOpenFirst, "%s: Closed was called before Open had returned", e.name)
	case e.active != 0:
		e.k.report(ruleClosedLast, "%s: Closed was called while a Receive ran that had not yielded", e.name)
	}
	if e.err == nil {
		e.err = err
	}
	e.note()
}

// errTooLong ends a rule that goes on and on.
var errTooLong = errors.New("the rule has taken too long")

// write is one Write, watched.
func (e *end) write(batch []transport.Message) (int, error) {
	defer e.k.guard(ruleWriteWaits, e.name+": Write")()
	if e.k.dead.Load() {
		return 0, errTooLong
	}
	c := e.connection()
	e.mu.Lock()
	e.writing = true
	e.mu.Unlock()
	n, err := c.Write(batch)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = false
	switch {
	case n < 0 || n > len(batch):
		e.k.report(ruleWriteWaits, "%s: Write of %d messages says that it took %d", e.name, len(batch), n)
		n = max(0, min(n, len(batch)))
	case err == nil && n < len(batch):
		e.shorts++
	}
	if e.writables > e.shorts {
		e.k.report(ruleWritableOnce, "%s: Writable came %d times for %d short Writes", e.name, e.writables, e.shorts)
	}
	return n, err
}

// send writes all messages, as often as it takes. It gives up at an error or when
// Writable does not come, and returns how many were taken.
func (e *end) send(msgs ...transport.Message) (taken int) {
	for taken < len(msgs) {
		n, err := e.write(msgs[taken:])
		taken += n
		if err != nil {
			e.k.errorf("%s: Write failed: %v", e.name, err)
			return taken
		}
		if taken < len(msgs) && !e.waitWritable() {
			return taken
		}
	}
	return taken
}

// trySend writes one message of which nothing depends, and reports whether it was
// taken.
func (e *end) trySend(m transport.Message) bool {
	for {
		n, err := e.write([]transport.Message{m})
		if n > 0 || err != nil || !e.waitWritable() {
			return n > 0
		}
	}
}

// waitWritable waits until Writable has come for each short Write.
func (e *end) waitWritable() bool {
	if e.wait(func() bool { return e.writables >= e.shorts || e.closed > 0 }) {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.k.report(ruleWritableComes, "%s: Writable came %d times for %d short Writes, although the peer reads",
		e.name, e.writables, e.shorts)
	return false
}

// fill writes messages until a Write is short, and returns what was taken. Its peer
// must be held up.
func (e *end) fill(first int) (taken []transport.Message) {
	size, total := 16<<10, 0
	for i := first; total <= e.k.f.StallBytes; i++ {
		// Sizes that divide no buffer, so that one of them is cut somewhere.
		m := e.k.message(i, size+i%101)
		n, err := e.write([]transport.Message{m})
		if err != nil {
			e.k.errorf("%s: Write to a peer that does not read failed: %v", e.name, err)
			return taken
		}
		if n == 0 {
			return taken
		}
		taken = append(taken, m)
		total += m.Len()
	}
	e.k.report(ruleWriteWaits, "%s: %d bytes were taken for a peer that does not read", e.name, total)
	return taken
}

// close is one Close, watched.
func (e *end) close(code transport.StatusCode, reason string) error {
	defer e.k.guard(e.k.rule.name, e.name+": Close")()
	return e.connection().Close(code, reason)
}

// yield calls Yield. What it allows may happen before it returns.
func (e *end) yield() bool {
	y, ok := transport.As[transport.Yielder](e.connection())
	if !ok {
		e.k.errorf("%s: the Conn is no Yielder", e.name)
		return false
	}
	e.mu.Lock()
	before := e.active
	e.active = 0
	e.mu.Unlock()
	if y.Yield() {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active == 0 {
		e.active = before
	}
	return false
}

// expect waits for the messages and reports what is different. On a transport
// without boundaries the bytes count.
func (e *end) expect(want []transport.Message) {
	if !e.k.f.Boundaries {
		e.expectBytes(want)
		return
	}
	all := e.wait(func() bool { return len(e.got) >= len(want) || e.closed > 0 })
	got := e.received()
	for i := range min(len(got), len(want)) {
		if d := difference(&got[i], &want[i]); d != "" {
			e.k.fatalf("%s: message %d of %d %s%s", e.name, i, len(want), d, whence(&got[i], want))
		}
	}
	switch {
	case len(got) > len(want):
		e.k.fatalf("%s: %d messages arrived, %d were taken", e.name, len(got), len(want))
	case len(got) < len(want):
		why := "nothing more came"
		if all {
			why = "then Closed came"
		}
		e.k.fatalf("%s: %d of %d messages arrived, %s", e.name, len(got), len(want), why)
	}
}

func (e *end) expectBytes(want []transport.Message) {
	var w []byte
	for i := range want {
		w = append(append(w, want[i].Head...), want[i].Data...)
	}
	e.wait(func() bool { return e.bytes >= len(w) || e.closed > 0 })
	var g []byte
	for _, m := range e.received() {
		g = append(g, m.Data...)
	}
	if !bytes.Equal(g, w) {
		e.k.fatalf("%s: %d bytes arrived, which are not the %d that were taken", e.name, len(g), len(w))
	}
}

// difference says how got differs from what was sent.
func difference(got, want *transport.Message) string {
	whole := slices.Concat(want.Head, want.Data)
	switch {
	case got.Type != want.Type:
		return fmt.Sprintf("was sent as %v and arrived as %v", want.Type, got.Type)
	case len(got.Data) != len(whole):
		return fmt.Sprintf("was sent with %d bytes and arrived with %d", len(whole), len(got.Data))
	case !bytes.Equal(got.Data, whole):
		at := 0
		for got.Data[at] == whole[at] {
			at++
		}
		return fmt.Sprintf("of %d bytes differs from byte %d on", len(whole), at)
	}
	return ""
}

// whence says which of the messages that were sent is the one that arrived.
func whence(got *transport.Message, sent []transport.Message) string {
	if len(got.Data) < 8 {
		return ""
	}
	for i := range sent {
		if difference(got, &sent[i]) == "" {
			return fmt.Sprintf("; it is message %d", i)
		}
	}
	return ""
}
