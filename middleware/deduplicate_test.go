package middleware_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

func TestDeduplicate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		handled := 0
		var fails error
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			switch r.Message.Kind {
			case subprotocol.KindConnect:
				r.Session.SetUser(r.Message.Header.Get("name"))
			case subprotocol.KindSend:
				handled++
				return fails
			}
			return nil
		}, handler.WithMiddleware(middleware.Recover, middleware.Deduplicate(&middleware.DeduplicateOptions{Window: time.Minute, Max: 3})))
		a, b := s.dial([2]string{"name", "ann"}), s.dial([2]string{"name", "bob"})
		require.Equal(t, []string{"connected"}, a.codes())
		require.Equal(t, []string{"connected"}, b.codes())
		say := func(c *client, id, answer string, times int) {
			t.Helper()
			before := handled
			c.send(`{"type":"send","destination":"/x","receipt":"1","id":"` + id + `"}`)
			require.Equal(t, []string{answer}, c.codes())
			require.Equal(t, times, handled-before)
		}
		say(a, "", "receipt", 1)
		say(a, "", "receipt", 1)
		say(a, "1", "receipt", 1)
		say(a, "1", "receipt", 0)
		say(b, "1", "receipt", 1)

		fails = errors.New("not now")
		say(a, "2", "internal", 1)
		say(a, "2", "internal", 1)
		fails = nil
		say(a, "2", "receipt", 1)
		say(a, "2", "receipt", 0)

		again := s.dial([2]string{"name", "ann"})
		require.Equal(t, []string{"connected"}, again.codes())
		say(again, "2", "receipt", 0)

		say(a, "3", "receipt", 1)
		say(b, "1", "receipt", 0)
		say(a, "1", "receipt", 1) // the oldest of four was forgotten

		time.Sleep(time.Minute)
		say(a, "3", "receipt", 1)
		for _, c := range []*client{a, b, again} {
			c.leave()
		}
	})
}

// TestDeduplicateConcurrent: while the first is being handled nobody knows how it
// ends.
func TestDeduplicateConcurrent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		end := make(chan error)
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			switch r.Message.Kind {
			case subprotocol.KindConnect:
				r.Session.SetUser("ann")
			case subprotocol.KindSend:
				return <-end
			}
			return nil
		}, handler.WithMiddleware(middleware.Deduplicate(nil)))
		a, b := s.dial(), s.dial()
		require.Equal(t, []string{"connected"}, a.codes())
		require.Equal(t, []string{"connected"}, b.codes())
		const m = `{"type":"send","destination":"/x","receipt":"1","id":"1"}`
		a.send(m)
		synctest.Wait()
		b.send(m)
		require.Equal(t, []string{"busy"}, b.codes())
		end <- errors.New("failed")
		require.Equal(t, []string{"internal"}, a.codes())
		b.send(m)
		synctest.Wait()
		end <- nil
		require.Equal(t, []string{"receipt"}, b.codes())
		a.send(m)
		require.Equal(t, []string{"receipt"}, a.codes())
		a.leave()
		b.leave()
	})
}

// TestDeduplicateTransaction: what a transaction has undone may come again.
func TestDeduplicateTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		handled, done := 0, 0
		s := newStack(t, func(_ context.Context, r handler.Request) error {
			if r.Message.Kind != subprotocol.KindSend {
				return nil
			}
			handled++
			if r.Message.Destination == "/fails" {
				return errors.New("failed")
			}
			return r.OnCommit(func() error { done++; return nil })
		}, handler.WithMiddleware(middleware.Deduplicate(nil)))
		c := s.dial()
		require.Equal(t, []string{"connected"}, c.codes())
		transaction := func(second string) {
			c.send(`{"type":"begin","transaction":"t"}`,
				`{"type":"send","destination":"/x","id":"1","transaction":"t"}`,
				`{"type":"send","destination":"`+second+`","id":"2","transaction":"t"}`,
				`{"type":"commit","transaction":"t","receipt":"9"}`)
		}
		transaction("/fails")
		require.Equal(t, []string{"internal", "transaction-failed"}, c.codes())
		require.Equal(t, []int{2, 0}, []int{handled, done})
		transaction("/x")
		require.Equal(t, []string{"receipt"}, c.codes())
		require.Equal(t, []int{4, 2}, []int{handled, done})
		transaction("/x")
		require.Equal(t, []string{"receipt"}, c.codes())
		require.Equal(t, []int{4, 2}, []int{handled, done}, "both were committed before")
		c.leave()
	})
}

func TestDeduplicatePanics(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { middleware.Deduplicate(&middleware.DeduplicateOptions{Max: -1}) })
	require.Panics(t, func() { middleware.Deduplicate(&middleware.DeduplicateOptions{Window: -1}) })
	// A handler that panics has not handled its message.
	n := 0
	h := middleware.Deduplicate(&middleware.DeduplicateOptions{Key: func(handler.Request) string { return "ann" }})(
		handler.HandlerFunc(func(context.Context, handler.Request) error { n++; panic("oops") }))
	for range 2 {
		require.Panics(t, func() { _ = h.Handle(t.Context(), request(&subprotocol.Message{Kind: subprotocol.KindSend, ID: "1"})) })
	}
	require.Equal(t, 2, n)
}
