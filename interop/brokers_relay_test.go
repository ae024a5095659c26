package interop

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay stands between clients and a server, and can be a bad network.
type relay struct {
	addr string
	to   string
	ln   net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex
	frozen chan struct{} // closed when the network works
	conns  []net.Conn

	up chan struct{} // has room for one: a client has sent something
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{addr: ln.Addr().String(), to: to, ln: ln, frozen: make(chan struct{}), up: make(chan struct{}, 1)}
	close(r.frozen)
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		r.thaw()
		r.cut()
		r.wg.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		a, err := r.ln.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, a, b)
		r.mu.Unlock()
		r.wg.Go(func() { r.pump(b, a, r.up) })
		r.wg.Go(func() { r.pump(a, b, nil) })
	}
}

// pump copies, and tells came.
func (r *relay) pump(to, from net.Conn, came chan<- struct{}) {
	defer to.Close()
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		select {
		case came <- struct{}{}:
		default:
		}
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		<-frozen
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// freeze lets nothing through any more, and ends nothing.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = make(chan struct{})
}

// thaw takes freeze back.
func (r *relay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.frozen:
	default:
		close(r.frozen)
	}
}
