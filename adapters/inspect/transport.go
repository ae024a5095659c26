package inspect

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
)

// Transport returns t with connections whose frames can be seen: give it to the
// endpoint in place of t. Put it around the outermost transport, so that what is seen is what
// the sub-protocol said and not, say, SockJS's frames. It costs one atomic load for each
// Receive and each Write of a session that nobody watches, and 48 bytes a connection.
//
// The result has the optional interfaces that t has. What t's Dialer connects is not seen.
// Transport panics without t.
func (i *Inspector) Transport(t transport.Transport) transport.Transport {
	if t == nil {
		panic("inspect: Transport without a transport")
	}
	w := wrapped{t}
	ls, serves := transport.As[transport.ListenerServer](t)
	b, binds := transport.As[transport.Binder](t)
	switch {
	case serves && binds:
		return struct {
			wrapped
			server
			binder
		}{w, server{ls}, binder{b}}
	case serves:
		return struct {
			wrapped
			server
		}{w, server{ls}}
	case binds:
		return struct {
			wrapped
			binder
		}{w, binder{b}}
	}
	return w
}

// wrapped is a Transport that puts a conn around each connection that it accepts.
type wrapped struct{ inner transport.Transport }

var _ transport.Transport = wrapped{}

func (w wrapped) Name() string                 { return w.inner.Name() }
func (w wrapped) Features() transport.Features { return w.inner.Features() }
func (w wrapped) Unwrap() transport.Transport  { return w.inner }
func (w wrapped) ServeHTTP(rw http.ResponseWriter, r *http.Request, a transport.Acceptor) {
	w.inner.ServeHTTP(rw, r, acceptor{a})
}

type server struct{ ls transport.ListenerServer }

func (s server) Serve(ctx context.Context, ln net.Listener, a transport.Acceptor) error {
	return s.ls.Serve(ctx, ln, acceptor{a})
}

type binder struct{ b transport.Binder }

func (b binder) Bind(a transport.Acceptor) {
	if a == nil {
		b.b.Bind(nil)
		return
	}
	b.b.Bind(acceptor{a})
}

// acceptor is a value and not a pointer, so that two around the same Acceptor are equal.
type acceptor struct{ inner transport.Acceptor }

func (a acceptor) Unwrap() transport.Acceptor { return a.inner }

func (a acceptor) Accept(h *transport.Handshake) (transport.Admission, error) {
	adm, err := a.inner.Accept(h)
	if err != nil || adm == nil {
		return nil, err
	}
	return admission{adm}, nil
}

type admission struct{ transport.Admission }

func (a admission) Open(inner transport.Conn) transport.Receiver {
	c := &conn{Conn: inner}
	c.receiver = a.Admission.Open(c)
	return (*receiver)(c)
}

// conn is the Conn that the session has, and the Receiver that the transport has.
type conn struct {
	transport.Conn
	receiver transport.Receiver       // set before the transport has a Receiver
	watches  atomic.Pointer[[]*watch] // nil if nobody watches; what it points to is immutable
	mu       sync.Mutex               // held to change watches
}

func (c *conn) Unwrap() transport.Conn { return c.Conn }

func (c *conn) Write(batch []transport.Message) (int, error) {
	ws := c.watches.Load()
	if ws == nil {
		return c.Conn.Write(batch)
	}
	now := time.Now()
	n, err := c.Conn.Write(batch)
	for k := range batch[:n] {
		record(*ws, true, now, &batch[k])
	}
	return n, err
}

// receiver keeps what a transport calls out of conn's methods.
type receiver conn

func (r *receiver) Writable()        { r.receiver.Writable() }
func (r *receiver) Closed(err error) { r.receiver.Closed(err) }
func (r *receiver) Receive(m transport.Message) {
	if ws := r.watches.Load(); ws != nil {
		record(*ws, false, time.Now(), &m)
	}
	r.receiver.Receive(m)
}

func (c *conn) attach(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*watch
	if ws := c.watches.Load(); ws != nil {
		all = slices.Clone(*ws)
	}
	all = append(all, w)
	c.watches.Store(&all)
}

func (c *conn) detach(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(*c.watches.Load()), func(o *watch) bool { return o == w })
	if len(all) == 0 {
		c.watches.Store(nil)
		return
	}
	c.watches.Store(&all)
}
