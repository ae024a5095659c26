package broadcast

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
)

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// session opens a session of b and returns it with its client.
func session(t *testing.T, b *Broadcaster) (*handler.Session, *client) {
	t.Helper()
	s := serve(t, b)
	c := s.dial()
	c.say(`{'type':'connect'}`)
	c.wait("connected")
	synctest.Wait()
	for x := range s.ep.Sessions().All() {
		return x, c
	}
	t.Fatal("there is no session")
	return nil, nil
}

// TestNothingIsLeft: neither many destinations at a time nor many one after the other
// hold memory once their sessions are gone.
func TestNothingIsLeft(t *testing.T) {
	// Not parallel: it measures the process's memory.
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		try := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		b := New(&Options{MaxDestinations: n})
		s, c := session(t, b)
		before := heap()
		for i := range n {
			try(b.Subscribe(s, fmt.Sprint(i), fmt.Sprint("/topic/", i)))
		}
		held := heap() - before
		t.Logf("a destination with one subscription holds %d bytes", held/n)
		for i := range n / 2 {
			try(b.Unsubscribe(s, fmt.Sprint(i)))
		}
		require.Len(t, b.topics, n/2)
		c.leave()
		synctest.Wait()
		b.requireEmpty(t)
		left := heap() - before
		t.Logf("%d of %d bytes are left", left, held)
		require.Less(t, left, held/100)
		require.Zero(t, b.peak)

		s, c = session(t, b)
		before = heap()
		for i := range n {
			try(b.Subscribe(s, "1", fmt.Sprint("/topic/", i)))
			try(b.Unsubscribe(s, "1"))
		}
		require.Equal(t, 1, b.peak)
		require.Less(t, heap()-before, int64(1<<20), "ended subscriptions are held until the session ends")
		b.requireEmpty(t)
		c.leave()
		runtime.KeepAlive(b)
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint("subscribers=", n), func(b *testing.B) {
			bc := New(nil)
			s := serve(b, bc, handler.WithOverflow(handler.DropOldest()))
			cs := make([]*client, n)
			for i := range cs {
				cs[i] = s.dial()
				cs[i].say(`{'type':'connect'}`, `{'type':'subscribe','subscription':'1','destination':'/a','receipt':'r'}`)
				cs[i].wait(`"receipt"`)
			}
			m := message(`{"text":"hello"}`)
			b.ReportAllocs()
			for b.Loop() {
				if err := bc.Publish(context.Background(), "/a", m); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
			for _, c := range cs {
				c.leave()
			}
		})
	}
}
