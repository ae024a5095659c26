package broker

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// maxPump is how many messages a goroutine gives to consumers before it hands that on.
const maxPump = 256

// The headers of a message that was delivered before.
const (
	redelivered   = "redelivered"
	deliveryCount = "delivery-count"
)

// pump gives messages to consumers, unless somebody does.
func (q *queue) pump() {
	q.mu.Lock()
	if q.pumping {
		q.mu.Unlock()
		return
	}
	q.pumping = true
	q.work()
}

// work gives messages to consumers until none fits. The caller has set pumping, and mu is
// held.
func (q *queue) work() {
	var a aftermath
	var c *consumer
	var e *entry
	var number uint64
	done := false
	defer func() {
		if !done { // a Sender or a hook has ended this goroutine
			go q.resumeAfter(c, e, number, a)
		}
	}()
	for n := 0; ; n++ {
		if c, e = q.next(&a); e == nil && !q.undecided {
			break
		}
		if n == maxPump {
			q.mu.Unlock()
			done = true
			go q.resume()
			q.broker.finish(&a)
			return
		}
		if e == nil {
			q.mu.Unlock()
			q.mu.Lock()
			continue
		}
		number = q.hand(c, e)
		attempts := e.attempts
		q.mu.Unlock()
		err := q.send(c, e.message, number, attempts)
		q.mu.Lock()
		q.handed(c, e, number, err, &a)
	}
	q.pumping = false
	done = true
	q.unlock()
	q.broker.finish(&a)
}

func (q *queue) resume() {
	q.mu.Lock()
	q.work()
}

// resumeAfter goes on after the delivery of e has ended its goroutine, which has left a
// undone.
func (q *queue) resumeAfter(c *consumer, e *entry, number uint64, a aftermath) {
	q.mu.Lock()
	q.handed(c, e, number, errPanic, &a)
	q.mu.Unlock()
	q.broker.finish(&a)
	q.resume()
}

// hand takes e, which is ready, for c. It returns the number of the delivery, 0 if that
// will not be acknowledged. mu is held.
func (q *queue) hand(c *consumer, e *entry) uint64 {
	q.ready.remove(e)
	q.hold(c)
	e.attempts++
	e.avoid = nil
	var number uint64
	if c.sub.mode != subprotocol.AckAuto {
		number = q.broker.delivery.Add(1)
		c.unsettled = append(c.unsettled, slot{number, e})
		c.open++
		e.owner = c
		q.unsettled++
	}
	// It is the last in the row now.
	q.release(c)
	return number
}

// handed notes what became of a delivery. mu is held.
func (q *queue) handed(c *consumer, e *entry, number uint64, err error, a *aftermath) {
	if err == nil {
		c.patience = 0
		q.counts.Delivered++
		if e.attempts > 1 {
			q.counts.Redelivered++
		}
		if number == 0 {
			q.counts.Acked++
			q.discount(e)
		}
		return
	}
	if number != 0 {
		i := c.find(number)
		if i < 0 {
			return // it was settled, or its consumer has gone
		}
		q.settle(c, i)
		c.tidy()
	}
	switch {
	case errors.Is(err, net.ErrClosed):
		c.gone = true
		q.hold(c)
	case errors.Is(err, errNoRoom), errors.Is(err, handler.ErrQueueFull), errors.Is(err, handler.ErrNotConnected):
		q.wait(c)
	default:
		q.refuse(e, c, DeadUnsendable, a)
		return
	}
	e.attempts--
	q.putBack(e)
}

// wait has c, whose session has no room, tried again later. mu is held.
func (q *queue) wait(c *consumer) {
	if c.gone || c.waits {
		return
	}
	q.hold(c)
	c.waits = true
	c.patience = min(max(2*c.patience, minRetry), maxRetry)
	c.retry = time.Now().Add(c.patience)
	q.waiting = append(q.waiting, c)
	q.broker.alarms.set(&q.alarm, c.retry)
}

// find returns where the delivery of that number stands in c.unsettled, -1 if it is
// settled.
func (c *consumer) find(number uint64) int {
	i, found := slices.BinarySearchFunc(c.unsettled, number, func(s slot, n uint64) int {
		switch {
		case s.number < n:
			return -1
		case s.number > n:
			return 1
		default:
			return 0
		}
	})
	if !found || c.unsettled[i].entry == nil {
		return -1
	}
	return i
}

// settle ends the delivery at place i of c.unsettled. mu is held.
func (q *queue) settle(c *consumer, i int) *entry {
	e := c.unsettled[i].entry
	c.unsettled[i].entry = nil
	e.owner, e.claimed = nil, false
	q.unsettled--
	c.open--
	q.release(c)
	return e
}

// tidy closes the places of what is settled. mu is held.
func (c *consumer) tidy() {
	if c.open == 0 {
		c.unsettled = nil
		return
	}
	first := 0
	for c.unsettled[first].entry == nil {
		first++
	}
	c.unsettled = c.unsettled[first:]
	if len(c.unsettled) > 2*c.open+8 {
		c.unsettled = slices.DeleteFunc(c.unsettled, func(s slot) bool { return s.entry == nil })
	}
}

var (
	errNoRoom = errors.New("broker: the session has no room")
	errPanic  = errors.New("broker: a sender panicked")
)

// send gives m to c's session if there is room.
func (q *queue) send(c *consumer, m *subprotocol.Message, number uint64, attempts int) (err error) {
	sub := c.sub
	defer sub.leave()
	if !sub.enter() {
		return net.ErrClosed
	}
	defer func() {
		if recover() != nil { // of a Sender
			q.broker.counts.panics.Add(1)
			err = errPanic
		}
	}()
	out, _ := messages.Get().(*subprotocol.Message)
	*out = *m
	out.Subscription = sub.id
	if number != 0 {
		out.ID = strconv.FormatUint(number, 10)
	}
	if attempts > 1 {
		header := make(subprotocol.Header, 0, len(m.Header)+2)
		header = append(header, subprotocol.Field{Name: redelivered, Value: "true"},
			subprotocol.Field{Name: deliveryCount, Value: strconv.Itoa(attempts)})
		out.Header = append(header, m.Header...)
	}
	q.turns = impatient{}
	err = sub.session.SendContext(&q.turns, out)
	*out = subprotocol.Message{}
	messages.Put(out)
	return err
}

var messages = sync.Pool{New: func() any { return new(subprotocol.Message) }}

// impatient is a context that ends as soon as somebody waits for its end: what is done with
// it is done at once or not at all. Unlike Send, a SendContext that finds no room
// leaves the session as it is.
type impatient struct{ waited bool }

var _ context.Context = (*impatient)(nil)

// Deadline says that there is none.
func (*impatient) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed.
func (i *impatient) Done() <-chan struct{} {
	i.waited = true
	return closed
}

// Err is nil until Done was called.
func (i *impatient) Err() error {
	if i.waited {
		return errNoRoom
	}
	return nil
}

// Value has none.
func (*impatient) Value(any) any { return nil }

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
