package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a room and the pipe that leads to it.
type house struct {
	t    *testing.T
	room *room
	pipe *pipe.Transport
}

// inRoom runs f with a room of its own, under a clock that stands still until
// everybody waits.
func inRoom(t *testing.T, f func(h *house)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, room: newRoom(), pipe: pipe.New(nil)}
		ep := handler.NewEndpoint(h.pipe, h.room, handler.WithSubProtocols(raw.New(nil)))
		f(h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, ep.Shutdown(ctx))
		require.Empty(t, h.room.people)
	})
}

// page is what the server takes for a browser.
type page struct {
	t    *testing.T
	conn transport.Conn
	got  chan map[string]any
	over chan error
}

func (p *page) Receive(m transport.Message) {
	var v map[string]any
	if err := json.Unmarshal(m.Data, &v); err != nil {
		p.t.Errorf("the server sent %q: %v", m.Data, err)
	}
	p.got <- v
}
func (p *page) Writable()        {}
func (p *page) Closed(err error) { p.over <- err }

func (h *house) open() *page {
	p := &page{t: h.t, got: make(chan map[string]any, 4096), over: make(chan error, 1)}
	conn, err := h.pipe.Dial(h.t.Context(), "pipe://chat/ws", nil, func(transport.Conn) transport.Receiver { return p })
	require.NoError(h.t, err)
	p.conn = conn
	return p
}

// join opens a page under a name and lets everybody hear of it.
func (h *house) join(name string) *page {
	p := h.open()
	p.send(incoming{Type: "join", Name: name})
	require.Equal(h.t, "welcome", p.next()["type"])
	synctest.Wait()
	return p
}

func (p *page) send(v any) {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		require.NoError(p.t, err)
		text = string(b)
	}
	n, err := p.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}})
	require.NoError(p.t, err)
	require.Equal(p.t, 1, n)
}

func (p *page) say(text string) { p.send(incoming{Type: "say", Text: text}) }

func (p *page) next() map[string]any { return <-p.got }

// nothing wants that nothing more comes: everybody waits.
func (p *page) nothing() {
	synctest.Wait()
	require.Empty(p.t, p.got)
}

func (p *page) skip() {
	synctest.Wait()
	for len(p.got) > 0 {
		<-p.got
	}
}

func TestTwoTalk(t *testing.T) {
	inRoom(t, func(h *house) {
		ann := h.open()
		ann.send(incoming{Type: "join", Name: "Ann"})
		require.Equal(t, map[string]any{
			"type": "welcome", "name": "Ann", "people": []any{"Ann"}, "history": []any{},
		}, ann.next())

		bob := h.join("Bob")
		require.Equal(t, map[string]any{"type": "joined", "name": "Bob"}, ann.next())

		now := float64(time.Now().UnixMilli())
		ann.say("  <b>hello</b>  ")
		want := map[string]any{"type": "said", "name": "Ann", "text": "<b>hello</b>", "at": now}
		require.Equal(t, want, ann.next())
		require.Equal(t, want, bob.next())

		require.NoError(t, bob.conn.Close(transport.StatusNormalClosure, ""))
		require.Equal(t, map[string]any{"type": "left", "name": "Bob"}, ann.next())
		ann.nothing()
	})
}

func TestLostConnectionLeaves(t *testing.T) {
	inRoom(t, func(h *house) {
		ann, bob := h.join("Ann"), h.join("Bob")
		ann.skip()
		bob.conn.(*pipe.Conn).Cut()
		require.Equal(t, map[string]any{"type": "left", "name": "Bob"}, ann.next())
	})
}

func TestNames(t *testing.T) {
	inRoom(t, func(h *house) {
		for _, c := range []struct{ asked, got string }{
			{"Ann", "Ann"},
			{"ann", "ann (2)"},
			{" Ann \n", "Ann (3)"},
			{"Jo\u202e\u0000hn   Doe", "John Doe"},
			{strings.Repeat("ä", maxName), strings.Repeat("ä", maxName)},
		} {
			p := h.open()
			p.send(incoming{Type: "join", Name: c.asked})
			require.Equal(t, c.got, p.next()["name"])
		}
		p := h.open()
		for _, name := range []string{"", " \t", "\u200b", "\u3164\u2800\ufe0f\u034f", strings.Repeat("n", maxName+1)} {
			p.send(incoming{Type: "join", Name: name})
			m := p.next()
			require.Equal(t, "refused", m["type"], "%q", name)
			require.Contains(t, m["text"], "A name")
		}
		p.send(incoming{Type: "join", Name: "Zoe"}) // a refusal is not the end
		require.Equal(t, "Zoe", p.next()["name"])
	})
}

func TestRefused(t *testing.T) {
	inRoom(t, func(h *house) {
		quiet, p := h.join("Quiet"), h.open()
		for _, c := range []struct {
			what any
			why  string
		}{
			{incoming{Type: "say", Text: "too early"}, "join first"},
			{incoming{Type: "shout"}, "only join and say"},
			{"no json", "no JSON"},
			{"[1,2]", "no JSON"},
			{`{"type":"say","text":7}`, "no JSON"},
			{"", "no JSON"},
		} {
			p.send(c.what)
			m := p.next()
			require.Equal(t, "refused", m["type"])
			require.Contains(t, m["text"], c.why)
		}
		p.send(incoming{Type: "join", Name: "P"})
		p.next()
		p.send(incoming{Type: "join", Name: "Q"})
		require.Contains(t, p.next()["text"], "joined already")
		for _, text := range []string{"", "  ", strings.Repeat("x", maxText+1)} {
			p.say(text)
			require.Equal(t, "refused", p.next()["type"])
		}
		p.say(strings.Repeat("\U0001f9f5", maxText)) // characters are counted, not bytes
		require.Equal(t, "said", p.next()["type"])

		require.Equal(t, "joined", quiet.next()["type"])
		require.Equal(t, "said", quiet.next()["type"])
		quiet.nothing() // refusals are the sender's alone
	})
}

func TestHistoryIsBounded(t *testing.T) {
	inRoom(t, func(h *house) {
		ann := h.join("Ann")
		for i := range maxHistory + 10 {
			time.Sleep(refill) // by the bubble's clock
			ann.say(fmt.Sprint(i))
			ann.next()
		}
		late := h.open()
		late.send(incoming{Type: "join", Name: "Late"})
		history, ok := late.next()["history"].([]any)
		require.True(t, ok)
		require.Len(t, history, maxHistory)
		require.Equal(t, "10", history[0].(map[string]any)["text"])
		require.Equal(t, fmt.Sprint(maxHistory+9), history[maxHistory-1].(map[string]any)["text"])
	})
}

func TestRateIsBounded(t *testing.T) {
	inRoom(t, func(h *house) {
		ann, bob := h.join("Ann"), h.join("Bob")
		ann.skip()
		for i := range 3 * maxBurst {
			ann.say("flood")
			want := "said"
			if i >= maxBurst {
				want = "refused"
			}
			require.Equal(t, want, ann.next()["type"], i)
		}
		for range maxBurst {
			require.Equal(t, "said", bob.next()["type"])
		}
		bob.nothing()
		time.Sleep(refill)
		ann.say("once more")
		require.Equal(t, "once more", bob.next()["text"])
		ann.skip()
	})
}

func TestRoomIsBounded(t *testing.T) {
	inRoom(t, func(h *house) {
		for i := range maxPeople {
			h.join(fmt.Sprint("p", i))
		}
		p := h.open()
		p.send(incoming{Type: "join", Name: "One too many"})
		require.Contains(t, p.next()["text"], "full")
	})
}

// A page that does not read keeps nobody waiting, and is gone in the end.
func TestSlowPage(t *testing.T) {
	inRoom(t, func(h *house) {
		ann, slow := h.join("Ann"), h.join("Slow")
		ann.skip()
		slow.conn.(*pipe.Conn).Pause()
		text := strings.Repeat("\U0001f9f5", maxText)
		left := false
		for range 400 {
			time.Sleep(refill)
			ann.say(text)
			m := ann.next()
			for m["type"] == "left" {
				left = true
				m = ann.next()
			}
			require.Equal(t, "said", m["type"])
		}
		for !left {
			left = ann.next()["type"] == "left" // comes when the close was waited for
		}
		ann.skip()
		time.Sleep(refill)
		ann.say("still here")
		require.Equal(t, "still here", ann.next()["text"])
		slow.conn.(*pipe.Conn).Resume()
		require.Error(t, <-slow.over)
	})
}
