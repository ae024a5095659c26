package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func nothing(context.Context, Request) error { return nil }

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

// send sends texts and returns what became of the last one.
func send(t testing.TB, s *Session, texts ...string) (Status, error) {
	t.Helper()
	var status Status
	var err error
	for _, text := range texts {
		status, err = s.Send(deliver(text))
	}
	return status, err
}

// requireIdle checks that nothing is held any more.
func requireIdle(t testing.TB, e *Endpoint, ss ...*Session) {
	t.Helper()
	require.Zero(t, e.queuedBytes.Load(), "bytes queued")
	require.Zero(t, e.flusher.workers, "workers")
	for _, s := range ss {
		require.Nil(t, s.ring)
		require.Zero(t, s.queued)
		require.Zero(t, s.bytes)
		require.Nil(t, s.win)
	}
}

func TestReplyAtOnceOrBehindTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		c := &fakeConn{room: -1}
		s, r := open(t, e, c)
		req := Request{Session: s}

		status, err := req.Reply(deliver("1"))
		require.NoError(t, err)
		require.Equal(t, Sent, status)
		require.Equal(t, []string{"1"}, c.messages(), "not written on this goroutine")

		c.setRoom(0)
		status, err = req.Reply(deliver("2"))
		require.NoError(t, err)
		require.Equal(t, Queued, status)
		send(t, s, "3")
		synctest.Wait()
		require.Equal(t, 2, c.writes, "written without Writable")
		c.setRoom(-1)
		status, _ = req.Reply(deliver("4"))
		require.Equal(t, Queued, status)
		r.Writable()
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3", "4"}, c.messages())
		require.Equal(t, 3, c.writes, "the queue was not written together")
		status, _ = req.Reply(deliver("5"))
		require.Equal(t, Sent, status)
		requireIdle(t, e, s)
		r.Closed(nil)
	})
}

func TestReplyWhileAWorkerWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		entered, leave := make(chan struct{}), make(chan struct{})
		c := &fakeConn{room: -1}
		c.onWrite = func([]transport.Message) {
			entered <- struct{}{}
			<-leave
		}
		s, r := open(t, e, c)
		send(t, s, "1")
		<-entered
		status, err := Request{Session: s}.Reply(deliver("2"))
		require.NoError(t, err)
		require.Equal(t, Queued, status)
		leave <- struct{}{}
		<-entered
		leave <- struct{}{}
		synctest.Wait()
		require.Equal(t, []string{"1", "2"}, c.messages())
		r.Closed(nil)
	})
}

func TestReplyWhileAnotherWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		leave := make(chan struct{})
		c := &fakeConn{room: -1}
		c.onWrite = func(b []transport.Message) {
			if string(b[0].Data) == "1" {
				<-leave
			}
		}
		s, r := open(t, e, c)
		go Request{Session: s}.Reply(deliver("1"))
		synctest.Wait()
		status, err := Request{Session: s}.Reply(deliver("2"))
		require.NoError(t, err)
		require.Equal(t, Queued, status)
		send(t, s, "3")
		synctest.Wait()
		require.Empty(t, c.messages())
		close(leave)
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3"}, c.messages())
		r.Closed(nil)
	})
}

func TestOneWriterAtATimeAndOrderUnderManySenders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const senders, each = 8, 500
		e := newFake(t, nothing, WithQueue(Limits{senders * each, 1 << 20}))
		var inside sync.Mutex
		c := &fakeConn{room: -1}
		c.onWrite = func([]transport.Message) {
			if !inside.TryLock() {
				t.Error("two goroutines write at once")
				return
			}
			inside.Unlock()
		}
		s, r := open(t, e, c)
		var wg sync.WaitGroup
		for g := range senders {
			wg.Go(func() {
				for i := range each {
					var err error
					if m := deliver(fmt.Sprintf("%d %d", g, i)); i%3 == 0 {
						_, err = Request{Session: s}.Reply(m)
					} else {
						_, err = s.Send(m)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		require.Len(t, c.messages(), senders*each)
		var next [senders]int
		for _, m := range c.messages() {
			var g, i int
			_, err := fmt.Sscan(m, &g, &i)
			require.NoError(t, err)
			require.Equal(t, next[g], i, "sender %d", g)
			next[g]++
		}
		r.Closed(nil)
	})
}

func TestWritableBeforeWriteReturns(t *testing.T) {
	for _, by := range []string{"reply", "send"} {
		t.Run(by, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newFake(t, nothing)
				c := &fakeConn{room: 0}
				var r transport.Receiver
				c.onWrite = func([]transport.Message) {
					if c.writes == 0 {
						r.Writable() // for this Write, which takes nothing
					} else {
						c.setRoom(-1)
					}
				}
				var s *Session
				s, r = open(t, e, c)
				if by == "reply" {
					status, _ := Request{Session: s}.Reply(deliver("1"))
					require.Equal(t, Queued, status)
				} else {
					send(t, s, "1", "2")
				}
				synctest.Wait()
				require.Equal(t, "1", c.messages()[0])
				requireIdle(t, e, s)
				r.Closed(nil)
			})
		})
	}
}

func TestBatchesAndFairness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithFlushWorkers(1))
		var order []int
		conn := func(i int) *fakeConn {
			c := &fakeConn{room: 0}
			c.onWrite = func(b []transport.Message) {
				require.LessOrEqual(t, len(b), maxBatch)
				order = append(order, i)
			}
			return c
		}
		a, b := conn(1), conn(2)
		sa, ra := open(t, e, a)
		sb, rb := open(t, e, b)
		send(t, sa, "x")
		send(t, sb, "x")
		synctest.Wait()
		for range 999 {
			send(t, sa, "x")
			send(t, sb, "x")
		}
		order = nil
		a.setRoom(-1)
		b.setRoom(-1)
		// The one worker is busy until both are in the run queue.
		leave := make(chan struct{})
		sz, rz := open(t, e, &fakeConn{room: -1, onWrite: func([]transport.Message) { <-leave }})
		send(t, sz, "x")
		synctest.Wait()
		ra.Writable()
		rb.Writable()
		close(leave)
		synctest.Wait()
		require.Len(t, a.messages(), 1000)
		require.Len(t, b.messages(), 1000)
		require.Len(t, order, 32)
		run, longest := 0, 0
		for i := range order {
			if i > 0 && order[i] != order[i-1] {
				run = 0
			}
			run++
			longest = max(longest, run)
		}
		require.LessOrEqual(t, longest, maxRounds, "one session kept the worker: %v", order)
		requireIdle(t, e, sa, sb, sz)
		ra.Closed(nil)
		rb.Closed(nil)
		rz.Closed(nil)
	})
}

func TestSendContext(t *testing.T) {
	full := func(t *testing.T) (*Endpoint, *fakeConn, *Session, transport.Receiver) {
		e := newFake(t, nothing, WithQueue(Limits{2, 1000}))
		c := &fakeConn{room: 0}
		s, r := open(t, e, c)
		send(t, s, "1", "2")
		synctest.Wait()
		return e, c, s, r
	}
	start := func(s *Session, ctx context.Context, texts ...string) chan error {
		done := make(chan error, len(texts))
		for _, text := range texts {
			go func() { done <- s.SendContext(ctx, deliver(text)) }()
			synctest.Wait() // so that they wait in this order
		}
		return done
	}
	t.Run("in order", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e, c, s, r := full(t)
			done := start(s, t.Context(), "3", "4", "5", "6", "7")
			require.Empty(t, done)
			c.setRoom(1)
			r.Writable()
			synctest.Wait()
			require.Len(t, done, 1)
			c.setRoom(-1)
			r.Writable()
			synctest.Wait()
			require.Len(t, done, 5)
			require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "7"}, c.messages())
			requireIdle(t, e, s)
			require.Nil(t, s.extra.waiters)
			r.Closed(nil)
		})
	})
	t.Run("cancel", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e, c, s, r := full(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, s.SendContext(ctx, deliver("3")), context.DeadlineExceeded)
			require.ErrorIs(t, s.SendContext(ctx, deliver("3")), context.DeadlineExceeded)
			c.setRoom(-1)
			r.Writable()
			synctest.Wait()
			require.Equal(t, []string{"1", "2"}, c.messages())
			requireIdle(t, e, s)
			r.Closed(nil)
		})
	})
	for name, end := range map[string]func(*Session, transport.Receiver){
		"close":  func(s *Session, _ transport.Receiver) { _ = s.Close(1000, "") },
		"closed": func(_ *Session, r transport.Receiver) { r.Closed(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, _, s, r := full(t)
				done := start(s, t.Context(), "3", "4")
				end(s, r)
				require.ErrorIs(t, <-done, net.ErrClosed)
				require.ErrorIs(t, <-done, net.ErrClosed)
				require.ErrorIs(t, s.SendContext(t.Context(), deliver("5")), net.ErrClosed)
				r.Closed(nil)
			})
		})
	}
}

func TestStalledPeersDelayNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithFlushWorkers(2))
		var rs []transport.Receiver
		for range 8 {
			s, r := open(t, e, &fakeConn{room: 0})
			rs = append(rs, r)
			send(t, s, "x")
		}
		c := &fakeConn{room: -1}
		s, r := open(t, e, c)
		send(t, s, "y")
		synctest.Wait()
		require.Equal(t, []string{"y"}, c.messages())
		for _, r := range append(rs, r) {
			r.Closed(nil)
		}
		synctest.Wait()
		requireIdle(t, e, s)
	})
}

func TestUnsendableMessageIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		c := &fakeConn{room: -1, err: errors.New("no binary here")}
		s, r := open(t, e, c)
		status, err := Request{Session: s}.Reply(deliver("0"))
		require.Equal(t, Dropped, status)
		require.ErrorIs(t, err, c.err)
		c.onWrite = func([]transport.Message) {
			if c.writes == 3 {
				c.err = nil
			}
		}
		send(t, s, "1", "2", "3")
		synctest.Wait()
		require.Equal(t, []string{"3"}, c.messages())
		require.EqualValues(t, 3, e.Stats().Dropped.Unsendable)
		status, err = s.Send(&subprotocol.Message{Kind: subprotocol.KindReceipt})
		require.Equal(t, Dropped, status, "raw has no receipts")
		require.Error(t, err)
		require.EqualValues(t, 4, e.Stats().Dropped.Unsendable)
		requireIdle(t, e, s)
		r.Closed(nil)
	})
}

func TestWriteError(t *testing.T) {
	for _, by := range []string{"reply", "send"} {
		t.Run(by, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newFake(t, nothing)
				c := &fakeConn{room: -1, err: &transport.EndError{Code: 1006, Err: io.ErrUnexpectedEOF}}
				s, r := open(t, e, c)
				if by == "reply" {
					status, err := Request{Session: s}.Reply(deliver("1"))
					require.Equal(t, Closed, status)
					require.ErrorIs(t, err, net.ErrClosed)
				} else {
					send(t, s, "1", "2")
					synctest.Wait()
					require.EqualValues(t, 2, e.Stats().Dropped.Closed)
				}
				status, _ := send(t, s, "late")
				require.Equal(t, Closed, status)
				requireIdle(t, e, s)
				r.Closed(c.err)
				require.ErrorIs(t, context.Cause(s.Context()), io.ErrUnexpectedEOF)
			})
		})
	}
}

func TestCloseDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing)
		c := &fakeConn{room: 0}
		s, r := open(t, e, c)
		send(t, s, "1", "2")
		synctest.Wait()
		require.Error(t, s.Close(1005, ""))
		require.Error(t, s.Close(1000, strings.Repeat("x", 124)))
		require.NoError(t, s.Close(4000, "enough"))
		require.ErrorIs(t, s.Close(4001, "again"), net.ErrClosed)
		status, _ := send(t, s, "3")
		require.Equal(t, Closed, status)
		require.Zero(t, c.closes())
		c.setRoom(-1)
		r.Writable()
		synctest.Wait()
		require.Equal(t, []string{"1", "2"}, c.messages())
		require.Equal(t, transport.StatusCode(4000), c.code)
		require.Equal(t, "enough", c.reason)
		r.Closed(nil)
		requireIdle(t, e, s)
	})
}

func TestCloseTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithCloseTimeout(3*time.Second))
		c := &fakeConn{room: 0}
		s, r := open(t, e, c)
		send(t, s, "1", "2")
		require.NoError(t, s.Close(4000, "enough"))
		time.Sleep(3*time.Second - time.Nanosecond)
		require.Zero(t, c.closes())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, 1, c.closes())
		require.EqualValues(t, 2, e.Stats().Dropped.Closed)
		requireIdle(t, e, s)
		r.Closed(nil)
	})
}

// TestOutboxModel sends at random, with a connection that takes at random, and
// compares with what a queue of a few lines would do.
func TestOutboxModel(t *testing.T) {
	for i, policy := range []OverflowPolicy{DropNewest(), DropOldest()} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				rnd := rand.New(rand.NewPCG(seed, 0))
				e := newFake(t, nothing, WithQueue(Limits{20, 4000}), WithOverflow(policy))
				c := &fakeConn{room: 0}
				s, r := open(t, e, c)
				var queue, want []string
				waiting, room := false, 0
				size := func() (n int) {
					for _, m := range queue {
						n += held(len(m))
					}
					return n
				}
				settle := func() { // as the worker would
					for !waiting && len(queue) > 0 {
						if room == 0 {
							waiting = true
							break
						}
						want = append(want, queue[0])
						queue = queue[1:]
						room--
					}
				}
				for step := range 5000 {
					if rnd.IntN(4) == 0 {
						room = rnd.IntN(12)
						c.setRoom(room)
						if waiting {
							waiting = false
							r.Writable()
							synctest.Wait()
							settle()
						}
					} else {
						m := fmt.Sprintf("%d %s", step, strings.Repeat("x", rnd.IntN(300)))
						send(t, s, m)
						synctest.Wait()
						fits := func() bool { return len(queue) == 0 || len(queue) < 20 && size()+held(len(m)) <= 4000 }
						if policy.mode == overflowOldest {
							for !fits() {
								queue = queue[1:]
							}
						}
						if fits() {
							queue = append(queue, m)
						}
						settle()
					}
					require.Equal(t, Limits{len(queue), size()}, s.Queued(), "step %d", step)
				}
				require.True(t, slices.Equal(want, c.messages()))
				r.Closed(nil)
				requireIdle(t, e, s)
			})
		})
	}
}

// kindProtocol shows what its framers are given.
type kindProtocol struct{ *testProtocol }

func (p kindProtocol) NewFramer(string, subprotocol.FramerConfig) subprotocol.Framer {
	return kindFramer{&testFramer{p: p.testProtocol}}
}

type kindFramer struct{ *testFramer }

func (f kindFramer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	return fmt.Appendf(dst, "%v receipt=%s subscription=%s", m.Kind, m.Receipt, m.Subscription), transport.MessageText, nil
}

// TestReplyNamesItsRequest: what is empty in the answer comes from the request.
func TestReplyNamesItsRequest(t *testing.T) {
	t.Parallel()
	request := subprotocol.Message{Kind: subprotocol.KindSubscribe, Receipt: "r", Subscription: "s"}
	for _, tt := range []struct {
		answer subprotocol.Message
		want   string
	}{
		{subprotocol.Message{}, "REPLY receipt=r subscription=s"},
		{subprotocol.Message{Receipt: "x"}, "REPLY receipt=x subscription=s"},
		{subprotocol.Message{Kind: subprotocol.KindReply, Subscription: "y"}, "REPLY receipt=r subscription=y"},
		{subprotocol.Message{Kind: subprotocol.KindError}, "ERROR receipt=r subscription=s"},
		{subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Receipt: "x", Subscription: "y"}},
			"ERROR receipt=x subscription=y"},
		{subprotocol.Message{Kind: subprotocol.KindDeliver}, "DELIVER receipt= subscription="},
	} {
		e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing), WithSubProtocols(kindProtocol{&testProtocol{}}))
		c := &fakeConn{room: -1}
		s, r := open(t, e, c)
		given := tt.answer
		_, err := Request{Session: s, Message: &request}.Reply(&given)
		require.NoError(t, err)
		require.Equal(t, []string{tt.want}, c.messages())
		require.Equal(t, tt.answer, given, "the caller's message was changed")
		r.Closed(nil)
	}
}

// TestSendIsADeliver: a message without a Kind that nobody asked for is a Deliver.
func TestSendIsADeliver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing), WithSubProtocols(kindProtocol{&testProtocol{}}))
		c := &fakeConn{room: -1}
		s, r := open(t, e, c)
		var m subprotocol.Message
		_, err := s.Send(&m)
		require.NoError(t, err)
		require.NoError(t, s.SendContext(t.Context(), &m))
		synctest.Wait()
		const want = "DELIVER receipt= subscription="
		require.Equal(t, []string{want, want}, c.messages())
		require.Zero(t, m)
		r.Closed(nil)
	})
}
