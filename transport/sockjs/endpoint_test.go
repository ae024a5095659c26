package sockjs

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

func nothing(context.Context, handler.Request) error { return nil }

// A sub-protocol that is not text is refused when the endpoint is made, and the text says
// what is wrong.
func TestBinarySubProtocol(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, `handler: sub-protocol "v1.msgpack.weft" needs binary messages, which transport "sockjs" does not carry`, func() {
		handler.NewEndpoint(New(engines["gobwas"](), nil), handler.HandlerFunc(nothing), handler.WithSubProtocols(envelope.NewMsgpack(nil)))
	})
}

// Where the sub-protocol has heartbeats of its own, a stream has no others; where it has
// none, or less often, it has the protocol's.
func TestSubProtocolHeartbeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		wish string // of the client, in milliseconds
		own  int    // of STOMP in two minutes, at least
		h    int    // of SockJS, at least; 0 is none
	}{{"its own", "10000", 12, 0}, {"none", "0", 0, 4}, {"rarely", "50000", 2, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := New(nil, nil)
				ep := handler.NewEndpoint(tr, handler.HandlerFunc(nothing), handler.WithSubProtocols(stomp.New(nil)), handler.WithHeartbeat(time.Second, 0))
				b := &bench{tr, t, nil}
				w, cancel, done := b.callOn(ep, "/0/a/xhr_streaming", "")
				synctest.Wait()
				connect := fmt.Sprintf(`["CONNECT\naccept-version:1.2\nhost:h\nheart-beat:0,%s\n\n\u0000"]`, tt.wish)
				_, _, sent := b.callOn(ep, "/0/a/xhr_send", connect)
				<-sent
				synctest.Wait()
				require.Contains(t, w.take(), "CONNECTED")
				time.Sleep(2*time.Minute + time.Second)
				synctest.Wait()
				got := w.take()
				require.GreaterOrEqual(t, strings.Count(got, "a[\"\\n\"]\n"), tt.own, got)
				h := strings.Count(got, "h\n")
				require.GreaterOrEqual(t, h, tt.h, got)
				require.Equal(t, tt.h == 0, h == 0, got)
				cancel()
				<-done
				time.Sleep(10 * time.Second)
				require.NoError(t, ep.Shutdown(t.Context()))
			})
		})
	}
}

// Sessions are limited by key too, and those that have ended make room.
func TestSessionsPerKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := New(nil, nil)
		ep := handler.NewEndpoint(tr, handler.HandlerFunc(nothing), handler.WithSubProtocols(stomp.New(nil)),
			handler.WithSessionsPerKey(2, func(_ *handler.Session, h *transport.Handshake) string { return h.Header.Get("X-Key") }))
		require.Equal(t, 200, ask(ep, "POST", "/0/a/xhr", "X-Key", "k").Code)
		require.Equal(t, 200, ask(ep, "GET", "/0/b/jsonp?c=x", "X-Key", "k").Code)
		for _, path := range []string{"/0/c/xhr", "/0/d/xhr_streaming"} {
			require.Equal(t, http.StatusTooManyRequests, ask(ep, "POST", path, "X-Key", "k").Code)
		}
		require.Equal(t, 200, ask(ep, "POST", "/0/c/xhr", "X-Key", "l").Code)
		require.Equal(t, 3, tr.Stats().Sessions) // what was refused is not kept
		time.Sleep(6 * time.Second)
		require.Equal(t, 200, ask(ep, "POST", "/0/c/xhr", "X-Key", "k").Code)
		time.Sleep(6 * time.Second)
		require.NoError(t, ep.Shutdown(t.Context()))
	})
}

// Sessions that are opened and never polled cost no goroutine, and end on their own timers.
func TestNeverPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 2000
		tr := New(nil, nil)
		a := &app{peers: make(chan *peer, many), open: func(p *peer) { p.send("x") }}
		h := endpoint(tr, a)
		before := runtime.NumGoroutine()
		for i := range many {
			require.Equal(t, 200, ask(h, "POST", fmt.Sprintf("/0/%d/xhr", i)).Code)
		}
		synctest.Wait()
		require.Less(t, runtime.NumGoroutine(), before+many/2) // of other tests, which run besides
		require.Equal(t, many, tr.Stats().Sessions)
		require.Equal(t, many, tr.Stats().Legs["xhr"].Open)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for range many {
			require.ErrorIs(t, <-(<-a.peers).closed, transport.ErrTimeout)
		}
		require.Zero(t, tr.Stats().Sessions)
		require.Zero(t, tr.Stats().Legs["xhr"].Open)
	})
}

// A send request that races with a close is taken or not, and answered at once.
func TestSendRacesClose(t *testing.T) {
	t.Parallel()
	tr := New(nil, nil)
	taken := 0
	for i := range 300 {
		got := make(chan struct{}, 1)
		a := &app{peers: make(chan *peer, 1), receive: func(*peer, transport.Message) { got <- struct{}{} }}
		h := endpoint(tr, a)
		path := fmt.Sprintf("/0/%d", i)
		require.Equal(t, 200, ask(h, "POST", path+"/xhr").Code)
		p := <-a.peers
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.conn.Close(3000, "Go away!") })
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", path+"/xhr_send", strings.NewReader(`["x"]`)))
		wg.Wait()
		require.Contains(t, []int{204, 404}, w.Code)
		require.Equal(t, goneAway, ask(h, "POST", path+"/xhr").Body.String())
		require.ErrorIs(t, p.ended(t), transport.ErrLocalClose)
		taken += len(got)
		if w.Code == 404 {
			require.Empty(t, got)
		}
		require.Equal(t, 404, ask(h, "POST", path+"/xhr_send").Code)
	}
	t.Logf("%d of 300 were taken", taken)
	tr.leavesNothing(t)
}

// Each path says which methods it has.
func TestMethods(t *testing.T) {
	t.Parallel()
	h := endpoint(New(engines["gobwas"](), &Options{ClientURL: clientURL}), &app{})
	for path, allow := range map[string]string{
		"": "GET", "/": "GET", "/info": "OPTIONS, GET", "/iframe.html": "GET", "/websocket": "GET", "/0/a/websocket": "GET",
		"/0/a/xhr": "OPTIONS, POST", "/0/a/xhr_streaming": "OPTIONS, POST", "/0/a/xhr_send": "OPTIONS, POST",
		"/0/a/eventsource": "GET", "/0/a/htmlfile": "GET", "/0/a/jsonp": "GET", "/0/a/jsonp_send": "POST",
	} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "HEAD", "TRACE", "X"} {
			w := ask(h, method, "http://h"+path)
			require.Equal(t, 405, w.Code, "%s %s", method, path)
			require.Equal(t, allow, w.Header().Get("Allow"), path)
			require.Empty(t, w.Body.String())
			require.Empty(t, w.Header().Get("Content-Type"))
		}
	}
}

// Nothing that a side says can end a line of the other's.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = "a\r\n\r\ndata: x\n\x00\u2028\u2029"
		a := &app{open: func(p *peer) {
			p.send(text)
			_ = p.conn.Close(3000, text)
		}}
		h := endpoint(New(nil, nil), a)
		for _, way := range waysToReceive {
			path := "/0/" + way.leg + "/" + way.leg + way.query
			got := ""
			for range 3 {
				got += ask(h, way.method, path).Body.String()
			}
			require.Contains(t, got, way.wrap(`c[3000,"a\r\n\r\ndata: x\n\u0000\u2028\u2029"]`))
			require.NotContains(t, got, "data: x\n")
			require.NotContains(t, got, "\u2028")
		}
		for _, id := range []string{"a%0d%0aX-Y:z", "a%0a", "%0d", "a%00", "a%7f"} {
			require.Equal(t, 404, ask(h, "POST", "/0/"+id+"/xhr").Code)
			require.Equal(t, 404, ask(h, "POST", "/"+id+"/a/xhr").Code)
		}
		w := ask(h, "OPTIONS", "/0/a/xhr", "Access-Control-Request-Headers", "a\r\nX-Y: z")
		require.Empty(t, w.Header().Get("Access-Control-Allow-Headers"))
		time.Sleep(time.Minute)
	})
}
