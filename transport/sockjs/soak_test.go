package sockjs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoak: polling sessions whose polls are broken off at any time. It takes two seconds, or
// as long as WEFT_SOAK says (15m, for example), then with 500 sessions, and memory must
// stay what it is.
//
// What may come of a broken-off poll depends on what the server had done. The test
// knows, because it stands between the transport and net/http:
//
//   - Nothing was written: no message is lost, repeated or reordered. If a batch was taken, the
//     next poll gets it; else the session has ended with 1002, with nothing under way.
//   - A write failed: the session has ended with 1002, and the messages of that answer are lost,
//     no others.
//   - All was written: the server can't know, as the protocol has no acknowledgement, and the
//     session goes on without the messages of that answer, no others.
//
// A client that has seen a byte of the answer is never in the first case.
func TestSoak(t *testing.T) {
	s := &soak{t: t, sessions: 40, pause: 5 * time.Millisecond, length: 2 * time.Second, aborts: 0.3}
	if v := os.Getenv("WEFT_SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		require.NoError(t, err)
		s.sessions, s.pause, s.length, s.aborts = 500, 500*time.Millisecond, d, 0.05
	} else {
		t.Parallel()
	}
	// The delay is for clients that are late because the machine is busy.
	s.tr = New(nil, &Options{DisconnectDelay: 30 * time.Second, HeartbeatInterval: 2 * time.Second})
	s.hs = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.hs.Listener = smallBuffers{s.hs.Listener}
	s.hs.Start()
	defer s.hs.Close()
	s.run()
	s.hs.CloseClientConnections()
	s.tr.leavesNothing(t)
	s.report()
}

// smallBuffers makes writes wait for clients that do not read.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if tc, ok := nc.(*net.TCPConn); ok {
		err = tc.SetWriteBuffer(4 << 10)
	}
	return nc, err
}

type soak struct {
	t             *testing.T
	tr            *Transport
	hs            *httptest.Server
	sessions      int
	pause, length time.Duration
	aborts        float64 // how many of the polls are broken off

	clients sync.Map // by name
	polls   sync.Map // by number

	opened, polled, received, sent  atomic.Int64
	kept, idle, cut, unread         atomic.Int64 // broken-off polls by what came of them
	seen, again                     atomic.Int64 // begun in sight of the client; next polls that came too early
	heap                            []string
	firstHeap, lastHeap             uint64
	firstGoroutines, lastGoroutines int
}

func (s *soak) run() {
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	end := time.Now().Add(s.length)
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any will do
	s.t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for i := range s.sessions {
		c := &soaker{soak: s, ctx: ctx, name: fmt.Sprint(i), r: rand.New(rand.NewPCG(seed, uint64(i)))} //nolint:gosec // as above
		s.clients.Store(c.name, c)
		wg.Go(c.run)
	}
	tick := time.NewTicker(s.length / 6)
	defer tick.Stop()
	for i := 1; i < 6 || time.Now().Before(end) || s.missing() != "" && time.Since(end) < time.Minute; i++ {
		<-tick.C
		s.measure()
	}
	stop()
	wg.Wait()
}

// missing names what has not come of a broken-off poll so far.
func (s *soak) missing() (what string) {
	for name, n := range map[string]*atomic.Int64{"kept ": &s.kept, "idle ": &s.idle, "cut ": &s.cut, "unread ": &s.unread} {
		if n.Load() == 0 {
			what += name
		}
	}
	return what
}

func (s *soak) measure() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.lastHeap, s.lastGoroutines = m.HeapAlloc, runtime.NumGoroutine()
	if len(s.heap) == 0 {
		s.firstHeap, s.firstGoroutines = s.lastHeap, s.lastGoroutines
	}
	s.heap = append(s.heap, fmt.Sprintf("%.1f MB, %d goroutines, %d sessions", float64(m.HeapAlloc)/1e6, s.lastGoroutines, s.tr.Stats().Sessions))
}

func (s *soak) report() {
	s.t.Logf("%d clients for %v: %d sessions, %d polls, %d messages received, %d sent", s.sessions, s.length,
		s.opened.Load(), s.polled.Load(), s.received.Load(), s.sent.Load())
	s.t.Logf("broken-off polls: %d whose batch went to the next one, %d that were waiting (1002), %d in a write (1002), "+
		"%d behind the last write; the client had seen some of %d; %d next ones came too early or had a heartbeat",
		s.kept.Load(), s.idle.Load(), s.cut.Load(), s.unread.Load(), s.seen.Load(), s.again.Load())
	for i, h := range s.heap {
		s.t.Logf("memory after %v: %s", (time.Duration(i+1) * s.length / 6).Round(time.Second/10), h)
	}
	require.Empty(s.t, s.missing())
	if s.length >= time.Minute {
		require.Less(s.t, float64(s.lastHeap), 1.3*float64(s.firstHeap)+4e6)
		require.Less(s.t, s.lastGoroutines, s.firstGoroutines+s.sessions)
	}
}

// serve stands in front of the transport, and each client has an acceptor of its own.
func (s *soak) serve(w http.ResponseWriter, r *http.Request) {
	v, ok := s.clients.Load(r.Header.Get("X-Client"))
	if !ok {
		s.t.Error("a request of nobody")
		return
	}
	c, _ := v.(*soaker)
	v, ok = s.polls.Load(r.Header.Get("X-Poll"))
	if !ok {
		s.tr.ServeHTTP(w, r, c.app)
		return
	}
	p, _ := v.(*poll)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	defer close(p.done)
	s.tr.ServeHTTP(&pollWriter{w, p}, r.WithContext(ctx), c.app)
}

// poll is what the server has done for a poll.
type poll struct {
	name string
	done chan struct{} // closed when it is over on the server

	mu            sync.Mutex
	cancel        func()
	begun, failed bool
	body          []byte
}

type pollWriter struct {
	http.ResponseWriter
	p *poll
}

func (w *pollWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *pollWriter) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	w.p.begun = true
	w.p.body = append(w.p.body, b...)
	w.p.mu.Unlock()
	n, err := w.ResponseWriter.Write(b)
	w.p.note(err)
	return n, err
}

func (w *pollWriter) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.p.note(err)
	return err
}

func (p *poll) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = true
	}
}

func (p *poll) hasBegun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// abort is what the server learns of a client that is gone.
func (p *poll) abort() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel()
}
