package broker

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestQueueByTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		z.send("/queue/a", "1", "2", "3", "4", "5")
		synctest.Wait()
		st, ok := b.Queue("/queue/a")
		require.True(t, ok)
		require.Equal(t, 5, st.Ready)
		a.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "2")
		require.Equal(t, "1 2", a.bodies())
		z.subscribe("q", "/queue/a", "auto")
		require.Equal(t, "3 4 5", z.bodies())
		st, _ = b.Queue("/queue/a")
		require.Equal(t, 0, st.Ready)
		require.Equal(t, 2, st.Unsettled)
		require.Equal(t, 2, st.Consumers)
		a.settle("ack", "q", "1", "2")
		require.Empty(t, a.codes())
		a.settle("ack", "q", "1")
		require.Equal(t, "unknown-ack", a.codes())
		z.send("/queue/a", "6", "7", "8", "9")
		synctest.Wait()
		require.Equal(t, 4, len(a.all())+len(z.all()))
		a.leave()
		require.Equal(t, "7 9", z.bodies(), "what the other had")
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestStatsOfWhatWaits: what waits and what is unsettled is that of queues and of the backlogs
// of topics' subscriptions together.
func TestStatsOfWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		require.Zero(t, b.Stats())
		a.subscribe("t", "/topic/a", "client-individual", "prefetch-count", "1")
		z.send("/topic/a", "1", "2", "3")
		z.send("/queue/a", "4", "5", "6", "7")
		synctest.Wait()
		a.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "3")
		require.Equal(t, "1 4 5 6", a.bodies())
		require.Equal(t, 2+1, b.Stats().Ready)
		require.Equal(t, 1+3, b.Stats().Unsettled)
		a.leave()
		z.leave()
		synctest.Wait()
		require.Equal(t, 4, b.Stats().Ready, "the queue's; the backlog went with its subscription")
		require.Zero(t, b.Stats().Unsettled)
	})
}

func TestNackGoesToAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		a.subscribe("q", "/queue/a", "client-individual")
		a.send("/queue/a", "1", "2")
		require.Equal(t, "1 2", a.bodies())
		a.settle("nack", "q", "1")
		require.Empty(t, a.bodies())
		z.subscribe("q", "/queue/a", "client-individual")
		got := z.wait("redelivered")
		f := parse(t, got[0])
		require.Equal(t, "2", f.header("delivery-count"))
		require.Equal(t, "1", string(f.Body))
		z.settle("nack", "q", f.ID)
		require.Equal(t, "1", a.bodies())
		// Now alone.
		z.say(`{'type':'unsubscribe','subscription':'q'}`)
		synctest.Wait()
		a.settle("nack", "q", "4")
		require.Empty(t, a.bodies())
		time.Sleep(time.Second - time.Nanosecond)
		require.Empty(t, a.bodies())
		time.Sleep(time.Nanosecond)
		fs := a.frames()
		require.Len(t, fs, 1)
		require.Equal(t, "4", fs[0].header("delivery-count"))
		a.cut()
		synctest.Wait()
		st, _ := b.Queue("/queue/a")
		require.Equal(t, 2, st.Ready)
		z.subscribe("q", "/queue/a", "client")
		synctest.Wait()
		z.leave()
	})
}

func TestDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []string
		b := New(&Options{MaxDeliveries: 2, DeadLetter: "/queue/dead", Hooks: Hooks{
			DeadLettered: func(d string, m *subprotocol.Message, r DeadReason) {
				told = append(told, fmt.Sprint(d, " ", string(m.Body), " ", r))
			},
		}})
		s := serve(t, b)
		a := s.join("")
		a.subscribe("q", "/queue/a", "client-individual")
		a.send("/queue/a", "1", "2")
		require.Equal(t, "1 2", a.bodies())
		a.settle("nack", "q", "1")
		time.Sleep(time.Second)
		require.Equal(t, "1", a.bodies())
		a.settle("nack", "q", "3")
		synctest.Wait()
		a.subscribe("d", "/queue/dead", "auto")
		a.subscribe("e", "/queue/a", "client-individual")
		a.say(`{'type':'unsubscribe','subscription':'q'}`, `{'type':'unsubscribe','subscription':'e'}`)
		fs := a.frames()
		require.Len(t, fs, 3)
		require.Equal(t, "refused", fs[0].header("dead-reason"))
		require.Equal(t, "2", fs[1].header("delivery-count"))
		require.Equal(t, "abandoned", fs[2].header("dead-reason"))
		require.Equal(t, "/queue/a", fs[2].header("dead-destination"))
		require.Equal(t, "2", fs[2].header("dead-deliveries"))
		require.Equal(t, []string{"/queue/a 1 refused", "/queue/a 2 abandoned"}, told)
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

func TestQueueLargerThanASession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a := s.join("")
		var want []string
		for i := range 5000 {
			require.NoError(t, b.Publish(t.Context(), "/queue/a", body(fmt.Sprint(i))))
			want = append(want, fmt.Sprint(i))
		}
		a.say(`{'type':'subscribe','subscription':'q','destination':'/queue/a'}`)
		time.Sleep(10 * time.Second)
		require.Equal(t, strings.Join(want, " "), a.bodies())
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestStaleAck: an ACK of an earlier connection settles nothing of a later one.
func TestStaleAck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a := s.join("")
		a.subscribe("q", "/queue/a", "client-individual")
		a.send("/queue/a", "1")
		old := a.frames()[0].ID
		a.cut()
		a = s.join("")
		a.subscribe("q", "/queue/a", "client-individual")
		require.Equal(t, "1", a.bodies())
		a.settle("ack", "q", old)
		require.Equal(t, "unknown-ack", a.codes())
		a.leave()
	})
}

// TestRefusedAddsUp: who refuses all day long holds no memory for it, however long the
// delay is.
func TestRefusedAddsUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{RedeliveryDelay: time.Hour, MaxDeliveries: 2})
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		a.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "1")
		z.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "1")
		for range 500 {
			a.send("/queue/a", "1")
			for range 2 {
				synctest.Wait()
				for _, c := range []*client{a, z} {
					for _, f := range c.frames() {
						c.settle("nack", "q", f.ID)
					}
				}
			}
		}
		synctest.Wait()
		q, ok := b.queues.get("/queue/a")
		require.True(t, ok)
		require.EqualValues(t, 500, q.stats().Dead)
		require.Less(t, cap(q.refused), 20)
		a.leave()
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestNoRoom: what a session has no room for goes to another consumer, and to the first
// again when it has room.
func TestNoRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b, handler.WithQueue(handler.Limits{Messages: 4, Bytes: 1 << 20}))
		a, z := s.join(""), s.join("")
		a.subscribe("q", "/queue/a", "auto")
		server, ok := transport.As[*pipe.Conn](a.peerOf(b).Conn())
		require.True(t, ok)
		server.SetFull(true)
		for i := range 10 {
			require.NoError(t, b.Publish(t.Context(), "/queue/a", body(fmt.Sprint(i))))
		}
		require.Empty(t, a.bodies())
		st, _ := b.Queue("/queue/a")
		require.NotZero(t, st.Ready)
		require.NotZero(t, st.Delivered)
		rest := st.Ready
		z.subscribe("q", "/queue/a", "client", "prefetch-count", "2")
		require.Len(t, z.all(), 2)
		server.SetFull(false)
		time.Sleep(2 * maxRetry)
		require.Len(t, a.all(), 10-2)
		require.Greater(t, rest, 2)
		a.leave()
		z.leave()
	})
}

// peerOf is the session of the only one who has subscribed.
func (c *client) peerOf(b *Broker) *handler.Session {
	synctest.Wait()
	for sub := range b.Subscriptions() {
		return sub.Session
	}
	c.t.Fatal("there is no subscription")
	return nil
}

// A selector that takes long does not keep others from the queue until it has seen all.
func TestSelectorLetsOthersHaveTheQueue(t *testing.T) {
	t.Parallel()
	b := New(&Options{Selectors: true})
	defer b.Close()
	const condition = "k LIKE '%b'"
	slow, err := parseSelector(condition + strings.Repeat(" OR "+condition, 60))
	require.NoError(t, err)
	c := &consumer{sub: &subscription{broker: b, selector: slow}, window: 1}
	q := b.newQueue("/queue/a")
	q.join(c)
	push := func(value string) {
		m := &subprotocol.Message{Header: subprotocol.Header{{Name: "k", Value: value}}}
		q.push(&entry{message: m, size: sizeOf(m)})
	}
	for range 12 {
		push(strings.Repeat("a", 32<<10)) // millions of steps each
	}
	push("b")
	var a aftermath
	rounds := 0
	for q.undecided = true; q.undecided; rounds++ {
		before := c.passed
		to, e := q.next(&a)
		if !q.undecided {
			require.Same(t, c, to)
			require.Same(t, q.ready.tail, e)
			break
		}
		require.Nil(t, e)
		require.Greater(t, c.passed, before, "it goes on where it was")
	}
	require.Greater(t, rounds, 1)
}

// A hook is called without a lock also after a Sender has ended the goroutine.
func TestSenderEndsItsGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var b *Broker
		told, expired := 0, 0
		b = New(&Options{MaxDeliveries: 1, Hooks: Hooks{
			DeadLettered: func(d string, _ *subprotocol.Message, _ DeadReason) {
				b.Queue(d)
				told++
			},
			Expired: func(string, *subprotocol.Message) { expired++ },
		}})
		s := serve(t, b, handler.WithOutbound(func(next handler.Sender) handler.Sender {
			return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
				if string(o.Message.Body) == "bad" {
					runtime.Goexit()
				}
				return next.Send(o)
			})
		}))
		a := s.join("")
		a.subscribe("q", "/queue/a", "client-individual")
		go func() { _ = b.Publish(t.Context(), "/queue/a", &subprotocol.Message{Body: []byte("bad")}) }()
		synctest.Wait()
		require.NoError(t, b.Publish(t.Context(), "/queue/a", &subprotocol.Message{Body: []byte("good")}))
		synctest.Wait()
		a.wait("good")
		require.Equal(t, 1, told)

		// Nor is forgotten what came before.
		q, err := b.lockQueue("/queue/a")
		require.NoError(t, err)
		for _, e := range []*entry{
			{message: &subprotocol.Message{Body: []byte("old")}, expires: 1}, {message: &subprotocol.Message{Body: []byte("bad")}},
		} {
			e.size = sizeOf(e.message)
			q.held().Add(e.size)
			q.push(e)
		}
		q.unlock()
		go q.pump()
		synctest.Wait()
		require.Equal(t, 2, told)
		require.Equal(t, 1, expired)
		a.leave()
	})
}
