package sockjs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// TestPollsInARow: a client that polls again as soon as it has an answer is never told that
// another request is there, and gets each message once, in order.
func TestPollsInARow(t *testing.T) {
	t.Parallel()
	const messages = 500
	a := &app{peers: make(chan *peer, 1), receive: func(*peer, transport.Message) {}}
	hs := httptest.NewServer(endpoint(New(nil, nil), a))
	defer hs.Close()
	poll := func() string {
		resp, err := hs.Client().Post(hs.URL+"/0/a/xhr", "", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Equal(t, "o\n", poll())
	p := <-a.peers
	tokens := make(chan struct{}, messages+2) // so many are on their way that most polls bring one
	tokens <- struct{}{}
	tokens <- struct{}{}
	go func() {
		for i := range messages {
			<-tokens
			p.send(fmt.Sprint(i))
		}
	}()
	polls := 0
	for next := 0; next < messages; polls++ {
		got := poll()
		require.True(t, strings.HasPrefix(got, "a["), got)
		var list []string
		require.NoError(t, json.Unmarshal([]byte(got[1:]), &list))
		for _, s := range list {
			require.Equal(t, fmt.Sprint(next), s)
			next++
			tokens <- struct{}{}
		}
	}
	require.Greater(t, polls, messages/4)
	require.NoError(t, p.conn.Close(1000, ""))
	require.Equal(t, "c[1000,\"\"]\n", poll())
	require.ErrorIs(t, p.ended(t), transport.ErrLocalClose)
}

// TestHostileClients: requests of all kinds at once, on few sessions, leave nothing behind.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	tr := New(nil, &Options{MaxSessions: 8, HeartbeatInterval: 10 * time.Millisecond})
	a := &app{receive: func(p *peer, m transport.Message) {
		if string(m.Data) == "bye" {
			_ = p.conn.Close(3000, "bye")
			return
		}
		p.send(string(m.Data))
	}}
	hs := httptest.NewServer(endpoint(tr, a))
	defer hs.Close()
	bodies := []string{"", "[]", `["x"]`, `["x","y"]`, `["bye"]`, `["`, "[\"\xff\"]", strings.Repeat("x", 1000)}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 60 {
				leg := []string{"xhr", "xhr_send", "xhr_streaming", "xhr_send", "jsonp_send"}[(i+g)%5]
				nc, br := (&service{hs, t}).request("1.1", "POST", fmt.Sprintf("/%d/s%d/%s", g, i%10, leg), bodies[(i*7+g)%len(bodies)])
				if i%3 == 0 {
					nc.Close() // before the answer
					continue
				}
				_, _ = br.ReadString('\n') // and in the middle of others
				nc.Close()
			}
		})
	}
	wg.Wait()
	hs.CloseClientConnections()
	tr.leavesNothing(t)
}

// leavesNothing expects that no session is left once their time has come.
func (t *Transport) leavesNothing(tt *testing.T) {
	tt.Helper()
	late := time.Now().Add(time.Minute)
	for t.busy() {
		require.True(tt, time.Now().Before(late), "%+v", t.Stats())
		// What the sessions wait for comes at once.
		t.mu.Lock()
		var all []*session
		for _, s := range t.sessions {
			all = append(all, s)
		}
		t.mu.Unlock()
		for _, s := range all {
			s.mu.Lock()
			if s.legs == 0 && !s.due.IsZero() {
				s.due = s.due.Add(-1 << 40)
				s.timer.Reset(0)
			}
			s.mu.Unlock()
		}
		runtime.Gosched()
	}
}

func (t *Transport) busy() bool {
	st := t.Stats()
	for _, l := range st.Legs {
		if l.Open > 0 || l.Waiting > 0 {
			return true
		}
	}
	return st.Sessions > 0
}
