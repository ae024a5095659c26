package pipe_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// Whatever is called in whatever order from however many goroutines, each side gets
// one Closed and nothing after it, what it received is in order, and nothing hangs:
// in the bubble a hang is a deadlock that the runtime finds.
func TestCallsInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
	}
}

func chaos(t *testing.T, seed uint64) {
	var ends [2]*chaotic
	for i := range ends {
		ends[i] = &chaotic{rand: rand.New(rand.NewPCG(seed, uint64(i)))}
	}
	pipe.Pair(&pipe.Options{Buffer: 200, CloseTimeout: time.Second}, ends[0].open, ends[1].open)
	var wg sync.WaitGroup
	for i, e := range ends {
		wg.Go(func() { e.write(byte(0)) })
		for j := range 2 {
			wg.Go(func() { e.calls(t, rand.New(rand.NewPCG(seed, uint64(10+2*i+j)))) })
		}
	}
	wg.Wait()
	for _, e := range ends {
		e.conn.SetDelay(0)
		e.conn.SetFull(false)
		e.conn.Resume()
		_ = e.conn.Close(transport.StatusNormalClosure, "")
	}
	time.Sleep(10 * time.Second) // of the bubble's clock: past every timeout
	synctest.Wait()
	for i, e := range ends {
		e.mu.Lock()
		require.Equal(t, 1, e.closed, "seed %d, end %d", seed, i)
		require.Zero(t, e.late, "seed %d, end %d: calls after Closed", seed, i)
		require.Zero(t, e.disorder, "seed %d, end %d", seed, i)
		require.LessOrEqual(t, e.writables, e.shorts, "seed %d, end %d", seed, i)
		e.mu.Unlock()
	}
}

type chaotic struct {
	conn *pipe.Conn

	mu                                        sync.Mutex
	rand                                      *rand.Rand
	next                                      byte
	closed, late, disorder, shorts, writables int
}

func (c *chaotic) open(conn transport.Conn) transport.Receiver {
	c.conn = conn.(*pipe.Conn)
	return c
}

func (c *chaotic) write(first byte) {
	for n := first; n < 60; {
		k, err := c.conn.Write([]transport.Message{
			{Type: transport.MessageBinary, Head: []byte{n}, Data: make([]byte, n)},
			{Type: transport.MessageBinary, Head: []byte{n + 1}, Data: make([]byte, 60-n)},
		})
		if err != nil {
			return
		}
		n += byte(k)
		if k < 2 {
			c.mu.Lock()
			c.shorts++
			c.mu.Unlock()
			time.Sleep(time.Millisecond) // of the bubble's clock
			if c.isClosed() {
				return
			}
			if k == 0 && c.full() {
				c.conn.SetFull(false)
			}
		}
	}
}

func (c *chaotic) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed > 0
}

// full reports that the writer has waited for long enough.
func (c *chaotic) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shorts > 30
}

// calls makes some calls. Those that end the connection are rare.
func (c *chaotic) calls(t *testing.T, r *rand.Rand) {
	for range 40 {
		switch r.IntN(40) {
		case 0:
			_ = c.conn.Close(transport.StatusCode(4000+r.IntN(10)), "chaos")
		case 1:
			c.conn.Cut()
		case 2:
			c.conn.Vanish()
		case 3, 4, 5:
			c.conn.SetFull(r.IntN(2) == 0)
		case 6, 7, 8:
			c.conn.SetDelay(time.Duration(r.IntN(3)) * time.Millisecond)
		case 9, 10, 11, 12:
			c.conn.Pause()
		case 13, 14, 15, 16, 17, 18:
			c.conn.Resume()
		case 19, 20, 21, 22:
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(5))*time.Millisecond)
			_, _ = c.conn.Ping(ctx)
			cancel()
		default:
			time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
		}
	}
	// A writer that waits must come to its end.
	c.conn.Resume()
	if r.IntN(2) == 0 {
		_ = c.conn.Close(transport.StatusNormalClosure, "")
	}
}

func (c *chaotic) Receive(m transport.Message) {
	c.mu.Lock()
	if c.closed > 0 {
		c.late++
	}
	if m.Data[0] != c.next {
		c.disorder++
	}
	c.next++
	nap, yields := c.rand.IntN(4) == 0, c.rand.IntN(4) == 0
	c.mu.Unlock()
	if yields { // not from elsewhere: a Receive that has not noted its message yet could be overtaken
		c.conn.Yield()
	}
	if nap {
		time.Sleep(time.Millisecond)
	}
}

func (c *chaotic) Writable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writables++
	if c.closed > 0 {
		c.late++
	}
}

func (c *chaotic) Closed(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
}
