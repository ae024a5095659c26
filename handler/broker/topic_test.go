package broker

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

func TestTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		a.subscribe("1", "/topic/a", "auto")
		a.subscribe("2", "/topic/a", "auto")
		a.subscribe("3", "/topic/b", "auto")
		z.subscribe("1", "/topic/*", "auto")
		z.say(`{'type':'send','destination':'/topic/a','receipt':'r','header':[['k','v'],['redelivered','true'],['k','w']],'body':{'x':1}}`)
		deliver := func(sub string) string {
			return `{"type":"deliver","subscription":"` + sub + `","destination":"/topic/a","header":[["k","v"],["k","w"]],"body":{"x":1}}`
		}
		require.ElementsMatch(t, []string{deliver("1"), deliver("2")}, a.all())
		require.Equal(t, []string{deliver("1"), `{"type":"receipt","receipt":"r"}`}, z.all())
		require.NoError(t, b.Publish(t.Context(), "/topic/b/c", body("1")))
		require.NoError(t, b.Publish(t.Context(), "/topic/b", &subprotocol.Message{Destination: "/elsewhere", Body: []byte("2")}))
		require.Equal(t, "2", a.bodies())
		require.Equal(t, "2", z.bodies())
		require.Equal(t, uint64(1), b.Stats().Unrouted)
		a.say(`{'type':'unsubscribe','subscription':'2','receipt':'r'}`)
		a.wait(`"receipt":"r"`)
		a.settle("ack", "1", "1")
		require.Equal(t, "unknown-ack", a.codes())
		z.send("/topic/a", "3")
		require.Equal(t, "3", z.bodies())
		require.Len(t, a.all(), 1)
		a.leave()
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

func TestRetained(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxRetained: 2})
		s := serve(t, b)
		a := s.join("")
		retain := func(destination, text string, more ...subprotocol.Field) error {
			m := body(text)
			m.Header = append(more, subprotocol.Field{Name: "retain", Value: "true"})
			return b.Publish(t.Context(), destination, m)
		}
		require.NoError(t, retain("/topic/a/1", "1"))
		require.NoError(t, retain("/topic/a/1", "2"))
		require.NoError(t, retain("/topic/a/2", "3", subprotocol.Field{Name: "ttl", Value: "1000"}))
		require.ErrorContains(t, retain("/topic/a/3", "4"), "too-many-retained")
		a.subscribe("1", "/topic/a/1", "auto")
		require.Equal(t, "2", a.bodies())
		a.subscribe("2", "/topic/a/*", "client")
		got := strings.Fields(a.bodies())
		require.ElementsMatch(t, []string{"2", "3"}, got)
		a.subscribe("3", "/topic/a/3", "auto")
		require.Empty(t, a.bodies())
		require.Equal(t, 2, b.Stats().Retained)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 1, b.Stats().Retained)
		require.NoError(t, retain("/topic/a/1", ""))
		require.Zero(t, b.Stats().Retained)
		a.subscribe("4", "/topic/a/1", "auto")
		require.Len(t, a.frames(), 2, "the empty message, for the first two")
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestTopicWindow: a subscriber that acknowledges gets no more than its window; what it
// refuses comes back; the oldest is dropped when its backlog is full.
func TestTopicWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var dropped []string
		b := New(&Options{MaxBacklog: 3, MaxDeliveries: 2, Hooks: Hooks{
			Dropped: func(_ string, m *subprotocol.Message) { dropped = append(dropped, string(m.Body)) },
		}})
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		a.subscribe("t", "/topic/a", "client", "prefetch-count", "2")
		z.subscribe("t", "/topic/a", "auto")
		for i := range 7 {
			require.NoError(t, b.Publish(t.Context(), "/topic/a", body(fmt.Sprint(i))))
		}
		require.Equal(t, "0 1", a.bodies())
		require.Equal(t, "0 1 2 3 4 5 6", z.bodies())
		require.Equal(t, []string{"2", "3"}, dropped)
		a.settle("ack", "t", "2")
		require.Equal(t, "4 5", a.bodies())
		a.settle("nack", "t", "4")
		require.Equal(t, "6", a.bodies(), "what was refused waits, the rest does not")
		time.Sleep(time.Second)
		require.Equal(t, "4", a.bodies())
		a.settle("ack", "t", "5")
		fs := a.frames()
		require.Len(t, fs, 1)
		require.Equal(t, "2", fs[0].header("delivery-count"))
		require.Equal(t, "5", string(fs[0].Body))
		require.NotZero(t, b.backlogBytes.Load())
		a.cut()
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

func TestUsers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, named(b))
		ann1, ann2, bob, nobody := s.join("ann"), s.join("ann"), s.join("bob/x"), s.join("")
		all := []*client{ann1, ann2, bob, nobody}
		for _, c := range all {
			c.subscribe("u", "/user/queue/x", "auto")
		}
		got := func() (got []string) {
			for _, c := range all {
				got = append(got, c.bodies())
			}
			return got
		}
		require.NoError(t, b.PublishToUser(t.Context(), "ann", "/queue/x", body("1")))
		f := ann1.frames()[0]
		require.Equal(t, "/user/queue/x", f.Destination)
		require.Equal(t, []string{"", "1", "", ""}, got())
		nobody.send("/user/bob%2Fx/queue/x", "2")
		require.Equal(t, []string{"", "", "2", ""}, got())
		require.NoError(t, b.PublishToUser(t.Context(), "eve", "/queue/x", body("3")))
		require.NoError(t, b.PublishToUser(t.Context(), "ann", "/queue/y", body("4")))
		require.Error(t, b.PublishToUser(t.Context(), "", "/queue/x", body("5")))
		require.Equal(t, []string{"", "", "", ""}, got())

		sessions := map[string]*handler.Session{}
		for sub := range b.SubscriptionsTo("/user/queue/x") {
			sessions[sub.Session.User()] = sub.Session
		}
		require.NoError(t, b.PublishToSession(t.Context(), sessions[""], "/queue/x", body("6")))
		require.NoError(t, b.PublishToSession(t.Context(), sessions["bob/x"], "/queue/x", body("7")))
		require.Equal(t, []string{"", "", "7", "6"}, got())

		sessions["bob/x"].SetUser("eve")
		require.NoError(t, b.PublishToUser(t.Context(), "bob/x", "/queue/x", body("8")))
		require.Equal(t, []string{"", "", "", ""}, got())
		b.UserChanged(sessions["bob/x"])
		require.NoError(t, b.PublishToUser(t.Context(), "eve", "/queue/x", body("9")))
		require.Equal(t, []string{"", "", "9", ""}, got())
		// What waits for a session is for the user that it had.
		bob.subscribe("v", "/user/queue/y", "client", "prefetch-count", "1")
		for _, text := range []string{"10", "11"} {
			require.NoError(t, b.PublishToUser(t.Context(), "eve", "/queue/y", body(text)))
		}
		require.NoError(t, b.PublishToSession(t.Context(), sessions["bob/x"], "/queue/y", body("12")))
		f = bob.frames()[0]
		require.Equal(t, "10", string(f.Body))
		sessions["bob/x"].SetUser("ann")
		bob.settle("ack", "v", f.ID)
		require.Equal(t, "12", bob.bodies())
		require.NoError(t, b.PublishToUser(t.Context(), "ann", "/queue/x", body("13")))
		require.Equal(t, []string{"13", "13", "13", ""}, got())
		require.EqualValues(t, 1, b.Stats().Dropped)
		for _, c := range all {
			c.leave()
		}
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// TestReentrance: hooks and Senders may call the broker.
func TestReentrance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var b *Broker
		depth := 0
		b = New(&Options{Hooks: Hooks{
			Subscribed: func(s Subscription) {
				require.NoError(t, b.Publish(t.Context(), "/topic/a", body(`"joined"`)))
				for range b.SubscriptionsOf(s.Session) {
					depth++
				}
			},
			Unsubscribed: func(Subscription) { _ = b.Publish(t.Context(), "/queue/a", body(`"left"`)) },
		}})
		again := func(next handler.Sender) handler.Sender {
			return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
				switch string(o.Message.Body) {
				case "1":
					require.NoError(t, b.Publish(t.Context(), o.Message.Destination, body("2")))
				case "3":
					_ = b.Unsubscribe(o.Session, o.Message.Subscription)
				case "4":
					panic("4")
				}
				return next.Send(o)
			})
		}
		s := serve(t, b, handler.WithOutbound(again))
		a := s.join("")
		a.subscribe("t", "/topic/a", "auto")
		a.subscribe("q", "/queue/a", "auto")
		require.Equal(t, `"joined" "joined"`, a.bodies())
		a.send("/topic/a", "1", "4")
		require.Equal(t, "1 2", a.bodies())
		a.send("/queue/a", "1")
		require.Equal(t, "1 2", a.bodies())
		a.send("/topic/a", "3", "3")
		require.Equal(t, `"left" 3`, a.bodies())
		a.send("/queue/a", "3", "5")
		require.Equal(t, "3", a.bodies())
		require.Equal(t, 1+2, depth)
		require.Equal(t, uint64(1), b.Stats().Panics)
		a.leave()
		synctest.Wait()
		st, _ := b.Queue("/queue/a")
		require.Equal(t, 2, st.Ready)
	})
}

// TestHog: who never acknowledges does not keep those who do from their messages.
func TestHog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxBytes: 10_000})
		s := serve(t, b)
		hog, a := s.join(""), s.join("")
		hog.subscribe("t", "/topic/hog", "client")
		a.subscribe("t", "/topic/a", "client")
		for i := range 100 {
			require.NoError(t, b.Publish(t.Context(), "/topic/hog", body(fmt.Sprint(i))))
		}
		require.NotZero(t, b.Stats().Dropped)
		for i := range 10 {
			require.NoError(t, b.Publish(t.Context(), "/topic/a", body(fmt.Sprint(i))))
		}
		fs := a.frames()
		require.Len(t, fs, 10)
		a.settle("ack", "t", fs[9].ID)
		require.Empty(t, a.codes())
		require.LessOrEqual(t, b.Stats().BacklogBytes, int64(20_000))
		hog.leave()
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// What is for one session alone is not retained for the user's other ones.
func TestPublishToSessionRetainsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		s := serve(t, named(b))
		a := s.join("bob")
		a.subscribe("u", "/user/queue/x", "auto")
		m := body("1")
		m.Header = subprotocol.Header{{Name: "retain", Value: "true"}}
		require.NoError(t, b.PublishToSession(t.Context(), s.session(), "/queue/x", m))
		require.Equal(t, "1", a.bodies())
		z := s.join("bob")
		z.subscribe("u", "/user/queue/x", "auto")
		require.Empty(t, z.bodies())
		a.leave()
		z.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}

// A subscription with a wildcard reads the number of the last message, and then looks for what
// is retained: what has a number before that must be found there.
func TestRetainedIsFoundBeforeItHasANumber(t *testing.T) {
	t.Parallel()
	b := New(nil)
	m := body("1")
	m.Header = subprotocol.Header{{Name: "retain", Value: "true"}}
	b.retained.mu.Lock()
	done := make(chan error)
	go func() { done <- b.Publish(context.Background(), "/topic/a", m) }()
	locked := func() bool {
		p, ok := b.topics.get("/topic/a")
		if !ok || !p.mu.TryLock() {
			return ok
		}
		p.unlock()
		return false
	}
	for !locked() {
		runtime.Gosched()
	}
	for range 10_000 { // for as long as it is not retained
		runtime.Gosched()
		if n := b.seq.Load(); n != 0 {
			t.Errorf("it has the number %d", n)
			break
		}
	}
	b.retained.mu.Unlock()
	require.NoError(t, <-done)
	require.Len(t, b.retained.matching("/topic/*", '/'), 1)
	require.Empty(t, b.retained.matching("/topic/*/*", '/'))
}
