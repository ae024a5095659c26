package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
)

func TestTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxQueueMessages: 3})
		s := serve(t, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			if r.Message.Destination == "/fail" {
				return errors.New("failed")
			}
			return b.Handle(ctx, r)
		}))
		a, z := s.join(""), s.join("")
		z.subscribe("t", "/topic/a", "auto")
		tx := func(parts ...string) string {
			a.say(`{'type':'begin','transaction':'x'}`)
			for _, p := range parts {
				a.say(`{` + p + `,'transaction':'x'}`)
			}
			a.say(`{'type':'commit','transaction':'x'}`)
			return a.codes()
		}
		ready := func() int {
			st, _ := b.Queue("/queue/a")
			return st.Ready
		}
		topic, queue := `'type':'send','destination':'/topic/a','body':1`, `'type':'send','destination':'/queue/a','body':1`
		require.Empty(t, tx(topic, queue, queue))
		require.Equal(t, "1", z.bodies())
		require.Equal(t, 2, ready())
		// One more fits, two do not: nothing is done, neither the first nor the topic's.
		require.Equal(t, "queue-full", tx(topic, queue, queue))
		require.Empty(t, z.bodies())
		require.Equal(t, 2, ready())
		require.Equal(t, "internal transaction-failed", tx(topic, queue, `'type':'send','destination':'/fail'`))
		require.Empty(t, z.bodies())
		require.Equal(t, 2, ready())
		// What is left of that does not come with the next one.
		require.Empty(t, tx(topic, queue))
		require.Equal(t, "1", z.bodies())
		require.Equal(t, 3, ready())
		require.Equal(t, "queue-full transaction-failed", tx(queue))
		require.Equal(t, "not-found transaction-failed", tx(`'type':'send','destination':'/elsewhere'`))

		a.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "2")
		require.Equal(t, "1 1", a.bodies())
		ack, nack := `'type':'ack','subscription':'q','id':'1'`, `'type':'nack','subscription':'q','id':'2'`
		require.Equal(t, "unknown-ack", tx(topic, ack, nack, ack))
		require.Equal(t, "unknown-ack", tx(ack, `'type':'nack','subscription':'q','id':'1'`))
		require.Equal(t, "unknown-ack transaction-failed", tx(ack, `'type':'ack','subscription':'q','id':'3'`))
		require.Empty(t, z.bodies())
		st, _ := b.Queue("/queue/a")
		require.Equal(t, 2, st.Unsettled)
		require.Zero(t, st.Acked)
		require.Empty(t, tx(ack, nack, topic))
		require.Equal(t, "1", z.bodies())
		st, _ = b.Queue("/queue/a")
		require.Equal(t, uint64(1), st.Acked)
		require.Equal(t, uint64(1), st.Refused)
		require.Equal(t, 1, st.Unsettled)
		require.Equal(t, 1, st.Ready)
		a.say(`{'type':'begin','transaction':'x'}`, `{`+queue+`,'transaction':'x'}`, `{`+ack+`,'transaction':'x'}`, `{'type':'abort','transaction':'x'}`)
		require.Empty(t, a.codes())
		a.leave()
		synctest.Wait()
		require.Equal(t, 2, ready())
		z.leave()
	})
}

func TestCumulative(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a := s.join("")
		a.subscribe("q", "/queue/a", "client")
		a.send("/queue/a", "1", "2", "3", "4", "5", "6")
		require.Equal(t, "1 2 3 4 5 6", a.bodies())
		a.settle("ack", "q", "3")
		require.Empty(t, a.codes())
		a.settle("ack", "q", "2", "3", "01", "A", "+4", "zzzzzzzzzzzzzzzzzzzzzzzz", "-1", "7")
		require.Equal(t, "unknown-ack unknown-ack unknown-ack unknown-ack unknown-ack unknown-ack unknown-ack unknown-ack", a.codes())
		z := s.join("")
		z.subscribe("q", "/queue/a", "client")
		a.settle("nack", "q", "5")
		require.Equal(t, "4 5", z.bodies())
		// Both in one transaction: 4 and 5 again, and what comes behind.
		z.send("/queue/a", "7", "8")
		require.Equal(t, "7", a.bodies())
		require.Equal(t, "8", z.bodies())
		z.say(`{'type':'begin','transaction':'x'}`, `{'type':'ack','subscription':'q','id':'7','transaction':'x'}`,
			`{'type':'nack','subscription':'q','id':'10','transaction':'x'}`, `{'type':'commit','transaction':'x'}`)
		require.Empty(t, z.codes())
		require.Equal(t, "5 8", a.bodies())
		a.settle("ack", "q", "12")
		require.Empty(t, a.codes())
		a.leave()
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestTransactionWithoutDestination: a topic that can't be made for a retained message has
// nothing of a transaction done.
func TestTransactionWithoutDestination(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxDestinations: 1})
		s := serve(t, b)
		a := s.join("")
		a.send("/queue/a", "1")
		a.say(`{'type':'begin','transaction':'x'}`,
			`{'type':'send','destination':'/queue/a','body':2,'transaction':'x'}`,
			`{'type':'send','destination':'/topic/a','header':[['retain','true']],'body':3,'transaction':'x'}`,
			`{'type':'commit','transaction':'x'}`)
		require.Equal(t, "too-many-destinations", a.codes())
		st, _ := b.Queue("/queue/a")
		require.Equal(t, 1, st.Ready)
		require.Zero(t, b.retained.count.Load())
		a.leave()
	})
}

// TestCommitWaits: a COMMIT waits for the publishers before it, and where that takes too long
// nothing of it is done.
func TestCommitWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		hold := make(chan struct{})
		s := serve(t, b, handler.WithOutbound(func(next handler.Sender) handler.Sender {
			return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
				if string(o.Message.Body) == "-1" {
					<-hold
				}
				return next.Send(o)
			})
		}))
		a, z := s.join(""), s.join("")
		a.subscribe("t", "/topic/a", "auto")
		go func() { _ = b.Publish(t.Context(), "/topic/a", body("-1")) }()
		synctest.Wait()
		for range maxInbox {
			require.NoError(t, b.Publish(t.Context(), "/topic/a", body("0")))
		}
		commit := func() {
			z.say(`{'type':'begin','transaction':'x'}`,
				`{'type':'send','destination':'/queue/a','body':1,'transaction':'x'}`,
				`{'type':'send','destination':'/topic/a','body':2,'transaction':'x'}`,
				`{'type':'commit','transaction':'x','receipt':'r'}`)
			synctest.Wait()
		}
		commit()
		time.Sleep(maxWait - 1)
		require.Empty(t, z.all())
		time.Sleep(time.Nanosecond)
		require.Equal(t, "busy", z.codes())
		_, ok := b.Queue("/queue/a")
		require.False(t, ok, "nothing of it is done")
		commit()
		require.Empty(t, z.all())
		close(hold)
		require.Len(t, z.wait(`"receipt":"r"`), 1)
		st, _ := b.Queue("/queue/a")
		require.Equal(t, 1, st.Ready)
		got := a.all()
		require.Len(t, got, 1+maxInbox+1)
		require.Contains(t, got[len(got)-1], `"body":2`)
		a.leave()
		z.leave()
	})
}
