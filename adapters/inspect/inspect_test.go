package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// lines are an answer that has no end.
type lines struct {
	tb   testing.TB
	body io.ReadCloser
	scan *bufio.Scanner
}

// open asks for one and waits until it begins.
func open(tb testing.TB, ins *Inspector, hs *httptest.Server, path string) *lines {
	tb.Helper()
	r, err := http.NewRequest(http.MethodGet, hs.URL+"/"+path, nil)
	require.NoError(tb, err)
	r.Header.Set(tokenHeader, ins.token)
	res, err := hs.Client().Do(r) //nolint:bodyclose // lines.close does
	require.NoError(tb, err)
	require.Equal(tb, 200, res.StatusCode)
	require.Equal(tb, "application/x-ndjson", res.Header.Get("Content-Type"))
	return &lines{tb, res.Body, bufio.NewScanner(res.Body)}
}

func (l *lines) close() { l.body.Close() }

func (l *lines) drain() {
	for l.scan.Scan() {
	}
}

// next reads a line into v, and skips empty ones.
func (l *lines) next(v any) {
	l.tb.Helper()
	for l.scan.Scan() {
		if len(l.scan.Bytes()) > 0 {
			require.NoError(l.tb, json.Unmarshal(l.scan.Bytes(), v))
			return
		}
	}
	require.FailNow(l.tb, "there are no more lines", "%v", l.scan.Err())
}

// serve serves a page, and ends what it has open with the test.
func serve(tb testing.TB, ins *Inspector) *httptest.Server {
	hs := httptest.NewServer(ins)
	tb.Cleanup(hs.Close)
	tb.Cleanup(ins.Close)
	return hs
}

// get asks what the page asks, without a network.
func get(ins *Inspector, path string, v any) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/"+path, nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set(tokenHeader, ins.token)
	w := httptest.NewRecorder()
	ins.ServeHTTP(w, r)
	if v != nil && w.Code == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			panic(err)
		}
	}
	return w
}

func only(tb testing.TB, e *handler.Endpoint) *handler.Session {
	for s := range e.Sessions().All() {
		return s
	}
	require.FailNow(tb, "there is no session")
	return nil
}

func TestFramesAsTheyPass(t *testing.T) {
	t.Parallel()
	ins := New(&Options{MaxFrame: 64})
	p, e := stack(t, ins)
	ins.Add("e", e)
	hs := serve(t, ins)
	k := dial(t, p)
	k.say([]byte(`{"before":1}`))
	path := "frames?endpoint=e&id=" + only(t, e).ID()
	first, second := open(t, ins, hs, path), open(t, ins, hs, path)

	k.say([]byte(`{"token":"x"}`))
	k.say([]byte(`{"a":"` + strings.Repeat("x", 64) + `"}`))
	for _, l := range []*lines{first, second} {
		for _, want := range []line{
			{Type: "text", Size: 13, shown: shown{"JSON", `{"token":•••}`, 1}},
			{Type: "text", Size: 13, Out: true, shown: shown{"JSON", `{"token":•••}`, 1}},
			{Type: "text", Size: 72, shown: shown{"", "(longer than what is shown)", 0}},
			{Type: "text", Size: 72, Out: true, shown: shown{"", "(longer than what is shown)", 0}},
		} {
			var got line
			l.next(&got)
			require.Positive(t, got.Time)
			got.Time = 0
			require.Equal(t, want, got)
		}
	}

	// One goes, the other one stays.
	second.close()
	c, _ := transport.As[*conn](only(t, e).Conn())
	require.Eventually(t, func() bool { ws := c.watches.Load(); return ws != nil && len(*ws) == 1 }, 10*time.Second, time.Millisecond)
	k.say([]byte(`{"b":2}`))
	for range 2 {
		var got line
		first.next(&got)
		require.Equal(t, `{"b":2}`, got.Text)
	}

	// The session ends.
	require.NoError(t, k.c.Close(4000, "a\u202eb token=x"))
	var got line
	first.next(&got)
	require.Equal(t, `The session has ended: transport: closed by peer with status 4000: "a\u202eb token•••`, got.End)
	require.False(t, first.scan.Scan(), "that was all")
	first.close()
	require.Eventually(t, func() bool { return c.watches.Load() == nil }, 10*time.Second, time.Millisecond)
	require.Equal(t, 404, get(ins, path, nil).Code)
}

func TestWatchEndsByItself(t *testing.T) {
	t.Parallel()
	ins := New(&Options{WatchTime: time.Millisecond})
	p, e := stack(t, ins)
	ins.Add("e", e)
	hs := serve(t, ins)
	dial(t, p)
	l := open(t, ins, hs, "frames?endpoint=e&id="+only(t, e).ID())
	defer l.close()
	var got line
	l.next(&got)
	require.Equal(t, "The time is up: 1ms", got.End)
}

func TestWhatIsNotWrappedCantBeWatched(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	p, e := stack(t, nil)
	ins.Add("e", e)
	dial(t, p)
	var l listed
	get(ins, "sessions", &l)
	require.False(t, l.Rows[0].Frames)
	w := get(ins, "frames?endpoint=e&id="+l.Rows[0].ID, nil)
	require.Equal(t, 409, w.Code)
	require.Contains(t, w.Body.String(), "Inspector.Transport")
}

// What a watch holds for a viewer that is slow is bounded, and what had to go is counted.
func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	w := newWatch(maxHeldBytes)
	data := make([]byte, 10<<10)
	for range 1000 {
		m := transport.Message{Type: transport.MessageText, Head: []byte("h"), Data: data}
		w.record(false, time.Now(), &m)
	}
	frames, missed := w.take()
	require.Equal(t, 1000, len(frames)+missed)
	require.Len(t, frames, maxHeldBytes/(10<<10+1))
	require.Equal(t, "h\x00", string(frames[0].data[:2]))
	for range 1000 {
		w.record(true, time.Now(), &transport.Message{})
	}
	frames, missed = w.take()
	require.Len(t, frames, maxHeld)
	require.Equal(t, 1000-maxHeld, missed)
	frames, missed = w.take()
	require.Empty(t, frames)
	require.Zero(t, missed)
}

func TestFigures(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	p, e := stack(t, ins)
	ins.Add("e", e)
	hs := serve(t, ins)
	l := open(t, ins, hs, "figures")
	defer l.close()
	var s sample
	l.next(&s)
	require.Equal(t, []figures{{Name: "e"}}, s.Endpoints)
	dial(t, p).say([]byte("hello"))
	for s.Endpoints[0].MessagesOut == 0 {
		before := s.Time
		l.next(&s)
		require.Greater(t, s.Time, before)
	}
	require.Equal(t, []figures{{Name: "e", Sessions: 1, MessagesIn: 1, MessagesOut: 1, BytesIn: 5, BytesOut: 5}}, s.Endpoints)
}

// Those who look share the samples, and the last two minutes are kept.
func TestSamples(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ins := New(nil)
		require.Len(t, ins.sample(time.Now()), 1)
		require.Len(t, ins.sample(time.Now()), 1)
		for range 200 {
			time.Sleep(sampleTime)
			ins.sample(time.Now())
			ins.sample(time.Now())
		}
		all := ins.sample(time.Now())
		require.Len(t, all, maxHistory+1)
		for i := range all[1:] {
			require.EqualValues(t, 1000, all[i+1].Time-all[i].Time)
		}
		time.Sleep(time.Hour)
		require.Len(t, ins.sample(time.Now()), 1)
	})
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	ins := New(&Options{MaxViewers: 1})
	p, e := stack(t, ins)
	ins.Add("e", e)
	hs := serve(t, ins)
	dial(t, p)
	frames := "frames?endpoint=e&id=" + only(t, e).ID()
	one, two := open(t, ins, hs, "figures"), open(t, ins, hs, frames)
	require.Equal(t, 503, get(ins, "figures", nil).Code)
	require.Equal(t, 503, get(ins, frames, nil).Code)
	one.close()
	two.close()
	require.Eventually(t, func() bool {
		ins.mu.Lock()
		defer ins.mu.Unlock()
		return ins.viewers == 0 && ins.watching == 0
	}, 10*time.Second, time.Millisecond)
}

// Close ends what is open, so that a server with an open page can be shut down.
func TestClose(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	p, e := stack(t, ins)
	ins.Add("e", e)
	dial(t, p)
	hs := serve(t, ins)
	hs.Config.RegisterOnShutdown(ins.Close)
	for _, path := range []string{"figures", "frames?endpoint=e&id=" + only(t, e).ID()} {
		defer open(t, ins, hs, path).close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, hs.Config.Shutdown(ctx))
	require.Equal(t, 503, get(ins, "sessions", nil).Code)
	ins.Close()
}

// flushless is a ResponseWriter of a framework that holds everything back.
type flushless struct{ http.ResponseWriter }

func TestWithoutFlush(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	r := httptest.NewRequest(http.MethodGet, "http://localhost/figures", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set(tokenHeader, ins.token)
	w := httptest.NewRecorder()
	ins.ServeHTTP(flushless{w}, r)
	require.Equal(t, 500, w.Code)
	require.Contains(t, w.Body.String(), "flush")
}

// deadlines is a ResponseWriter that knows its latest deadline.
type deadlines struct {
	http.ResponseWriter
	write time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }
func (d *deadlines) Unwrap() http.ResponseWriter        { return d.ResponseWriter }

// HTTP/2 ends an answer whose deadline passes, also while there is nothing to say.
func TestSilenceIsNoSlowness(t *testing.T) {
	t.Parallel()
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	s := begin(w)
	require.NotNil(t, s)
	require.Zero(t, w.write)
	require.NoError(t, s.send(line{End: "x"}))
	require.Zero(t, w.write)
}

// Two Inspectors may show one session, and watch it at once.
func TestWatchFromTwoSides(t *testing.T) {
	t.Parallel()
	c := new(conn)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10_000 {
				w := newWatch(1)
				c.attach(w)
				c.detach(w)
			}
		})
	}
	wg.Wait()
	require.Nil(t, c.watches.Load())
	require.LessOrEqual(t, unsafe.Sizeof(*c), uintptr(48), "as the package's comment says")
}

func TestSession(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	p := pipe.New(nil)
	e := handler.NewEndpoint(ins.Transport(p), handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
		handler.WithSubProtocols(envelope.NewJSON(nil)))
	defer func() { require.NoError(t, e.Shutdown(context.Background())) }()
	ins.Add("e", e)
	k := dial(t, p)
	for _, frame := range []string{
		`{"type":"connect"}`,
		`{"type":"subscribe","subscription":"1","destination":"/a?token=x","receipt":"r"}`,
		`{"type":"subscribe","subscription":"2","destination":"/b","ack":"client","receipt":"r"}`,
	} {
		k.say([]byte(frame))
	}
	only(t, e).SetUser("a\u202eb" + strings.Repeat("x", 1<<20))
	var d detail
	require.Equal(t, 200, get(ins, "session?endpoint=e&id="+only(t, e).ID(), &d).Code)
	require.True(t, strings.HasPrefix(d.User, `a\u{202e}bx`))
	require.Less(t, len(d.User), 300)
	require.Equal(t, 2, d.Subscriptions)
	require.Equal(t, []subscribed{{"1", "/a?token•••", "auto"}, {"2", "/b", "client"}}, d.Subscribed)
	require.True(t, d.Frames)
	require.Equal(t, 404, get(ins, "session?endpoint=e&id=x", nil).Code)
	require.Equal(t, 404, get(ins, "session?endpoint=x&id="+d.ID, nil).Code)
}

func TestCloseASession(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	p, e := stack(t, ins)
	ins.Add("e", e)
	dial(t, p)
	s := only(t, e)
	post := func(body string) int {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/close", strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set(tokenHeader, ins.token)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		ins.ServeHTTP(w, r)
		return w.Code
	}
	of := func(id, rest string) string { return `{"endpoint":"e","id":"` + id + `",` + rest + `}` }
	require.Equal(t, 404, post(of("x", `"code":1000,"reason":""`)))
	require.Equal(t, 400, post(of(s.ID(), `"code":1006,"reason":""`)))
	require.Equal(t, 400, post(of(s.ID(), `"code":1000,"reason":"`+strings.Repeat("x", 124)+`"`)))
	require.Equal(t, 400, post(of(s.ID(), `"code":1000,"reason":"`+strings.Repeat("x", 8192)+`"`)))
	require.Equal(t, 400, post(of(s.ID(), `"code":1000,"why":""`)))
	require.Equal(t, 400, post(""))
	require.NoError(t, s.Context().Err())
	require.Equal(t, 204, post(of(s.ID(), `"code":4001,"reason":"bye"`)))
	<-s.Context().Done()
	require.Contains(t, []int{404, 409}, post(of(s.ID(), `"code":4001,"reason":"bye"`)))
}

func TestAddPanics(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	_, e := stack(t, nil)
	ins.Add("e", e)
	require.Panics(t, func() { ins.Add("e", e) })
	require.Panics(t, func() { ins.Add("", e) })
	require.Panics(t, func() { ins.Add("f", nil) })
}

// deaf is a Conn that takes nothing, without a network.
type deaf struct{ transport.Conn }

func (deaf) Write([]transport.Message) (int, error)   { return 0, nil }
func (deaf) Close(transport.StatusCode, string) error { return nil }
func (deaf) SubProtocol() string                      { return "" }

// crowd opens n sessions of e, which has a transport that does nothing.
func crowd(t *testing.T, n int, name func(i int) string) (e *handler.Endpoint, closeAll func()) {
	i := 0
	e = handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindConnect {
			r.Session.SetUser(name(i))
		}
		return nil
	}), handler.WithSubProtocols(raw.New(nil)), handler.WithMaxSessions(n))
	all := make([]transport.Receiver, 0, n)
	for i = range n {
		a, err := e.Accept(&transport.Handshake{Path: "/ws", Header: http.Header{}, Context: t.Context()})
		require.NoError(t, err)
		all = append(all, a.Open(deaf{}))
	}
	return e, func() {
		for _, r := range all {
			r.Closed(&transport.EndError{Code: 1000, Err: transport.ErrLocalClose})
		}
		require.NoError(t, e.Shutdown(context.Background()))
	}
}
