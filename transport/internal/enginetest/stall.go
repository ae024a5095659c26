package enginetest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// pair is a server's conn, its recorder, and a raw peer of it.
func (e *Engine) pair(t *testing.T, kind string, opts *duplex.Limits) (p *peer, c Conn, r *recorder) {
	t.Helper()
	opened := make(chan Conn, 1)
	r = newRecorder()
	url := e.serve(t, kind, opts, &acceptor{open: func(c transport.Conn) transport.Receiver {
		opened <- c.(Conn)
		return r
	}})
	nc := RawDial(t, url)
	_, err := nc.Write([]byte(UpgradeRequest))
	require.NoError(t, err)
	p = newPeer(t, nc, bufio.NewReader(nc), true)
	resp, err := http.ReadResponse(p.br, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	return p, wait(t, opened), r
}

// fillUp writes messages of size bytes until there is no room, and returns how many
// were taken.
func fillUp(t *testing.T, c Conn, size int) (taken int) {
	t.Helper()
	m := []transport.Message{{Type: transport.MessageBinary, Data: pattern(size)}}
	for range 1 << 16 {
		n, err := c.Write(m)
		require.NoError(t, err)
		if n == 0 {
			return taken
		}
		taken++
	}
	require.Fail(t, "there is always room")
	return 0
}

// testStalled: a peer that never reads costs little, gets Writable once it reads, and
// then everything in order.
func (e *Engine) testStalled(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		if kind == "https-own" {
			continue // blocks: it has no room while any message is under way, and then has again
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c, r := e.pair(t, kind, nil)
			const size = 16 << 10
			taken := fillUp(t, c, size)
			require.LessOrEqual(t, c.Held(), 2*size)
			if queued, ok := sendQueue(t, p.nc); ok {
				t.Logf("%s: %d messages taken, %d bytes in the process, %d in the kernel", kind, taken, c.Held(), queued)
				require.Less(t, c.Held()+queued, 512<<10)
			}
			require.Empty(t, r.writable)
			for range taken {
				p.expect(opBin, pattern(size))
			}
			wait(t, r.writable)
			n, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("last")}})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			p.expect(opText, []byte("last"))
			require.Empty(t, r.writable)
			p.finishOf(r)
		})
	}
}

// finishOf ends a sound connection whose receiver is r.
func (p *peer) finishOf(r *recorder) {
	p.t.Helper()
	p.send(fin|opClose, "\x03\xe8")
	p.expectClose(1000)
	p.nc.Close()
	require.Equal(p.t, &transport.CloseError{Code: 1000}, wait(p.t, r.closed))
}

// testStalledDelayNobody: one goroutine writes to many peers that do not read, and in
// between to one that does.
func (e *Engine) testStalledDelayNobody(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var stalled []Conn
			for range 2*runtime.GOMAXPROCS(0) + 4 {
				_, c, _ := e.pair(t, kind, nil)
				stalled = append(stalled, c)
			}
			p, c, r := e.pair(t, kind, nil)
			shared := transport.NewShared(transport.MessageBinary, pattern(1<<20))
			for i := range 20 {
				for j, s := range stalled {
					m := shared.Message(nil)
					if j%2 == 0 {
						m.Head = []byte("head")
					}
					_, err := s.Write([]transport.Message{m, {Type: transport.MessageText, Data: pattern(i)}})
					require.NoError(t, err)
				}
				n, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: pattern(i)}})
				require.NoError(t, err)
				if n == 0 {
					wait(t, r.writable) // it blocks: the message before is still on its way
					n, err = c.Write([]transport.Message{{Type: transport.MessageText, Data: pattern(i)}})
					require.NoError(t, err)
				}
				require.Equal(t, 1, n)
				p.expect(opText, pattern(i))
			}
			p.finishOf(r)
		})
	}
}

// testStalledBatch: a batch is taken in part, and each message once.
func (e *Engine) testStalledBatch(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c, r := e.pair(t, kind, nil)
			var batch []transport.Message
			shared := transport.NewShared(transport.MessageText, pattern(70_000))
			for i := range 1500 {
				switch i % 4 {
				case 0:
					batch = append(batch, transport.Message{Type: transport.MessageBinary, Head: pattern(i), Data: pattern(i)})
				case 1:
					batch = append(batch, transport.Message{Type: transport.MessageText, Data: pattern(1000 * (i % 70))})
				case 2:
					batch = append(batch, shared.Message(nil))
				case 3:
					batch = append(batch, shared.Message(pattern(i)))
				}
			}
			go func() {
				rest := batch
				for len(rest) > 0 {
					n, err := c.Write(rest)
					if err != nil {
						return
					}
					if rest = rest[n:]; len(rest) > 0 {
						<-r.writable
					}
				}
			}()
			for i, m := range batch {
				op := byte(opText)
				if m.Type == transport.MessageBinary {
					op = opBin
				}
				if i%100 == 0 { // pongs go between messages, never into one
					p.send(fin|opPing, "")
				}
				for {
					f, err := p.next()
					require.NoError(t, err)
					if f.op == opPong {
						continue
					}
					require.Equal(t, op, f.op)
					require.Equal(t, string(m.Head)+string(m.Data), string(f.payload))
					break
				}
			}
		})
	}
}

// testLargeCut: a message that was cut is intact when the peer reads, and the pong of
// a ping meanwhile comes behind it.
func (e *Engine) testLargeCut(t *testing.T) {
	t.Parallel()
	shared := transport.NewShared(transport.MessageBinary, pattern(4<<20))
	for name, m := range map[string]transport.Message{
		"own":             {Type: transport.MessageBinary, Data: pattern(4 << 20)},
		"head":            {Type: transport.MessageBinary, Head: pattern(100_000), Data: pattern(4 << 20)},
		"shared":          shared.Message(nil),
		"shared and head": shared.Message(pattern(100_000)),
	} {
		for _, kind := range e.Kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p, c, r := e.pair(t, kind, nil)
				n, err := c.Write([]transport.Message{m, m})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				p.send(fin|opPing, "now")
				p.send(fin|opText, "x")
				wait(t, r.got) // the ping has been looked at
				p.expect(opBin, []byte(string(m.Head)+string(m.Data)))
				p.expect(opPong, []byte("now"))
				wait(t, r.writable)
				p.finishOf(r)
			})
		}
	}
}

// testPingFlood: a peer that pings and never reads costs a bounded number of pongs.
func (e *Engine) testPingFlood(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c, r := e.pair(t, kind, nil)
			var flood []byte
			for range 1000 {
				flood = append(flood, Frame(fin|opPing, pattern(125), true)...)
			}
			for range 40 { // 5 MB of pongs
				p.write(flood)
			}
			p.send(fin|opText, "x")
			wait(t, r.got)
			require.Less(t, c.Held(), 100<<10)
			_, err := c.Write([]transport.Message{{Type: transport.MessageText, Data: []byte("last")}})
			require.NoError(t, err)
			require.Less(t, c.Held(), 100<<10)
		})
	}
}

// testCloseBesideWrite closes while batches are written: whatever Write took comes
// before the close frame, and the close frame comes.
func (e *Engine) testCloseBesideWrite(t *testing.T) {
	t.Parallel()
	for _, byPeer := range []bool{false, true} {
		for range 100 {
			p, c, r := e.pair(t, e.Kinds[0], nil)
			batch := make([]transport.Message, 200)
			for i := range batch {
				batch[i] = transport.Message{Type: transport.MessageBinary, Data: pattern(500)}
			}
			var wg sync.WaitGroup
			ended := make(chan struct{})
			wg.Go(func() {
				for {
					n, err := c.Write(batch)
					if err != nil {
						return
					}
					if n < len(batch) {
						select {
						case <-r.writable:
						case <-ended:
						}
					}
				}
			})
			if byPeer {
				wg.Go(func() { p.sendMay(Frame(fin|opClose, []byte("\x03\xe8"), true)) })
			} else {
				wg.Go(func() { _ = c.Close(1000, "") })
			}
			for {
				f, err := p.next()
				require.NoError(t, err, "the close frame has not come")
				if f.op == opClose {
					break
				}
				require.Len(t, f.payload, 500)
			}
			close(ended)
			p.nc.Close()
			wg.Wait()
			wait(t, r.closed)
		}
	}
}

// testCloseBetweenSystemCalls puts the close where testCloseBesideWrite meets it by
// chance only: a Write has let the lock go between two system calls.
func (e *Engine) testCloseBetweenSystemCalls(t *testing.T) {
	t.Parallel()
	closedBetween := func(p *peer, c Conn, r *recorder, end func(), code int) {
		c.BeginWrite()
		c.LetGo()
		end()
		settle(t, func() bool {
			c.TakeBack()
			defer c.LetGo()
			return c.Cause() != nil
		}, "the connection ends")
		c.TakeBack()
		_, err := c.Room(transport.MessageText)
		require.ErrorIs(t, err, net.ErrClosed)
		c.EndWrite()
		p.expectClose(code)
		p.nc.Close()
		wait(t, r.closed)
	}
	p, c, r := e.pair(t, e.Kinds[0], nil)
	closedBetween(p, c, r, func() { require.NoError(t, c.Close(4001, "")) }, 4001)
	p, c, r = e.pair(t, e.Kinds[0], nil)
	closedBetween(p, c, r, func() { p.send(fin|opClose, "\x0f\xa2") }, 4002)
}

// testGoroutines: an idle connection has one goroutine.
func (e *Engine) testGoroutines(t *testing.T) {
	const conns = 50
	for _, kind := range e.Kinds {
		opened := make(chan *patientEcho, conns)
		url := e.serve(t, kind, nil, &acceptor{open: func(c transport.Conn) transport.Receiver {
			e := newPatientEcho(c)
			opened <- e
			return e
		}})
		settle(t, func() bool { return e.readers() == 0 }, "those of tests before")
		var peers []*peer
		for range conns {
			nc := RawDial(t, url)
			_, err := nc.Write([]byte(UpgradeRequest))
			require.NoError(t, err)
			p := newPeer(t, nc, bufio.NewReader(nc), true)
			_, err = http.ReadResponse(p.br, nil)
			require.NoError(t, err)
			p.echo = wait(t, opened)
			p.send(fin|opText, "x")
			p.expect(opText, []byte("x"))
			peers = append(peers, p)
		}
		settle(t, func() bool { return e.readers() == conns && others() == 0 }, kind)
		for _, p := range peers {
			p.finish()
		}
		settle(t, func() bool { return e.readers() == 0 }, kind)
	}
}

func stacks() string {
	b := make([]byte, 8<<20)
	return string(b[:runtime.Stack(b, true)])
}

// readers counts the goroutines that read for a connection, others those that do
// anything else for one.
func (e *Engine) readers() int { return strings.Count(stacks(), e.Name+".(*conn).read(") }

func others() int {
	s := stacks()
	return strings.Count(s, "duplex.(*Conn).waiter(") + strings.Count(s, ".(*Transport).serveConn(") + strings.Count(s, "net/http.(Conn).serve(")
}

// settle waits until f holds: goroutines end a moment after what they have done is
// seen.
func settle(t *testing.T, f func() bool, name string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		require.True(t, time.Now().Before(deadline), name)
		runtime.Gosched()
	}
}

// testYield hands the reader over: messages go on coming in order, and a Yield outside
// of Receive does nothing.
func (e *Engine) testYield(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			y := &yielding{entered: make(chan string, 10), yielded: make(chan struct{}, 10), release: make(chan struct{}), closed: make(chan error, 1)}
			url := e.serve(t, kind, nil, &acceptor{open: func(c transport.Conn) transport.Receiver {
				y.c = c.(Conn)
				return y
			}})
			nc := RawDial(t, url)
			_, err := nc.Write([]byte(UpgradeRequest))
			require.NoError(t, err)
			p := newPeer(t, nc, bufio.NewReader(nc), true)
			_, err = http.ReadResponse(p.br, nil)
			require.NoError(t, err)
			var b []byte
			for _, s := range []string{"a", "b", "c"} { // in one segment, and so in one buffer
				b = append(b, Frame(fin|opText, []byte(s+string(pattern(100))), true)...)
			}
			p.write(append(b, Frame(opText, []byte("d"+string(pattern(60))), true)...))
			p.write(Frame(fin|opPing, []byte("p"), true))
			p.write(Frame(fin|opCont, pattern(40), true))
			for _, s := range []string{"a", "b", "c"} {
				require.Equal(t, s+string(pattern(100)), wait(t, y.entered))
			}
			require.Equal(t, "d"+string(pattern(60))+string(pattern(40)), wait(t, y.entered))
			p.expect(opPong, []byte("p"))
			for range 4 {
				wait(t, y.yielded)
			}
			require.False(t, y.c.Yield(), "no Receive runs that has not yielded")
			_, err = p.nc.Write(Frame(fin|opClose, []byte("\x03\xe8"), true))
			require.NoError(t, err)
			p.expectClose(1000)
			p.nc.Close()
			wait(t, y.closed) // though four Receives still run
			close(y.release)
			y.running.Wait()
			require.Equal(t, []string{"a", "b", "c", "d"}, y.firsts())
		})
	}
}

// yielding yields in each Receive, goes on looking at its data, and stays.
type yielding struct {
	c       Conn
	entered chan string
	yielded chan struct{}
	release chan struct{}
	closed  chan error
	running sync.WaitGroup
	mu      sync.Mutex
	seen    map[string]bool
}

func (y *yielding) Receive(m transport.Message) {
	y.running.Add(1)
	defer y.running.Done()
	before := string(m.Data)
	y.entered <- before
	if !y.c.Yield() {
		panic("the first Yield counts")
	}
	y.yielded <- struct{}{}
	<-y.release
	if string(m.Data) == before { // valid until Receive returns
		y.mu.Lock()
		defer y.mu.Unlock()
		if y.seen == nil {
			y.seen = map[string]bool{}
		}
		y.seen[before[:1]] = true
	}
}
func (y *yielding) Writable()        {}
func (y *yielding) Closed(err error) { y.closed <- err }

func (y *yielding) firsts() (all []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, s := range []string{"a", "b", "c", "d"} {
		if y.seen[s] {
			all = append(all, s)
		}
	}
	return all
}

// testPause: while paused nothing is delivered, and pings are answered until a message
// comes.
func (e *Engine) testPause(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, c, r := e.pair(t, kind, nil)
			c.Pause()
			c.Pause()
			p.send(fin|opPing, "a")
			p.expect(opPong, []byte("a"))
			p.send(fin|opText, "m")
			writeAll(t, c, r, transport.Message{Type: transport.MessageText, Data: []byte("out")})
			p.expect(opText, []byte("out"))
			require.Empty(t, r.got)
			c.Resume()
			c.Resume()
			require.Equal(t, "m", string(wait(t, r.got).Data))
			// Close while paused ends it.
			c.Pause()
			p.send(fin|opText, "never")
			require.NoError(t, c.Close(1000, ""))
			p.expectClose(1000)
			p.send(fin|opClose, "\x03\xe8")
			p.nc.Close()
			wait(t, r.closed)
			require.Empty(t, r.got)
		})
	}
}

// testPingContext: a Ping ends with its context or its connection.
func (e *Engine) testPingContext(t *testing.T) {
	t.Parallel()
	p, c, r := e.pair(t, e.Kinds[0], nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { _, err := c.Ping(ctx); done <- err }()
	f, err := p.next()
	require.NoError(t, err)
	require.Equal(t, byte(opPing), f.op)
	cancel()
	require.ErrorIs(t, wait(t, done), context.Canceled)
	p.write(Frame(fin|opPong, f.payload, true)) // too late, and harmless

	for range 2 {
		go func() { _, err := c.Ping(context.Background()); done <- err }()
	}
	_, err = p.next()
	require.NoError(t, err)
	f, err = p.next()
	require.NoError(t, err)
	p.write(Frame(fin|opPong, f.payload, true)) // answers the earlier one too
	require.NoError(t, wait(t, done))
	require.NoError(t, wait(t, done))
	require.Positive(t, c.RoundTrip())

	go func() { _, err := c.Ping(context.Background()); done <- err }()
	_, err = p.next()
	require.NoError(t, err)
	p.nc.Close()
	require.ErrorIs(t, wait(t, done), net.ErrClosed)
	wait(t, r.closed)
}
