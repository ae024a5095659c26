package handler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// TestOrderUnderRandomSlowness: handlers that are slow at random, windows that fill,
// clients that read slowly and some that leave in between. Every session's messages
// are handled and answered in order, and nothing is left at the end.
func TestOrderUnderRandomSlowness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const clients, each = 20, 200
		type key struct{}
		s := newStack(t, func(ctx context.Context, r handler.Request) error {
			switch r.Message.Kind {
			case subprotocol.KindConnect:
				r.Session.SetValue(key{}, new(int))
				return nil
			case subprotocol.KindDisconnect:
				r.Session.SetValue(key{}, nil)
				return nil
			}
			next := r.Session.Value(key{}).(*int)
			if want := fmt.Sprint(*next); string(r.Message.Body) != want {
				t.Errorf("handled %s instead of %s", r.Message.Body, want)
			}
			*next++
			switch rand.IntN(10) {
			case 0:
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			case 1:
				time.Sleep(time.Millisecond)
			}
			if *next%3 == 0 {
				return r.Session.SendContext(ctx, &subprotocol.Message{Kind: subprotocol.KindDeliver, Body: r.Message.Body})
			}
			_, err := r.Reply(r.Message)
			return err
		}, handler.WithWindow(handler.Limits{Messages: 4, Bytes: 1000}))

		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				c := s.dial()
				if i%2 == 0 {
					c.conn.SetDelay(time.Millisecond)
				}
				n := each
				if i%5 == 0 {
					n = rand.IntN(each)
				}
				for k := range n {
					data := []byte(fmt.Sprint(k))
					for taken := 0; taken == 0; {
						var err error
						if taken, err = c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: data}}); err != nil {
							t.Error(err)
							return
						}
						if taken == 0 {
							time.Sleep(time.Millisecond)
						}
					}
				}
				if n < each {
					c.conn.Cut()
					<-c.gone
					return
				}
				for k, got := range c.wait(n) {
					if got != fmt.Sprint(k) {
						t.Errorf("answer %d is %s", k, got)
					}
				}
				c.leave()
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		st := s.ep.Stats()
		require.Positive(t, st.Yields)
		require.Positive(t, st.Pauses)
		require.Zero(t, st.Live)
		require.Zero(t, st.QueuedBytes)
		require.Zero(t, st.Panics)
	})
}

// TestCloseFromAllSides closes sessions from many goroutines while they send, handle
// and end; each ends once.
func TestCloseFromAllSides(t *testing.T) {
	t.Parallel()
	s := newStack(t, func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindSend {
			_, _ = r.Reply(r.Message)
			_, _ = r.Session.Send(r.Message)
		}
		return nil
	}, handler.WithQueue(handler.Limits{Messages: 8, Bytes: 1000}), handler.WithShutdownSpread(0))
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			c := s.dial()
			var inner sync.WaitGroup
			inner.Go(func() {
				for range 20 {
					_, _ = c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("x")}})
				}
			})
			inner.Go(func() {
				for sess := range s.ep.Sessions().All() {
					_, _ = sess.Send(text("y"))
					if rand.IntN(4) == 0 {
						_ = sess.Close(transport.StatusNormalClosure, "")
						return
					}
				}
			})
			inner.Go(func() {
				if rand.IntN(2) == 0 {
					c.conn.Cut()
				}
			})
			inner.Wait()
			_ = c.conn.Close(transport.StatusNormalClosure, "")
			<-c.gone
		})
	}
	wg.Wait()
	require.NoError(t, s.ep.Shutdown(t.Context()))
	st := s.ep.Stats()
	require.EqualValues(t, 200, st.Accepted)
	require.EqualValues(t, 200, st.Ended)
	require.Zero(t, st.Live)
	require.Zero(t, st.QueuedBytes)
	require.Zero(t, st.Panics)
}
