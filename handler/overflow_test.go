package handler

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// held is the memory that a queue counts for a text of n bytes.
func held(n int) int {
	room := 64
	for step := 32; room < n; room += step {
		if room == 4*step { // a power of two further
			step *= 2
		}
	}
	return room + entryCost
}

func TestOverflow(t *testing.T) {
	key := func(m *subprotocol.Message) string { k, _, _ := strings.Cut(string(m.Body), "="); return k }
	for _, tt := range []struct {
		name   string
		policy OverflowPolicy
		send   []string // after the first, which is in a Write that was refused
		status Status
		want   []string
		drops  Drops
		code   transport.StatusCode
	}{
		{name: "close", policy: CloseOnOverflow(), send: []string{"b", "c", "d", "e"}, status: Dropped,
			drops: Drops{Closed: 5}, code: 1008},
		{name: "newest", policy: DropNewest(), send: []string{"b", "c", "d", "e"}, status: Dropped,
			want: []string{"a=0", "b", "c", "d"}, drops: Drops{Newest: 1}},
		{name: "oldest", policy: DropOldest(), send: []string{"b", "c", "d", "e", "f"}, status: Queued,
			want: []string{"c", "d", "e", "f"}, drops: Drops{Oldest: 2}},
		{name: "oldest by bytes", policy: DropOldest(), send: []string{"b", "c", strings.Repeat("x", 192)}, status: Queued,
			want: []string{"b", "c", strings.Repeat("x", 192)}, drops: Drops{Oldest: 1}},
		{name: "newest by bytes", policy: DropNewest(), send: []string{strings.Repeat("x", 500)}, status: Dropped,
			want: []string{"a=0"}, drops: Drops{Newest: 1}},
		{name: "conflate", policy: Conflate(key), send: []string{"b=0", "a=1", "c=0", "a=2"}, status: Queued,
			want: []string{"a=2", "b=0", "c=0"}, drops: Drops{Conflated: 2}},
		{name: "conflate the only one", policy: Conflate(key), send: []string{"b=0", "c=0", "d=0", "c=1"}, status: Queued,
			want: []string{"a=0", "b=0", "c=1", "d=0"}, drops: Drops{Conflated: 1}},
		{name: "conflate unknown", policy: Conflate(key), send: []string{"b=0", "c=0", "d=0", "e=0"}, status: Dropped,
			want: []string{"a=0", "b=0", "c=0", "d=0"}, drops: Drops{Newest: 1}},
		{name: "conflate no key", policy: Conflate(key), send: []string{"b=0", "", "d=0", "=1"}, status: Dropped,
			want: []string{"a=0", "b=0", "", "d=0"}, drops: Drops{Newest: 1}},
		{name: "conflate too long", policy: Conflate(key), send: []string{"b=0", "b=" + strings.Repeat("x", 500)}, status: Dropped,
			want: []string{"a=0", "b=0"}, drops: Drops{Newest: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told Drops
				var toldNext int
				e := newFake(t, nothing, WithQueue(Limits{4, 4*held(1) + 10}), WithOverflow(tt.policy),
					WithHooks(Hooks{Drop: func(_ *Session, d Drop) {
						*[]*uint64{&told.Newest, &told.Oldest, &told.Conflated, &told.Unsendable, &told.Closed}[d.Reason] += uint64(d.Messages)
						require.Positive(t, d.Bytes)
						panic("a hook may not harm")
					}}), WithHooks(Hooks{Drop: func(_ *Session, d Drop) { toldNext += d.Messages }}))
				c := &fakeConn{room: 0}
				s, r := open(t, e, c)
				send(t, s, "a=0")
				synctest.Wait()
				status, err := send(t, s, tt.send...)
				require.Equal(t, tt.status, status)
				if status == Dropped {
					require.ErrorIs(t, err, ErrQueueFull)
				} else {
					require.NoError(t, err)
				}
				require.Equal(t, tt.drops, e.Stats().Dropped)
				require.Equal(t, tt.drops, told)
				d := tt.drops
				require.EqualValues(t, d.Newest+d.Oldest+d.Conflated+d.Unsendable+d.Closed, toldNext, "the next hook is told too")
				require.Equal(t, tt.code, c.code)
				c.setRoom(-1)
				r.Writable()
				synctest.Wait()
				require.Equal(t, tt.want, c.messages())
				if tt.code != 0 {
					status, err = send(t, s, "late")
					require.Equal(t, Closed, status)
					require.ErrorIs(t, err, net.ErrClosed)
				}
				requireIdle(t, e, s)
				r.Closed(&transport.EndError{Code: tt.code, Err: transport.ErrLocalClose})
				if tt.code != 0 {
					require.ErrorIs(t, context.Cause(s.Context()), ErrQueueFull)
					require.ErrorIs(t, context.Cause(s.Context()), net.ErrClosed)
				}
			})
		})
	}
}

// TestNewestOutlivesAWrite: what a Write has in hand takes no room from what
// comes meanwhile, and gives way to it if the Write gives it back.
// TestConnectedIsNotDropped: whatever the policy, nothing reaches a client before the answer
// to its Connect.
func TestConnectedIsNotDropped(t *testing.T) {
	constant := func(*subprotocol.Message) string { return "k" }
	for _, tt := range []struct {
		name   string
		policy OverflowPolicy
		want   []string
	}{
		{"newest", DropNewest(), []string{"CONNECTED", "DELIVER|0", "DELIVER|1"}},
		{"oldest", DropOldest(), []string{"CONNECTED", "DELIVER|0", "DELIVER|1"}},
		{"conflate", Conflate(constant), []string{"CONNECTED", "DELIVER|4"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, say, c := talk(t, nothing, WithOverflow(tt.policy), WithQueue(Limits{3, 10000}))
				c.room = 0
				say("CONNECT")
				for i := range 5 {
					_, _ = s.Send(&subprotocol.Message{Kind: subprotocol.KindDeliver, Body: []byte(strconv.Itoa(i))})
				}
				c.mu.Lock()
				c.room = -1
				c.mu.Unlock()
				(*receiver)(s).Writable()
				require.Equal(t, tt.want, say())
				require.Zero(t, c.closes())
			})
		})
	}
	t.Run("given back", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, c := talk(t, nothing, WithOverflow(DropOldest()), WithQueue(Limits{1, 10000}))
			c.room = 0
			say("CONNECT")
			once := true
			c.onWrite = func([]transport.Message) {
				if once { // comes while the workers have Connected in hand
					once = false
					_, err := s.Send(deliver("x"))
					require.NoError(t, err)
				}
			}
			(*receiver)(s).Writable()
			require.Empty(t, say())
			c.mu.Lock()
			c.room = -1
			c.mu.Unlock()
			(*receiver)(s).Writable()
			require.Equal(t, []string{"CONNECTED", "DELIVER|x"}, say())
		})
	})
}

func TestNewestOutlivesAWrite(t *testing.T) {
	key := func(m *subprotocol.Message) string { return string(m.Body[:1]) }
	for _, tt := range []struct {
		name   string
		policy OverflowPolicy
		limit  int
		taken  bool
		want   []string
		drops  Drops
	}{
		{"oldest, refused", DropOldest(), 2, false, []string{"a2", "a3"}, Drops{Oldest: 1}},
		{"oldest, taken", DropOldest(), 2, true, []string{"a1", "a2", "a3"}, Drops{}},
		{"oldest of one, refused", DropOldest(), 1, false, []string{"a3"}, Drops{Oldest: 2}},
		{"oldest of one, taken", DropOldest(), 1, true, []string{"a1", "a3"}, Drops{Oldest: 1}},
		{"conflate, refused", Conflate(key), 1, false, []string{"a1", "a3"}, Drops{Conflated: 1}},
		{"conflate, taken", Conflate(key), 1, true, []string{"a1", "a3"}, Drops{Conflated: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) { testNewest(t, tt.policy, tt.limit, tt.taken, tt.want, tt.drops) })
	}
}

func testNewest(t *testing.T, policy OverflowPolicy, limit int, taken bool, want []string, drops Drops) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithQueue(Limits{limit, 1000}), WithOverflow(policy))
		entered, leave := make(chan struct{}), make(chan struct{})
		c := &fakeConn{room: 0}
		c.onWrite = func([]transport.Message) {
			entered <- struct{}{}
			<-leave
		}
		s, r := open(t, e, c)
		send(t, s, "a1")
		<-entered
		send(t, s, "a2", "a3")
		c.onWrite = nil
		if taken {
			c.setRoom(-1)
		}
		leave <- struct{}{}
		synctest.Wait()
		if !taken {
			c.setRoom(-1)
			r.Writable()
		}
		synctest.Wait()
		require.Equal(t, want, c.messages())
		require.Equal(t, drops, e.Stats().Dropped)
		requireIdle(t, e, s)
		r.Closed(nil)
	})
}

// TestOldestKeepsTheQueueIfThatHelpsNobody: where others fill the bound over all
// sessions, dropping a short queue makes no room.
func TestOldestKeepsTheQueueIfThatHelpsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(20000), WithOverflow(DropOldest()))
		a, b := &fakeConn{}, &fakeConn{}
		sa, ra := open(t, e, a)
		sb, rb := open(t, e, b)
		send(t, sb, "1", "2", "3")
		synctest.Wait()
		status, _ := send(t, sa, strings.Repeat("x", 16<<10))
		require.Equal(t, Queued, status)
		for _, big := range []*Publication{nil, NewPublication(deliver(strings.Repeat("x", 8<<10)))} {
			var err error
			if big == nil {
				status, err = send(t, sb, strings.Repeat("x", 8<<10))
			} else {
				status, err = sb.Publish(big, "", "")
			}
			require.Equal(t, Dropped, status)
			require.ErrorIs(t, err, ErrQueueFull)
		}
		require.Equal(t, Drops{Newest: 2}, e.Stats().Dropped)

		// What is short finds room at the cost of no more than is needed.
		for e.Stats().Dropped.Oldest == 0 {
			status, _ = send(t, sb, "more")
			require.Equal(t, Queued, status)
			require.LessOrEqual(t, e.Stats().QueuedBytes, int64(20000))
		}
		require.EqualValues(t, 1, e.Stats().Dropped.Oldest)
		b.setRoom(-1)
		rb.Writable()
		synctest.Wait()
		require.Equal(t, []string{"2", "3", "more"}, b.messages()[:3])
		ra.Closed(nil)
		rb.Closed(nil)
		synctest.Wait()
		requireIdle(t, e, sa, sb)
	})
}

// TestOldestCountsWhatIsShared: the last one to hold a publication frees it, and
// no other.
func TestOldestCountsWhatIsShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(20000), WithOverflow(DropOldest()))
		sa, ra := open(t, e, &fakeConn{})
		sb, rb := open(t, e, &fakeConn{})
		big := func() *Publication { return NewPublication(deliver(strings.Repeat("x", 15<<10))) }
		p := big()
		for _, s := range []*Session{sa, sb} {
			status, _ := s.Publish(p, "", "")
			require.Equal(t, Queued, status)
		}
		status, _ := sb.Publish(big(), "", "")
		require.Equal(t, Dropped, status, "the other session still holds the first one")
		ra.Closed(nil)
		status, _ = sb.Publish(big(), "", "")
		require.Equal(t, Queued, status)
		require.Equal(t, Drops{Newest: 1, Oldest: 1, Closed: 1}, e.Stats().Dropped)
		require.LessOrEqual(t, e.Stats().QueuedBytes, int64(20000))
		rb.Closed(nil)
		synctest.Wait()
		requireIdle(t, e, sa, sb)
	})
}

func TestLargeMessageIsTakenByAnEmptyQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithQueue(Limits{4, 10}), WithOverflow(DropNewest()))
		c := &fakeConn{room: 0}
		s, r := open(t, e, c)
		big := strings.Repeat("x", 100<<10)
		status, err := send(t, s, big)
		require.NoError(t, err)
		require.Equal(t, Queued, status)
		status, _ = send(t, s, "y")
		require.Equal(t, Dropped, status)
		c.setRoom(-1)
		synctest.Wait()
		r.Writable()
		synctest.Wait()
		require.Equal(t, []string{big}, c.messages())
		requireIdle(t, e, s)
		r.Closed(nil)
	})
}

func TestBoundOverAllSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(1000), WithOverflow(DropNewest()))
		a, b := &fakeConn{}, &fakeConn{}
		sa, ra := open(t, e, a)
		sb, rb := open(t, e, b)
		n := 0
		for status := Queued; status == Queued; n++ {
			status, _ = send(t, sa, "0123456789")
			require.LessOrEqual(t, e.Stats().QueuedBytes, int64(1000))
		}
		require.Greater(t, n, 3)
		status, err := send(t, sb, "0123456789")
		require.Equal(t, Dropped, status)
		require.ErrorIs(t, err, ErrQueueFull)
		// What waits is in memory either way.
		require.NoError(t, sb.SendContext(t.Context(), deliver("patient")))
		synctest.Wait()
		a.setRoom(-1)
		ra.Writable()
		synctest.Wait()
		status, _ = send(t, sb, "0123456789")
		require.Equal(t, Queued, status)
		ra.Closed(nil)
		rb.Closed(nil)
		synctest.Wait()
		requireIdle(t, e, sa, sb)
	})
}

func TestPublicationOverTheBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(1000), WithOverflow(DropNewest()))
		s, r := open(t, e, &fakeConn{})
		status, err := s.Publish(NewPublication(deliver(strings.Repeat("x", 990))), "", "")
		require.Equal(t, Dropped, status)
		require.ErrorIs(t, err, ErrQueueFull)
		r.Closed(nil)
	})
}

func TestBoundOverAllSessionsClosesWithTryAgainLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(10))
		c := &fakeConn{}
		s, r := open(t, e, c)
		status, _ := send(t, s, "x")
		require.Equal(t, Dropped, status)
		require.Equal(t, transport.StatusTryAgainLater, c.code)
		r.Closed(nil)
	})
}

// TestBoundOverAllSessionsSparesWhoReads: the session that has queued most makes
// room for the others.
func TestBoundOverAllSessionsSparesWhoReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithMaxQueuedBytes(1000))
		stalled, reads := &fakeConn{}, &fakeConn{room: -1}
		s1, r1 := open(t, e, stalled)
		s2, r2 := open(t, e, reads)
		for e.Stats().QueuedBytes+int64(held(1)) <= 1000 {
			status, _ := send(t, s1, "x")
			require.Equal(t, Queued, status)
			synctest.Wait()
		}
		status, err := send(t, s2, "y")
		require.NoError(t, err)
		require.Equal(t, Queued, status)
		synctest.Wait()
		require.Equal(t, []string{"y"}, reads.messages())
		require.Equal(t, transport.StatusTryAgainLater, stalled.code)
		require.Zero(t, reads.code)
		require.NoError(t, context.Cause(s2.Context()))
		r1.Closed(nil)
		r2.Closed(nil)
	})
}

// TestMemoryOfAQueue: what a queue keeps in memory stays within its bound, whatever
// the size of the messages, and holds a fair share of their bytes.
func TestMemoryOfAQueue(t *testing.T) {
	const limit = 256 << 10
	for k := 4; k <= 15; k++ {
		t.Run(fmt.Sprint(1<<k+1), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newFake(t, nothing, WithQueue(Limits{1 << 20, limit}), WithOverflow(DropNewest()))
				s, r := open(t, e, &fakeConn{})
				m := deliver(strings.Repeat("x", 1<<k+1))
				n := 0
				for status := Queued; status == Queued; n++ {
					status, _ = s.Send(m)
				}
				n--
				synctest.Wait()
				require.Len(t, s.ring.e[:s.ring.n], n)
				buffers := 0
				for i := range n {
					buffers += cap(s.ring.at(i).buf.b)
				}
				all := buffers + n*int(unsafe.Sizeof(buffer{})) + len(s.ring.e)*int(unsafe.Sizeof(entry{}))
				t.Logf("%d messages with %d bytes: %d counted, %d in buffers, %d in all",
					n, n*(1<<k+1), e.Stats().QueuedBytes, buffers, all)
				require.LessOrEqual(t, e.Stats().QueuedBytes, int64(limit))
				require.LessOrEqual(t, buffers, limit)
				require.LessOrEqual(t, all, limit)
				if k >= 9 {
					require.Greater(t, n*(1<<k+1), limit/2)
				}
				r.Closed(nil)
				synctest.Wait()
				requireIdle(t, e, s)
			})
		})
	}
}

func TestBufferClasses(t *testing.T) {
	t.Parallel()
	var p pools
	for n := range 70000 {
		class := bufferClass(n)
		if class >= bufferClasses {
			require.Greater(t, n, 64<<10)
			require.GreaterOrEqual(t, cap(p.buffer(make([]byte, n)).b), n)
			break
		}
		require.GreaterOrEqual(t, bufferSize(class), n)
		if class > 0 {
			require.Less(t, bufferSize(class-1), n)
			require.LessOrEqual(t, bufferSize(class), n+n/2)
		}
		require.Equal(t, held(n), bufferSize(class)+entryCost)
	}
}
