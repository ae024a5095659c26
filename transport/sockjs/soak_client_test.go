package sockjs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// soaker is a client of the soak. It has one session after the other, asks for messages with
// numbers, and polls for them.
type soaker struct {
	*soak
	ctx  context.Context
	name string
	r    *rand.Rand

	path  string // of the session
	app   *app
	peer  *peer // the server's end
	in    soakConn
	out   soakConn
	asked int                  // messages that the server shall send
	next  int                  // the number of the one that comes next
	seq   int                  // of the next one sent
	early atomic.Pointer[poll] // to be broken off as soon as the server has something for it
}

// soakConn is a connection for one request after the other.
type soakConn struct {
	net.Conn
	br *bufio.Reader
}

func (c *soakConn) drop() {
	if c.Conn != nil {
		c.Close()
		c.Conn = nil
	}
}

// request writes a request, on a new connection if there is none.
func (c *soaker) request(on *soakConn, leg, poll, body string) {
	if on.Conn == nil {
		nc, err := net.Dial("tcp", c.hs.Listener.Addr().String())
		require.NoError(c.t, err)
		tc, ok := nc.(*net.TCPConn)
		require.True(c.t, ok)
		require.NoError(c.t, tc.SetReadBuffer(4<<10))
		on.Conn, on.br = nc, bufio.NewReaderSize(nc, 1<<10)
	}
	require.NoError(c.t, on.SetDeadline(time.Now().Add(time.Minute)))
	headers := []string{"X-Client", c.name}
	if poll != "" {
		headers = append(headers, "X-Poll", poll)
	}
	writeRequest(c.t, on, "1.1", "POST", c.path+"/"+leg, "soak", body, headers...)
}

func (c *soaker) response(on *soakConn) (status int, body string) {
	resp, err := http.ReadResponse(on.br, nil)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(p)
}

// poll sends a poll.
func (c *soaker) poll() *poll {
	p := &poll{name: strconv.FormatInt(c.polled.Add(1), 10), done: make(chan struct{})}
	c.polls.Store(p.name, p)
	c.request(&c.in, "xhr", p.name, "")
	return p
}

// answer reads the answer to the poll.
func (c *soaker) answer(p *poll) string {
	status, body := c.response(&c.in)
	require.Equal(c.t, 200, status, body)
	c.polls.Delete(p.name)
	return body
}

// run has sessions until the time is over. A failure ends the goroutine.
func (c *soaker) run() {
	defer c.in.drop()
	defer c.out.drop()
	for n := 0; c.ctx.Err() == nil; n++ {
		c.path, c.asked, c.next, c.seq = fmt.Sprintf("/0/%s-%d", c.name, n), 0, 0, 0
		c.app = c.newApp()
		require.Equal(c.t, "o\n", c.answer(c.poll()))
		c.peer = <-c.app.peers
		c.opened.Add(1)
		for over := false; !over; {
			c.rest()
			if c.ctx.Err() != nil {
				c.bye()
				return
			}
			over = c.step()
		}
	}
}

func (c *soaker) rest() {
	select {
	case <-time.After(time.Duration(c.r.ExpFloat64() * float64(c.pause))):
	case <-c.ctx.Done():
	}
}

// newApp makes the server's side: a message says its number, and how many to send and of
// which size.
func (c *soaker) newApp() *app {
	seq, number := 0, 0
	return &app{peers: make(chan *peer, 1), receive: func(p *peer, m transport.Message) {
		var got, n, size int
		if _, err := fmt.Sscan(string(m.Data), &got, &n, &size); err != nil || got != seq {
			c.t.Errorf("received %q for number %d", m.Data, seq)
		}
		seq++
		texts := make([]string, n)
		for i := range texts {
			texts[i] = fmt.Sprintf("%d %s", number, strings.Repeat("x", size))
			number++
		}
		p.send(texts...)
		if early := c.early.Swap(nil); early != nil {
			early.abort()
		}
	}}
}

// ask sends a message that asks for others; reply reads what came of it.
func (c *soaker) ask(n, size int) {
	c.request(&c.out, "xhr_send", "", fmt.Sprintf(`["%d %d %d"]`, c.seq, n, size))
	c.seq++
	c.asked += n
}

func (c *soaker) reply(wants ...int) {
	status, body := c.response(&c.out)
	require.Contains(c.t, wants, status, body)
	c.sent.Add(1)
}

// take checks the messages of an answer.
func (c *soaker) take(body string) {
	for _, text := range messagesIn(c, body) {
		number, _, _ := strings.Cut(text, " ")
		require.Equal(c.t, strconv.Itoa(c.next), number)
		c.next++
		c.received.Add(1)
	}
	require.LessOrEqual(c.t, c.next, c.asked)
}

// messagesIn returns those of an array, none of a heartbeat.
func messagesIn(c *soaker, body string) (list []string) {
	if body == "h\n" {
		return nil
	}
	array, ok := strings.CutPrefix(body, "a")
	require.True(c.t, ok, "%.100q", body)
	require.NoError(c.t, json.Unmarshal([]byte(array), &list))
	return list
}

// step polls once, and reports whether the session has ended.
func (c *soaker) step() (over bool) {
	p := c.poll()
	n, size := 1+c.r.IntN(5), c.r.IntN(100)
	if c.r.Float64() >= c.aborts {
		if c.asked-c.next < 100 {
			c.ask(n, size)
			c.reply(204)
		}
		c.take(c.answer(p))
		return false
	}
	c.attached(p)
	switch c.r.IntN(5) {
	case 0: // while it waits, or not
		c.pauseFor(2 * time.Millisecond)
	case 1: // as a message comes
		c.ask(n, size)
		c.pauseFor(500 * time.Microsecond)
		c.hangUp()
		c.reply(204, 404)
	case 2: // as soon as it has come
		c.early.Store(p)
		c.ask(n, size)
		c.reply(204)
		<-p.done
	case 3: // within the answer
		c.ask(1+c.r.IntN(4), 30<<10)
		c.reply(204)
		_, err := c.in.br.Read(make([]byte, 1+c.r.IntN(1000)))
		require.NoError(c.t, err)
		require.True(c.t, p.hasBegun())
		c.seen.Add(1)
	case 4: // behind the answer, which is not read
		c.ask(n, size)
		c.reply(204)
		c.pauseFor(2 * time.Millisecond)
	}
	c.hangUp()
	return c.after(p)
}

// attached waits until p has reached the session: else the next one would come first.
func (c *soaker) attached(p *poll) {
	s, ok := c.peer.conn.(*session)
	require.True(c.t, ok)
	for !p.hasBegun() {
		s.mu.Lock()
		leg := s.leg
		s.mu.Unlock()
		if leg != nil {
			if w, ok := leg.w.(*pollWriter); ok && w.p == p {
				return
			}
		}
		select {
		case <-p.done:
			return
		case <-time.After(50 * time.Microsecond):
		}
	}
}

func (c *soaker) pauseFor(most time.Duration) { time.Sleep(time.Duration(c.r.Int64N(int64(most)))) }

// hangUp breaks off the poll, in one of two ways.
func (c *soaker) hangUp() {
	if tc, ok := c.in.Conn.(*net.TCPConn); ok && c.r.IntN(2) == 0 {
		_ = tc.SetLinger(0)
	}
	c.in.drop()
}

// after polls again, and checks what came of the poll that was broken off.
func (c *soaker) after(p *poll) (over bool) {
	waited := c.r.IntN(2) == 0
	if waited {
		<-p.done
	}
	var body string
	for {
		next := c.poll()
		c.ask(1, 1) // the answer
		c.reply(204, 404)
		body = c.answer(next)
		if !strings.HasPrefix(body, "c[2010,") && body != "h\n" {
			break
		}
		c.again.Add(1)
	}
	<-p.done
	c.polls.Delete(p.name)
	if over = body == "c[1002,\"Connection interrupted\"]\n"; over {
		require.ErrorIs(c.t, c.peer.ended(c.t), errInterrupted)
		require.Equal(c.t, body, c.answer(c.poll()))
	}
	c.peer.mu.Lock()
	written := c.peer.written
	c.peer.mu.Unlock()
	switch {
	case !p.begun && !over:
		c.kept.Add(1)
	case !p.begun:
		c.idle.Add(1)
		require.Equal(c.t, written, c.next)
	case p.failed:
		c.cut.Add(1)
		require.True(c.t, over, "a session goes on without %d messages", len(messagesIn(c, string(p.body))))
		lost := written - c.next - len(messagesIn(c, string(p.body)))
		require.True(c.t, lost == 0 || lost > 0 && !waited, "%d more messages are lost", lost) // the next poll's
	default:
		c.unread.Add(1)
		require.False(c.t, over)
		c.next += len(messagesIn(c, string(p.body)))
	}
	if !over {
		c.take(body)
	}
	return over
}

// bye ends the session: all that was taken comes before the close frame.
func (c *soaker) bye() {
	require.NoError(c.t, c.peer.conn.Close(1000, "bye"))
	for {
		body := c.answer(c.poll())
		if body == "c[1000,\"bye\"]\n" {
			break
		}
		c.take(body)
	}
	require.ErrorIs(c.t, c.peer.ended(c.t), transport.ErrLocalClose)
	c.peer.mu.Lock()
	defer c.peer.mu.Unlock()
	require.Equal(c.t, c.peer.written, c.next)
}
