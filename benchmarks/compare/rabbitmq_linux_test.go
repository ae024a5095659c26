package main

import (
	"bytes"
	"context"
	"strconv"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A broker is a process of its own, of which nothing is left.
func TestBroker(t *testing.T) {
	t.Parallel()
	for _, r := range rows() {
		if r.Kind != "broker" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			pid, err := strconv.Atoi(p.serving)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, 0))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := dial(t, r, p.addr, false)
			p.say(t, "publish 1")
			_, got, err := c.receive(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, 1, bytes.Count(got, message))
			require.Equal(t, 1, bytes.Count(got, []byte(r.Marker)))
			require.InDelta(t, len(message)+r.Envelope, len(got), 8)
			require.Equal(t, "published", p.line(t))

			require.NoError(t, c.send(ctx, websocket.MessageText, []byte{'a', 0xff}))
			_, _, err = c.receive(ctx, 0)
			require.Equal(t, websocket.StatusInvalidFramePayloadData, websocket.CloseStatus(err), "%v", err)

			p.say(t, "stats")
			require.Equal(t, "{}", p.line(t))
			p.in.Close()
			require.NoError(t, p.wait(t), &p.stderr)
			require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
}
