package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// carrier is what the messages of a ledger go over.
type carrier struct {
	protocol subprotocol.SubProtocol
	serve    func(t *testing.T, h handler.Handler, sp subprotocol.SubProtocol) (dial func(transport.Receiver) transport.Conn, stop func())
	kill     func(transport.Conn) // breaks the connection, without a word
}

func overPipe(sp subprotocol.SubProtocol) carrier {
	return carrier{
		protocol: sp,
		serve: func(t *testing.T, h handler.Handler, sp subprotocol.SubProtocol) (func(transport.Receiver) transport.Conn, func()) {
			p := pipe.New(nil)
			ep := handler.NewEndpoint(p, h, handler.WithSubProtocols(sp), handler.WithHeartbeat(0, 0))
			dial := func(r transport.Receiver) transport.Conn {
				cfg := &transport.DialConfig{SubProtocols: sp.Names()}
				conn, err := p.Dial(context.Background(), "pipe://localhost/", cfg, func(transport.Conn) transport.Receiver { return r })
				if err != nil {
					t.Error(err)
				}
				return conn
			}
			return dial, func() { require.NoError(t, ep.Shutdown(context.Background())) }
		},
		kill: func(c transport.Conn) {
			if p, ok := transport.As[*pipe.Conn](c); ok {
				p.Cut()
			}
		},
	}
}

// TestLedger: of one queue with many consumers that acknowledge each message by itself, a
// tenth of which break off at a random moment, each message is settled by exactly one, each
// redelivery is marked, and the order is kept within a consumer.
func TestLedger(t *testing.T) {
	t.Parallel()
	seeds := 20
	if testing.Short() || raceEnabled {
		seeds = 3
	}
	for seed := range seeds {
		sp := []subprotocol.SubProtocol{envelope.NewJSON(nil), stomp.New(nil), envelope.NewMsgpack(nil)}[seed%3]
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runLedger(t, overPipe(sp), uint64(seed)) })
	}
}

const (
	ledgerMessages  = 10_000
	ledgerConsumers = 100
	ledgerQueue     = "/queue/ledger"
)

// ledger is what all consumers saw and did.
type ledger struct {
	t       *testing.T
	carrier carrier
	changed chan struct{}

	mu         sync.Mutex
	deliveries int
	attempts   [ledgerMessages]map[int]int  // attempt: consumer
	settled    [ledgerMessages][]int        // consumers that have a receipt for their ACK
	unheard    [ledgerMessages]map[int]bool // consumers that have sent an ACK, and no receipt yet
}

func (l *ledger) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// consumes is one consumer.
type consumes struct {
	*ledger
	number   int
	random   *rand.Rand
	framer   subprotocol.Framer
	conn     transport.Conn
	in       chan delivery
	writable chan struct{}
	gone     chan struct{}
	ready    chan struct{} // closed by the answer to the connect
	last     int           // the message of the last delivery that was not marked
}

type delivery struct {
	message int
	id      string
}

func (c *consumes) Receive(m transport.Message) {
	if err := c.framer.Decode(m, c); err != nil {
		c.t.Errorf("consumer %d: %v", c.number, err)
	}
}

func (c *consumes) Writable() { c.writable <- struct{}{} }

func (c *consumes) Closed(error) { close(c.gone) }

// Emit records what comes.
func (c *consumes) Emit(m *subprotocol.Message) error {
	l := c.ledger
	switch m.Kind {
	case subprotocol.KindConnected:
		close(c.ready)
	case subprotocol.KindDeliver:
		n, err := strconv.Atoi(string(m.Body))
		if err != nil {
			return err
		}
		attempt := 1
		if m.Header.Get("redelivered") == "true" {
			if attempt, err = strconv.Atoi(m.Header.Get("delivery-count")); err != nil || attempt < 2 {
				l.t.Errorf("message %d is redelivered for the %q time", n, m.Header.Get("delivery-count"))
			}
		} else {
			if n <= c.last {
				l.t.Errorf("consumer %d got message %d behind %d", c.number, n, c.last)
			}
			c.last = n
		}
		l.mu.Lock()
		l.deliveries++
		if other, ok := l.attempts[n][attempt]; ok {
			l.t.Errorf("message %d: delivery %d went to both %d and %d", n, attempt, other, c.number)
		}
		if l.attempts[n] == nil {
			l.attempts[n] = make(map[int]int)
		}
		l.attempts[n][attempt] = c.number
		l.mu.Unlock()
		c.in <- delivery{n, m.ID}
	case subprotocol.KindReceipt:
		if n, err := strconv.Atoi(m.Receipt); err == nil {
			l.mu.Lock()
			l.settled[n] = append(l.settled[n], c.number)
			delete(l.unheard[n], c.number)
			l.mu.Unlock()
			l.change()
		}
	case subprotocol.KindError:
		l.t.Errorf("consumer %d: %v", c.number, m.Error)
	}
	return nil
}

// say sends m. It reports false if the connection is over.
func (c *consumes) say(m *subprotocol.Message) bool {
	b, typ, err := c.framer.Append(nil, m)
	if err != nil {
		c.t.Error(err)
		return false
	}
	for {
		n, err := c.conn.Write([]transport.Message{{Type: typ, Data: b}})
		if err != nil || n == 1 {
			return err == nil
		}
		select {
		case <-c.writable:
		case <-c.gone:
			return false
		}
	}
}

// run consumes until the connection is over, or breaks off after that many deliveries
// if that is not negative.
func (c *consumes) run(breakOff int) {
	prefetch := 1 + c.random.IntN(50)
	c.say(&subprotocol.Message{Kind: subprotocol.KindConnect})
	<-c.ready // which says how the version that was chosen writes things
	c.say(&subprotocol.Message{
		Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: ledgerQueue, AckMode: subprotocol.AckClientIndividual,
		Header: subprotocol.Header{{Name: "prefetch-count", Value: strconv.Itoa(prefetch)}},
	})
	var held []delivery
	for n := 0; ; n++ {
		if n == breakOff {
			c.carrier.kill(c.conn)
			<-c.gone
			return
		}
		if len(held) == 0 || len(held) < prefetch && c.random.IntN(2) == 0 {
			var more <-chan time.Time // what is held is settled though nothing comes
			if len(held) > 0 {
				more = time.After(time.Millisecond)
			}
			select {
			case d := <-c.in:
				if held = append(held, d); len(held) > prefetch {
					c.t.Errorf("consumer %d has %d unsettled deliveries, but asked for %d", c.number, len(held), prefetch)
				}
				continue
			case <-more:
			case <-c.gone:
				return
			}
		}
		i := c.random.IntN(len(held))
		d := held[i]
		held = append(held[:i], held[i+1:]...)
		m := &subprotocol.Message{Kind: subprotocol.KindAck, Subscription: "s", ID: d.id, Receipt: strconv.Itoa(d.message)}
		if c.random.IntN(20) == 0 {
			m.Kind, m.Receipt = subprotocol.KindNack, ""
		} else {
			c.mu.Lock()
			if c.unheard[d.message] == nil {
				c.unheard[d.message] = make(map[int]bool)
			}
			c.unheard[d.message][c.number] = true
			c.mu.Unlock()
		}
		if !c.say(m) {
			return
		}
	}
}

func runLedger(t *testing.T, with carrier, seed uint64) {
	l := &ledger{t: t, carrier: with, changed: make(chan struct{}, 1)}
	b := New(&Options{
		RedeliveryDelay: time.Millisecond, MaxDeliveries: 1 << 20,
		Hooks: Hooks{Unsubscribed: func(Subscription) { l.change() }},
	})
	defer b.Close()
	dial, stop := with.serve(t, b, with.protocol)
	var wg sync.WaitGroup
	var all []*consumes
	for i := range ledgerConsumers {
		c := &consumes{
			ledger: l, number: i, random: rand.New(rand.NewPCG(seed, uint64(i))), last: -1,
			framer: with.protocol.NewFramer(with.protocol.Names()[0], subprotocol.FramerConfig{Client: true}),
			in:     make(chan delivery, 64), writable: make(chan struct{}, 1), gone: make(chan struct{}),
			ready: make(chan struct{}),
		}
		breakOff := -1
		if i%10 == 0 {
			breakOff = c.random.IntN(3 * ledgerMessages / ledgerConsumers)
		}
		c.conn = dial(c)
		all = append(all, c)
		wg.Go(func() { c.run(breakOff) })
	}
	for i := range ledgerMessages {
		if err := b.Publish(context.Background(), ledgerQueue, body(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	for b.Stats().Acked < ledgerMessages {
		<-l.changed
	}
	for _, c := range all {
		// What was said before has been handled when the connection is over.
		_ = c.conn.Close(transport.StatusNormalClosure, "")
		<-c.gone
	}
	wg.Wait()
	stop()
	st := b.Stats()
	require.EqualValues(t, ledgerMessages, st.Accepted)
	require.EqualValues(t, ledgerMessages, st.Acked)
	require.Zero(t, st.Dead)
	require.Zero(t, st.QueueBytes)
	settled, marked := 0, 0
	for n := range ledgerMessages {
		last := 0
		for attempt := range l.attempts[n] {
			last = max(last, attempt)
		}
		marked += last - 1
		switch len(l.settled[n]) {
		case 0:
			// Its consumer broke off before it heard that.
			require.NotEmpty(t, l.unheard[n], "message %d was settled by nobody", n)
		case 1:
			settled++
			require.Equal(t, l.attempts[n][last], l.settled[n][0], "message %d was settled by a consumer that did not get it last", n)
		default:
			t.Errorf("message %d was settled by %v", n, l.settled[n])
		}
	}
	require.NotZero(t, marked)
	t.Logf("%d deliveries, %d of them marked, %d settled with a receipt", l.deliveries, marked, settled)
}
