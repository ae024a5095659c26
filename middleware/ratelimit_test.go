package middleware_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func TestRateLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithMiddleware(middleware.RateLimit(2, 4)))
		a, b := s.dial(), s.dial()
		for range 6 {
			a.send(send)
		}
		b.send(send)
		// The Connect was the first of four.
		require.Equal(t, []string{"connected", "receipt", "receipt", "receipt", "rate-exceeded", "rate-exceeded", "rate-exceeded"}, a.codes())
		require.Equal(t, []string{"connected", "receipt"}, b.codes(), "the limit is each session's own")
		require.True(t, a.alive())
		time.Sleep(500 * time.Millisecond)
		a.send(send, send)
		require.Equal(t, []string{"receipt", "rate-exceeded"}, a.codes())
		time.Sleep(time.Hour)
		for range 5 {
			a.send(send)
		}
		require.Equal(t, []string{"receipt", "receipt", "receipt", "receipt", "rate-exceeded"}, a.codes())
		a.send(`{"type":"disconnect","receipt":"9"}`)
		require.Equal(t, []string{"receipt"}, a.codes(), "a Disconnect passes")
		b.leave()
	})
}

func TestRateLimitCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, nothing, handler.WithMiddleware(
			middleware.RateLimitBy(nil, 1, 2, &middleware.RateLimitOptions{Close: true})))
		c := s.dial()
		c.send(send, send)
		<-c.gone
		require.Equal(t, []string{"connected", "receipt", "rate-exceeded"}, c.codes())
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
	})
}

// TestRateLimitOfAll: a Disconnect passes also where everything counts.
func TestRateLimitOfAll(t *testing.T) {
	t.Parallel()
	h := middleware.RateLimitBy(nil, 1e-9, 1, &middleware.RateLimitOptions{
		Counts: func(subprotocol.Kind) bool { return true },
	})(handler.HandlerFunc(nothing))
	r := request(&subprotocol.Message{Kind: subprotocol.KindAck})
	require.NoError(t, h.Handle(t.Context(), r))
	require.ErrorContains(t, h.Handle(t.Context(), r), "rate-exceeded")
	r.Message.Kind = subprotocol.KindDisconnect
	require.NoError(t, h.Handle(t.Context(), r))
}

// TestRateLimitByUser: all sessions of a user share one limit.
func TestRateLimitByUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStack(t, on(subprotocol.KindConnect, func(_ context.Context, r handler.Request) error {
			r.Session.SetUser(r.Message.Header.Get("name"))
			return nil
		}), handler.WithMiddleware(middleware.RateLimitBy(middleware.ByUser, 1, 2, &middleware.RateLimitOptions{
			Counts: func(k subprotocol.Kind) bool { return k == subprotocol.KindSend },
		})))
		a, b := s.dial([2]string{"name", "ann"}), s.dial([2]string{"name", "ann"})
		c, d := s.dial([2]string{"name", "bob"}), s.dial()
		a.send(send, send)
		require.Equal(t, []string{"connected", "receipt", "receipt"}, a.codes())
		for _, x := range []*client{b, c, d} {
			x.send(send)
		}
		require.Equal(t, []string{"connected", "rate-exceeded"}, b.codes())
		require.Equal(t, []string{"connected", "receipt"}, c.codes())
		require.Equal(t, []string{"connected", "receipt"}, d.codes(), "nobody in particular is limited by session")
		for _, x := range []*client{a, b, c, d} {
			x.leave()
		}
	})
}

func TestRateLimitPanics(t *testing.T) {
	t.Parallel()
	for _, f := range []func(){
		func() { middleware.RateLimit(0, 1) },
		func() { middleware.RateLimit(math.NaN(), 1) },
		func() { middleware.RateLimit(1, 0) },
		func() { middleware.RateLimitBy(nil, 1, 1, &middleware.RateLimitOptions{Keys: -1}) },
	} {
		require.Panics(t, f)
	}
	middleware.RateLimitBy(middleware.ByUser, 1e-300, math.MaxInt, nil)
	middleware.RateLimitBy(middleware.ByUser, math.Inf(1), 1, nil)
}

// byID is a key that the test chooses for each message.
func byID(r handler.Request) string { return r.Message.ID }

// TestTablesAreFlat: 10^6 keys, long ones among them, leave no more behind than the
// bound says.
func TestTablesAreFlat(t *testing.T) {
	long := strings.Repeat("x", 8<<10)
	const limit = 4096
	for name, m := range map[string]func(handler.Handler) handler.Handler{
		"rate": middleware.RateLimitBy(byID, 1, 10, &middleware.RateLimitOptions{Keys: limit}),
		"deduplicate": middleware.Deduplicate(&middleware.DeduplicateOptions{
			Key: func(handler.Request) string { return "ann" }, Max: limit, Window: time.Hour,
		}),
		"in flight": middleware.MaxInFlightBy(byID, 1, 0),
	} {
		t.Run(name, func(t *testing.T) {
			h := m(handler.HandlerFunc(nothing))
			m := &subprotocol.Message{Kind: subprotocol.KindSend}
			r, ctx := request(m), t.Context()
			fill := func(n int, prefix string) {
				for i := range n {
					m.ID = prefix + strconv.Itoa(i)
					if err := h.Handle(ctx, r); err != nil {
						t.Fatal(err)
					}
				}
			}
			fill(20*limit, "") // the map has grown
			before := heap()
			fill(manyKeys, "")
			many := heap() - before
			fill(2*limit, long)
			big := heap() - before
			t.Logf("many keys left %d bytes behind, long ones %d", many, big)
			require.Less(t, many, int64(512<<10))
			require.Less(t, big, int64(1<<20))
		})
	}
}
