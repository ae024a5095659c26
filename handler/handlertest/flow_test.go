package handlertest_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// A handler that blocks holds up its own session's messages and nothing else.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		entered, gate := make(chan struct{}), make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		rec := record(func(ctx context.Context, r handler.Request) error {
			if string(r.Message.Body) == "block" {
				entered <- struct{}{}
				<-gate
			}
			return handlertest.Echo(ctx, r)
		})
		s := st.Start(t, rec, handler.WithSlowHandler(2*time.Millisecond), handler.WithQueue(handler.Limits{Messages: 1 << 16, Bytes: 64 << 20}))
		t.Cleanup(open) // before the server's
		c, _ := pair(t, s, rec)
		send(t, c, "block")
		take(t, entered)
		before := s.Endpoint.Stats().MessagesIn

		if p, ok := transport.As[transport.Pinger](c.Conn()); ok {
			ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
			defer cancel()
			_, err := p.Ping(ctx)
			require.NoError(t, err, "pings are answered while a handler blocks")
		} else {
			require.True(t, st.Stream || st.Requests)
		}
		// More than one on a machine on which Connect is slow too.
		eventually(t, func() bool { return s.Endpoint.Stats().Yields > 0 }, "the reader's role is handed over")

		// The window fills, reading stops, and the client is stopped by its transport.
		body := filler
		numbered := func(i int) []byte { return append(strconv.AppendInt(nil, int64(i), 10), body...) }
		sent := 0
		for ; sent < 6; sent++ { // four fill the window, and what follows finds room before it
			require.NoError(t, c.Send(&subprotocol.Message{Type: bodyType(st), Body: numbered(sent)}))
		}
		eventually(t, func() bool { return s.Endpoint.Stats().Pauses > 0 }, "reading stops")
		for taken := true; taken; {
			require.Less(t, sent, 4096, "64 MiB were read from a session that handles nothing")
			var err error
			taken, err = c.TrySend(&subprotocol.Message{Type: bodyType(st), Body: numbered(sent)})
			require.NoError(t, err)
			if taken {
				sent++
			}
		}
		require.Equal(t, before, s.Endpoint.Stats().MessagesIn, "nothing is handled behind the one that blocks")
		roundTrip(t, s.Dial(t), "other sessions go on")

		open()
		require.Equal(t, "block", receive(t, c))
		for i := range sent {
			m, err := c.Receive()
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(m.Body, strconv.AppendInt(nil, int64(i), 10)), "message %d is %.8q", i, m.Body)
			require.Len(t, m.Body, len(strconv.Itoa(i))+len(body))
		}
		roundTrip(t, c, "still open")
	})
}

// filler is text that fills buffers also on carriers that compress.
var filler = func() []byte {
	b := make([]byte, 16<<10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[random.IntN(64)]
	}
	return b
}()

// big is a message that fills buffers quickly and says its number.
func big(i int) *subprotocol.Message {
	m := text("%d:", i)
	m.Body = append(m.Body, filler...)
	return m
}

func number(t testing.TB, m *subprotocol.Message) int {
	t.Helper()
	digits, _, ok := bytes.Cut(m.Body, []byte(":"))
	require.True(t, ok, "%.10q", m.Body)
	n, err := strconv.Atoi(string(digits))
	require.NoError(t, err)
	return n
}

// Peers that never read, more than there are workers to flush, delay nobody and
// hold little.
func TestStalledPeers(t *testing.T) {
	t.Parallel()
	const workers = 2
	each(t, func(t *testing.T, st handlertest.Stack) {
		rec := record(nil)
		s := st.Start(t, rec, handler.WithFlushWorkers(workers), handler.WithOverflow(handler.DropNewest()))
		var stalled []*handlertest.Client
		var resume []func()
		accepted := make([]int, workers+1)
		for i := range workers + 1 {
			c, ses := pair(t, s, rec)
			resume = append(resume, pause(t, c))
			stalled = append(stalled, c)
			// Sends are counted, not timed: a queue that is full stays full only when
			// the transport takes nothing more.
			for dropped := 0; dropped < 3; {
				status, _ := ses.Send(big(accepted[i]))
				if status == handler.Queued {
					require.Less(t, accepted[i], 1024, "16 MiB went to a peer that never reads")
					accepted[i]++
					continue
				}
				require.Equal(t, handler.Dropped, status)
				dropped++
				other, _ := pair(t, s, rec)
				roundTrip(t, other, "replies go on")
			}
		}
		healthy, ses := pair(t, s, rec)
		for i := range 100 {
			roundTrip(t, healthy, strconv.Itoa(i))
			_, err := ses.Send(text("deferred %d", i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("deferred ", i), receive(t, healthy))
		}
		for i, c := range stalled {
			resume[i]()
			for want := range accepted[i] {
				m, err := c.Receive()
				require.NoError(t, err)
				require.Equal(t, want, number(t, m))
			}
		}
	})
}

// With the default policy a session that can take no more ends, also if its peer
// never reads the reason.
func TestOverflowCloses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		for _, reads := range []bool{true, false} {
			if !reads && st.Format != "raw/none" {
				continue // it takes the close timeout, and is up to the transport alone
			}
			t.Run(fmt.Sprintf("reads=%v", reads), func(t *testing.T) {
				t.Parallel()
				rec := record(nil)
				s := st.Start(t, rec)
				c, ses := pair(t, s, rec)
				resume := pause(t, c)
				sent := 0
				for {
					status, err := ses.Send(big(sent))
					if status == handler.Dropped {
						require.ErrorIs(t, err, handler.ErrQueueFull)
						break
					}
					require.Equal(t, handler.Queued, status)
					sent++
				}
				if reads {
					resume()
				}
				cause := take(t, rec.causes)
				requireEnd(t, cause, transport.StatusPolicyViolation)
				require.ErrorIs(t, cause, handler.ErrQueueFull)
				require.EqualValues(t, 1, rec.disconnects.Load())
				if !reads {
					return
				}
				for want := 0; ; want++ {
					m, err := c.Receive()
					if err != nil {
						requireStatus(t, c, transport.StatusPolicyViolation)
						// All that is queued is dropped, but a Write may have had it in hand.
						require.LessOrEqual(t, want, sent)
						return
					}
					require.Equal(t, want, number(t, m))
				}
			})
		}
	})
}

// The policies that drop messages drop those that they say, and count them.
func TestOverflowDrops(t *testing.T) {
	t.Parallel()
	const extra = 20 // sends after the first drop
	each(t, func(t *testing.T, st handlertest.Stack) {
		key := func(m *subprotocol.Message) string {
			digits, _, _ := bytes.Cut(m.Body, []byte(":"))
			return map[bool]string{true: "even", false: "odd"}[len(digits) > 0 && digits[len(digits)-1]%2 == 0]
		}
		for name, tt := range map[string]struct {
			policy handler.OverflowPolicy
			reason handler.DropReason
			check  func(t *testing.T, got, queued []int, sent int)
		}{
			"newest": {handler.DropNewest(), handler.DroppedNewest, func(t *testing.T, got, queued []int, _ int) {
				require.Equal(t, queued, got, "what was queued arrives")
			}},
			"oldest": {handler.DropOldest(), handler.DroppedOldest, func(t *testing.T, got, _ []int, sent int) {
				require.IsIncreasing(t, got)
				require.Equal(t, sent-1, got[len(got)-1], "the latest arrives")
			}},
			"conflate": {handler.Conflate(key), handler.DroppedConflated, func(t *testing.T, got, _ []int, sent int) {
				last := [2]int{-1, -1}
				for _, n := range got {
					require.Greater(t, n, last[n%2], "the order of one key is kept")
					last[n%2] = n
				}
				require.ElementsMatch(t, []int{sent - 1, sent - 2}, last[:], "the latest of each key arrives")
			}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var drops, others atomic.Int64
				rec := record(nil)
				s := st.Start(t, rec, handler.WithOverflow(tt.policy), handler.WithQueue(handler.Limits{Messages: 8, Bytes: 1 << 20}),
					handler.WithHooks(handler.Hooks{Drop: func(_ *handler.Session, d handler.Drop) {
						drops.Add(int64(d.Messages))
						if d.Reason != tt.reason {
							others.Add(1)
						}
					}}))
				c, ses := pair(t, s, rec)
				resume := pause(t, c)
				var queued []int
				sent := 0
				for last := 1 << 20; sent < last; sent++ {
					require.Less(t, sent, 1024)
					status, _ := ses.Send(big(sent))
					if status == handler.Queued {
						queued = append(queued, sent)
					}
					if drops.Load() > 0 && last == 1<<20 {
						last = sent + 1 + extra
					}
				}
				resume()
				require.NoError(t, ses.SendContext(t.Context(), text("end")))
				var got []int
				for {
					m, err := c.Receive()
					require.NoError(t, err)
					if string(m.Body) == "end" {
						break
					}
					got = append(got, number(t, m))
				}
				require.EqualValues(t, sent-len(got), drops.Load(), "every drop is told")
				require.IsIncreasing(t, evens(got))
				require.Zero(t, others.Load(), "nothing is dropped for another reason")
				tt.check(t, got, queued, sent)
			})
		}
	})
}

// evens keeps one of the two keys, whose order every policy keeps.
func evens(ns []int) []int {
	var kept []int
	for _, n := range ns {
		if n%2 == 0 {
			kept = append(kept, n)
		}
	}
	return kept
}
