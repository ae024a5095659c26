package sockjs

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

// narrow is a WebSocket that takes nothing unless it has room.
type narrow struct {
	mu   sync.Mutex
	room bool
	over bool
	log  []string
}

func (n *narrow) Write(batch []transport.Message) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.over:
		return 0, net.ErrClosed
	case !n.room:
		return 0, nil
	}
	n.log = append(n.log, string(batch[0].Data))
	return 1, nil
}

func (n *narrow) Close(_ transport.StatusCode, reason string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, "closed: "+reason)
	return nil
}

func (n *narrow) SubProtocol() string { return "" }

// The close frame waits for room, for a while; who can't have it has the WebSocket's.
func TestCloseFrameWaitsForRoom(t *testing.T) {
	t.Parallel()
	const frame = `c[3000,"bye"]`
	for _, tt := range []struct {
		name string
		then func(f *framed, n *narrow)
		log  []string
		took time.Duration
	}{
		{"room", func(f *framed, n *narrow) { n.room = true; f.Writable() }, []string{frame, "closed: bye"}, 0},
		{"room at the third time", func(f *framed, n *narrow) {
			f.Writable()
			synctest.Wait()
			f.Writable()
			synctest.Wait()
			require.Empty(t, n.log)
			n.room = true
			f.Writable()
			f.Writable()
		}, []string{frame, "closed: bye"}, 0},
		{"none", func(f *framed, _ *narrow) { f.Writable() }, []string{"closed: bye"}, time.Minute},
		{"an error", func(f *framed, n *narrow) { n.over = true; f.Writable() }, []string{"closed: bye"}, 0},
		{"the end", func(f *framed, n *narrow) { n.over = true; f.Closed(net.ErrClosed) }, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &narrow{}
				f := &framed{inner: n, framing: &serverFraming, patience: time.Minute, buffers: new(buffers)}
				p := &peer{app: &app{}, closed: make(chan error, 1)}
				f.in.open(p.Open(f))
				began := time.Now()
				require.NoError(t, f.Close(3000, "bye"))
				synctest.Wait()
				require.Empty(t, n.log)
				require.ErrorIs(t, f.Close(3000, "again"), net.ErrClosed)
				tt.then(f, n)
				synctest.Wait()
				time.Sleep(tt.took)
				synctest.Wait()
				require.Equal(t, tt.log, n.log)
				require.Equal(t, tt.took, time.Since(began))
				if tt.name != "the end" {
					f.Closed(&transport.EndError{Code: 3000, Err: transport.ErrLocalClose})
				}
				require.Error(t, <-p.closed)
			})
		})
	}
}

// A server that closes at once says so in a frame, also where writing takes a goroutine:
// over the TLS of net/http.
func TestCloseFrameOverTLS(t *testing.T) {
	t.Parallel()
	for _, ws := range []transport.Transport{gobwas.New(nil), gorilla.New(nil)} {
		t.Run(ws.Name(), func(t *testing.T) {
			t.Parallel()
			app := &app{open: func(p *peer) { _ = p.conn.Close(3000, "Go away!") }}
			hs := httptest.NewTLSServer(Mount("/close", endpoint(New(ws, nil), app), nil))
			t.Cleanup(hs.Close)
			config := hs.Client().Transport.(*http.Transport).TLSClientConfig
			l := dial(t, gobwas.New(nil), "wss"+hs.URL[len("https"):]+"/close/0/0/websocket", &transport.DialConfig{TLS: config})
			l.takes("o", `c[3000,"Go away!"]`)
			said, ok := errors.AsType[*transport.CloseError](l.ended())
			require.True(t, ok)
			require.Equal(t, transport.CloseError{Code: 3000, Reason: "Go away!"}, *said)
		})
	}
}
