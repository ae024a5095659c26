package heartbeat

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
)

func offer(send, receive time.Duration) subprotocol.Heartbeat {
	return subprotocol.Heartbeat{Send: send, Receive: receive}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, tt := range []struct {
		own, peer             subprotocol.Heartbeat
		send, receive, period time.Duration
	}{
		{offer(0, 0), offer(10*s, 10*s), 0, 0, 0},
		{offer(10*s, 10*s), offer(0, 0), 0, 0, 0},
		{offer(10*s, 0), offer(0, 20*s), 18 * s, 0, 9 * s},
		{offer(20*s, 0), offer(0, 10*s), 18 * s, 0, 9 * s},
		{offer(0, 10*s), offer(5*s, 0), 0, 10 * s, 10 * s},
		{offer(10*s, 10*s), offer(10*s, 10*s), 9 * s, 10 * s, 9 * s / 2},
		{offer(100*s, s), offer(s, s), 90 * s, s, s},
	} {
		h := Begin(tt.own, tt.peer, 2, time.Time{})
		require.Equal(t, tt.send, h.send)
		require.Equal(t, tt.receive, h.receive)
		require.Equal(t, tt.period, h.Period)
	}
}

// Whatever both sides want, a silent side says something in time and a silent peer is
// lost in time, and no earlier.
func TestTick(t *testing.T) {
	t.Parallel()
	times := []time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond, time.Second, 7 * time.Second}
	for _, a := range times {
		for _, b := range times {
			for _, c := range times {
				for _, d := range times {
					now := time.Unix(1000, 0)
					h := Begin(offer(a, b), offer(c, d), 3, now)
					if h.Period == 0 {
						continue
					}
					begin, last := now, now
					for range 200 {
						now = now.Add(h.Period)
						beat, lost := h.Tick(now, last.Equal(now.Add(-h.Period)) && !last.Equal(begin), false)
						if lost {
							require.GreaterOrEqual(t, now.Sub(begin), 3*h.receive)
							require.Less(t, now.Sub(begin), 3*h.receive+h.Period)
							require.NotZero(t, h.receive)
							break
						}
						if beat {
							last = now
						}
						if h.send > 0 {
							require.LessOrEqual(t, now.Sub(last)+h.Period, max(a, d), "the next tick comes too late")
						}
					}
				}
			}
		}
	}
}
