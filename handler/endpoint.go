package handler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// ErrShutdown is why Endpoint.Shutdown ends sessions, and what Endpoint.Serve
// returns once it has begun.
var ErrShutdown = errors.New("handler: endpoint is shut down")

// Endpoint composes a transport, sub-protocols, codecs and a handler into an
// http.Handler. It has the limits and all that its sessions share; its workers
// and timers run only while there is something to do. It is safe for concurrent
// use.
type Endpoint struct {
	transport          transport.Transport
	handler            Handler
	outbound           Sender // nil without WithOutbound
	cfg                config
	protocols          []*protocol
	byName             map[string]*protocol
	unknownSubProtocol string

	sessions    Sessions
	flusher     flusher
	watchdog    watchdog
	pools       pools
	tallies     map[string]*tallies // by what is announced
	counts      counts
	queuedBytes atomic.Int64

	quit     context.Context // done when Shutdown begins
	stop     context.CancelFunc
	down     chan struct{} // closed when the first Shutdown returns
	downOnce sync.Once
}

var (
	_ http.Handler            = (*Endpoint)(nil)
	_ transport.Acceptor      = (*Endpoint)(nil)
	_ transport.OriginChecker = (*Endpoint)(nil)
)

// NewEndpoint makes an endpoint. WithSubProtocols is required. It panics if the
// parts don't fit: no transport or handler, no sub-protocol or two of one name, one
// without names that is not the first and so could never be chosen, or a
// sub-protocol that needs the boundaries of messages on a transport that keeps
// none. A transport whose connections come from inside the process is bound
// to the endpoint.
func NewEndpoint(t transport.Transport, h Handler, opts ...Option) *Endpoint {
	if t == nil {
		panic("handler: NewEndpoint without a transport")
	}
	if h == nil {
		panic("handler: NewEndpoint without a handler")
	}
	e := &Endpoint{transport: t, cfg: defaults(), down: make(chan struct{})}
	for _, o := range opts {
		o.apply(&e.cfg)
	}
	e.setSubProtocols()
	for _, m := range slices.Backward(e.cfg.middleware) {
		if h = m(h); h == nil {
			panic("handler: a middleware returned no handler")
		}
	}
	e.handler = h
	if len(e.cfg.outbound) > 0 {
		e.outbound = outbound{}
	}
	for _, m := range slices.Backward(e.cfg.outbound) {
		if e.outbound = m(e.outbound); e.outbound == nil {
			panic("handler: an outbound middleware returned no Sender")
		}
	}
	e.sessions = Sessions{
		max:  e.cfg.maxSessions,
		byID: make(map[string]*Session), users: make(map[string]*Session), keys: make(map[string]int),
		idle: make(chan struct{}),
	}
	e.flusher.max = e.cfg.flushWorkers
	e.watchdog.period = e.cfg.slow
	e.quit, e.stop = context.WithCancel(context.Background())
	if b, ok := transport.As[transport.Binder](t); ok {
		b.Bind(e)
	}
	return e
}

// protocol is a sub-protocol that an endpoint was given.
type protocol struct {
	subprotocol.SubProtocol

	// identity tells it from others, and is comparable: the SubProtocol itself, so
	// that endpoints which were given the same one share what it encodes, or the
	// place of this entry where comparing that would panic.
	identity any
}

func newProtocol(sp subprotocol.SubProtocol) *protocol {
	p := &protocol{SubProtocol: sp, identity: sp}
	if !reflect.ValueOf(sp).Comparable() {
		p.identity = p
	}
	return p
}

// setSubProtocols checks them and fills what negotiate needs.
func (e *Endpoint) setSubProtocols() {
	if len(e.cfg.subProtocols) == 0 {
		panic("handler: NewEndpoint without a sub-protocol: see WithSubProtocols")
	}
	e.byName = make(map[string]*protocol)
	e.tallies = map[string]*tallies{"": newTallies()}
	var names []string
	check := func(name string, sp subprotocol.SubProtocol) {
		f := sp.NewFramer(name, e.framerConfig())
		if f.Features().Boundaries && !e.transport.Features().Boundaries {
			panic(fmt.Sprintf("handler: sub-protocol %q needs the boundaries of messages, which transport %q does not keep",
				name, e.transport.Name()))
		}
		if f.Features().Binary && !e.transport.Features().Binary {
			panic(fmt.Sprintf("handler: sub-protocol %q needs binary messages, which transport %q does not carry",
				name, e.transport.Name()))
		}
	}
	for i, sp := range e.cfg.subProtocols {
		if sp == nil {
			panic("handler: WithSubProtocols: nil")
		}
		p := newProtocol(sp)
		e.protocols = append(e.protocols, p)
		own := sp.Names()
		if i > 0 && len(own) == 0 {
			panic(fmt.Sprintf("handler: sub-protocol %d of %d has no names: clients that ask for none get the first, so no client can get it",
				i+1, len(e.cfg.subProtocols)))
		}
		for _, name := range own {
			if _, ok := e.byName[name]; ok || name == "" {
				panic(fmt.Sprintf("handler: two sub-protocols have the name %q, or it is empty", name))
			}
			check(name, sp)
			e.byName[name] = p
			e.tallies[name] = newTallies()
			names = append(names, fmt.Sprintf("%q", name))
		}
		if i == 0 {
			check("", sp)
		}
	}
	e.unknownSubProtocol = "none of the offered sub-protocols is known here"
	if len(names) > 0 {
		e.unknownSubProtocol += "; there is " + strings.Join(names, ", ")
	}
}

func (e *Endpoint) framerConfig() subprotocol.FramerConfig {
	return subprotocol.FramerConfig{TextOnly: !e.transport.Features().Binary, MaxFrame: e.cfg.maxFrame}
}

// codec finds a codec by content type.
func (e *Endpoint) codec(contentType string) codec.Codec {
	if len(e.cfg.codecs) == 0 {
		return nil
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	if media == "" {
		return e.cfg.codecs[0]
	}
	for _, c := range e.cfg.codecs {
		if strings.EqualFold(c.ContentType(), media) {
			return c
		}
	}
	return nil
}

// ServeHTTP answers a request through the transport. It returns once the
// connection is taken over.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.transport.ServeHTTP(w, r, e) }

// Serve accepts connections from ln until ctx is done, ln fails, or Shutdown
// begins, and closes ln. It returns nil when ctx ended it, ErrShutdown when
// Shutdown did and has returned, else the listener's error. Sessions live on.
//
// It is for transports that are a transport.ListenerServer; with any other it
// returns an error at once.
func (e *Endpoint) Serve(ctx context.Context, ln net.Listener) error {
	ls, ok := transport.As[transport.ListenerServer](e.transport)
	if !ok {
		_ = ln.Close()
		return fmt.Errorf("handler: transport %q can't serve a listener; mount the endpoint on an http.Server", e.transport.Name())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.quit, cancel)()
	err := ls.Serve(ctx, ln, e)
	if e.quit.Err() != nil {
		<-e.down
		return ErrShutdown
	}
	if err != nil {
		return fmt.Errorf("handler: serve: %w", err)
	}
	return nil
}

// Transport is what the endpoint was made with.
func (e *Endpoint) Transport() transport.Transport { return e.transport }

// Sessions are the sessions that there are.
func (e *Endpoint) Sessions() *Sessions { return &e.sessions }

// Shutdown admits nothing more (503 with Retry-After), closes all sessions with
// status 1001, spread over a short time, and waits until they have ended and their
// last messages are handled. It returns nil then.
//
// When ctx ends earlier, what remains is closed without sending what is queued,
// the contexts of those sessions end, and the error unwraps to that of ctx and
// says how many there were. Shutdown can't be undone; a second one waits too.
//
// http.Server.Shutdown does not know of the sessions, because their connections
// were taken over from it. Call it besides, after this one.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	idle := e.sessions.shut()
	e.stop()
	defer e.downOnce.Do(func() { close(e.down) })
	e.closeAll(ctx, idle)
	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	n := e.sessions.remaining()
	for _, s := range e.sessions.snapshot() {
		_ = s.end(transport.StatusGoingAway, "shutting down", ErrShutdown, true)
		s.cancel(&transport.EndError{Code: transport.StatusGoingAway, Err: ErrShutdown})
	}
	return fmt.Errorf("handler: shutdown: sessions remain: %d: %w", n, ctx.Err())
}

// closeAll closes the sessions, spread over time, and stops early when ctx ends or
// none is left.
func (e *Endpoint) closeAll(ctx context.Context, idle <-chan struct{}) {
	const step = 10 * time.Millisecond
	all := e.sessions.snapshot()
	spread := e.cfg.shutdownSpread
	if deadline, ok := ctx.Deadline(); ok {
		spread = min(spread, time.Until(deadline)/2)
	}
	steps := max(1, int(spread/step))
	var tick *time.Ticker
	done := 0
	for i := range steps {
		// Rounded up: few sessions don't wait for the last step.
		upTo := (len(all)*(i+1) + steps - 1) / steps
		for ; done < upTo; done++ {
			// An error says that the session is ending already.
			all[done].explain(transport.StatusGoingAway, "shutting down")
			_ = all[done].end(transport.StatusGoingAway, "shutting down", ErrShutdown, false)
		}
		if done == len(all) {
			return
		}
		if tick == nil {
			tick = time.NewTicker(step)
			defer tick.Stop()
		}
		select {
		case <-tick.C:
		case <-idle:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ended lets go of a session that was open.
func (e *Endpoint) ended(s *Session) {
	e.counts.ended.Add(1)
	e.tell(func(h *Hooks) {
		if h.Close != nil {
			h.Close(s, context.Cause(s.ctx))
		}
	})
	e.sessions.release(s)
}

// tell has f call a hook of each Hooks.
func (e *Endpoint) tell(f func(*Hooks)) {
	for i := range e.cfg.hooks {
		e.callHook(func() { f(&e.cfg.hooks[i]) })
	}
}

// callHook calls f, which calls a hook. A panic is counted, and told to nobody, as
// hooks are who would be told.
func (e *Endpoint) callHook(f func()) {
	defer func() {
		if v := recover(); v != nil {
			e.counts.panics.Add(1)
		}
	}()
	f()
}

// panicked counts the panic v of the application, a Goexit if v is nil, and tells
// the hook.
func (e *Endpoint) panicked(s *Session, v any) {
	if v == nil {
		v = errGoexit
	}
	e.counts.panics.Add(1)
	var stack []byte
	if len(e.cfg.hooks) > 0 {
		stack = debug.Stack()
	}
	e.tell(func(h *Hooks) {
		if h.Panic != nil {
			h.Panic(s, v, stack)
		}
	})
}
