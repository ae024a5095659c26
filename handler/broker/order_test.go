package broker

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
)

// TestOrder: all subscribers of a topic see its messages in one order, those with patterns
// and those with acknowledgements too, and from its receipt on a subscriber misses none.
func TestOrder(t *testing.T) {
	t.Parallel()
	const publishers, each, early, late = 4, 200, 6, 6
	b := New(nil)
	slowly := func(next handler.Sender) handler.Sender {
		return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
			runtime.Gosched()
			return next.Send(o)
		})
	}
	s := serve(t, b, handler.WithQueue(handler.Limits{Messages: 1 << 20, Bytes: 1 << 30}), handler.WithOutbound(slowly))
	join := func(i int) *client {
		c := s.join("")
		switch i % 3 {
		case 0:
			c.subscribe("1", "/topic/a", "auto")
		case 1:
			c.subscribe("1", "/topic/*", "auto")
		default:
			c.subscribe("1", "/topic/a", "client", "prefetch-count", "4000")
		}
		return c
	}
	var cs []*client
	for i := range early {
		cs = append(cs, join(i))
	}
	var wg sync.WaitGroup
	half := make(chan struct{})
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if p == 0 && i == each/2 {
					close(half)
				}
				if err := b.Publish(context.Background(), "/topic/a", body(fmt.Sprint(p*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	<-half
	for i := range late {
		c := join(i)
		require.NoError(t, b.Publish(context.Background(), "/topic/a", body(fmt.Sprintf(`"after %d"`, i))))
		cs = append(cs, c)
	}
	wg.Wait()
	require.NoError(t, b.Publish(context.Background(), "/topic/a", body(`"end"`)))
	bodies := func(c *client) (got []string) {
		for _, text := range c.wait(`"end"`) {
			f := parse(t, text)
			got = append(got, string(f.Body))
		}
		return got
	}
	all := bodies(cs[0])
	require.Len(t, all, publishers*each+late+1)
	for i, c := range cs[1:] {
		got := bodies(c)
		require.Equal(t, all[len(all)-len(got):], got, i)
		if n := i + 1 - early; n >= 0 {
			require.Contains(t, strings.Join(got, "\n"), fmt.Sprintf("after %d", n))
		}
	}
	for _, c := range cs {
		c.leave()
	}
	require.NoError(t, s.ep.Shutdown(context.Background()))
}

// TestSessionsComeAndGo has sessions subscribe, publish, acknowledge, unsubscribe and break off
// at once, while the server publishes; some are ended because they are too slow for that.
func TestSessionsComeAndGo(t *testing.T) {
	t.Parallel()
	const workers, rounds = 8, 40
	var mu sync.Mutex
	begun := 0
	count := func(n int) func(Subscription) {
		return func(Subscription) {
			mu.Lock()
			defer mu.Unlock()
			begun += n
		}
	}
	b := New(&Options{MaxDeliveries: 3, DeadLetter: "/queue/dead", MaxBacklog: 2, Hooks: Hooks{Subscribed: count(1), Unsubscribed: count(-1)}})
	s := serve(t, named(b))
	done := make(chan struct{})
	var publisher, wg sync.WaitGroup
	destinations := []string{"/topic/0", "/topic/*", "/queue/0", "/queue/1", "/user/queue/0", "/topic/**", "/queue/dead"}
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			ctx := context.Background()
			if i%3 == 0 {
				_ = b.PublishToUser(ctx, fmt.Sprint(i%5), "/queue/0", body("1"))
			}
			// A queue may be full.
			_ = b.Publish(ctx, []string{"/topic/0", "/topic/1", "/queue/0", "/queue/1"}[i%4], body("1"))
			runtime.Gosched()
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				c := s.join(fmt.Sprint(w % 3))
				c.overflows = true // the publisher does not wait for it
				for n := range 5 {
					mode := []string{"auto", "client", "client-individual"}[(w+i+n)%3]
					c.say(fmt.Sprintf(`{'type':'subscribe','subscription':'%d','ack':'%s','destination':'%s'}`, n, mode, destinations[(w+i+n)%len(destinations)]))
				}
				c.say(`{'type':'begin','transaction':'t'}`)
				for n := range 5 {
					c.say(fmt.Sprintf(`{'type':'ack','subscription':'%d','id':'%d'}`, n, n+1), fmt.Sprintf(`{'type':'nack','subscription':'%d','id':'%d'}`, n, n+2))
				}
				c.say(`{'type':'send','transaction':'t','destination':'/queue/0','body':1}`, `{'type':'send','transaction':'t','destination':'/topic/0','body':1}`,
					`{'type':'commit','transaction':'t'}`, `{'type':'unsubscribe','subscription':'2'}`)
				if i%2 == 0 {
					c.say(`{'type':'send','destination':'/topic/1','body':2,'receipt':'r'}`)
					c.wait(`"receipt":"r"`)
					c.cut()
				} else {
					c.leave()
				}
			}
		})
	}
	wg.Wait()
	close(done)
	publisher.Wait()
	require.NoError(t, s.ep.Shutdown(context.Background()))
	// What AfterFunc runs may still be on its way.
	for b.subscriptions.Load() != 0 || b.members.len() != 0 {
		runtime.Gosched()
	}
	for {
		mu.Lock()
		left := begun
		mu.Unlock()
		if left == 0 {
			break
		}
		runtime.Gosched()
	}
	// What is left are messages that nobody took.
	var bytes int64
	for q := range b.Queues() {
		require.Zero(t, q.Consumers)
		require.Zero(t, q.Unsettled)
		bytes += q.Bytes
	}
	require.Equal(t, bytes, b.queueBytes.Load())
	require.Zero(t, b.topics.len())
	require.Zero(t, b.users.len())
	require.Zero(t, b.details.Load())
	require.EqualValues(t, b.queues.len(), b.destinations.Load())
	require.Zero(t, b.Stats().Panics)
	b.Close()
}
