package transporttest_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/transporttest"
)

// A fault is a pipe in which something is done wrong: a nil field does what the
// pipe does. Faults touch buffers only where the kit can't touch them at the same
// time, so that the race detector finds nothing but real races.
type fault struct {
	name  string
	check string // the rule to check, if it is not the one that is broken
	rule  string // the rule that is broken

	options   func(*pipe.Options)
	open      func(s *side)
	write     func(s *side, batch []transport.Message) (int, error)
	close     func(s *side, code transport.StatusCode, reason string) error
	sub       func(s *side) string
	receive   func(s *side, m transport.Message)
	writable  func(s *side)
	closed    func(s *side, err error)
	yield     func(s *side) bool
	pause     func(s *side)
	ping      func(ctx context.Context, s *side) (time.Duration, error)
	cut       func(s *side)
	handshake func(h *transport.Handshake)
	abort     func(err error)
	dial      func(c transport.Conn, err error, open func(transport.Conn) transport.Receiver) (transport.Conn, error)
}

// side is one end of a faulty pipe: Conn for the kit, Receiver for the pipe.
type side struct {
	*pipe.Conn
	f    *fault
	r    transport.Receiver
	name string
	stop chan struct{} // closed when the test ends

	mu        sync.Mutex
	peer      *side // nil for the server until the client is there
	count     int
	flag      bool
	held      []transport.Message
	current   []byte        // what Receive was given
	receiving int           // Receives that run
	change    chan struct{} // closed and replaced whenever one of the others changes
	cross     chan struct{} // the same on both sides
}

func (s *side) Unwrap() transport.Conn { return s.Conn }

func (s *side) Write(batch []transport.Message) (int, error) {
	if s.f.write != nil {
		return s.f.write(s, batch)
	}
	return s.Conn.Write(batch)
}

func (s *side) Close(code transport.StatusCode, reason string) error {
	if s.f.close != nil {
		return s.f.close(s, code, reason)
	}
	return s.Conn.Close(code, reason)
}

func (s *side) SubProtocol() string {
	if s.f.sub != nil {
		return s.f.sub(s)
	}
	return s.Conn.SubProtocol()
}

func (s *side) Yield() bool {
	if s.f.yield != nil {
		return s.f.yield(s)
	}
	return s.Conn.Yield()
}

func (s *side) Pause() {
	if s.f.pause != nil {
		s.f.pause(s)
		return
	}
	s.Conn.Pause()
}

func (s *side) Ping(ctx context.Context) (time.Duration, error) {
	if s.f.ping != nil {
		return s.f.ping(ctx, s)
	}
	return s.Conn.Ping(ctx)
}

func (s *side) Receive(m transport.Message) {
	s.mu.Lock()
	s.receiving++
	s.mu.Unlock()
	if s.f.receive != nil {
		s.f.receive(s, m)
	} else {
		s.r.Receive(m)
	}
	s.mu.Lock()
	s.receiving--
	s.changed()
	s.mu.Unlock()
}

func (s *side) Writable() {
	if s.f.writable != nil {
		s.f.writable(s)
		return
	}
	s.r.Writable()
}

func (s *side) Closed(err error) {
	if s.f.closed != nil {
		s.f.closed(s, err)
		return
	}
	s.r.Closed(err)
}

// changed wakes wait. The lock is held.
func (s *side) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// wait waits until cond, asked under the lock, holds or the test ends.
func (s *side) wait(cond func() bool) {
	for {
		s.mu.Lock()
		ok, change := cond(), s.change
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-s.stop:
			return
		}
	}
}

// next counts.
func (s *side) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	return s.count
}

func (s *side) is() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flag
}

// set sets the flag and returns what it was.
func (s *side) set(to bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.flag
	s.flag = to
	s.changed()
	return was
}

// other is the side at the other end, nil before there is one.
func (s *side) other() *side {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// keep puts messages aside, with the slices of the caller, and returns those that
// were there.
func (s *side) keep(batch ...transport.Message) []transport.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.held
	s.held = slices.Clone(batch)
	return before
}

func clone(m transport.Message) transport.Message {
	return transport.Message{Type: m.Type, Data: slices.Concat(m.Head, m.Data)}
}

// faulty is the pipe of a fault as Acceptor, Admission and Dialer.
type faulty struct {
	*pipe.Transport
	f    *fault
	a    transport.Acceptor
	stop chan struct{}

	mu     sync.Mutex
	server *side // the latest one
}

// factory makes pipes with that fault. Closing stop lets go of what the fault holds.
func (f *fault) factory(stop chan struct{}) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		o := pipe.Options{MaxMessageSize: s.MaxMessageSize, CloseTimeout: s.CloseTimeout}
		if f.options != nil {
			f.options(&o)
		}
		t := &faulty{Transport: pipe.New(&o), f: f, a: s.Acceptor, stop: stop}
		t.Bind(t)
		return &transporttest.Server{Dialer: t, URL: "pipe://host/", Cut: func(c transport.Conn) {
			if f.cut != nil {
				f.cut(c.(*side))
				return
			}
			c.(*side).Cut()
		}}, nil
	}
}

func (t *faulty) side(name string, c transport.Conn) *side {
	return &side{Conn: c.(*pipe.Conn), f: t.f, name: name, stop: t.stop, change: make(chan struct{}), cross: make(chan struct{})}
}

func (t *faulty) Accept(h *transport.Handshake) (transport.Admission, error) {
	if t.f.handshake != nil {
		c := *h
		h = &c
		t.f.handshake(h)
	}
	adm, err := t.a.Accept(h)
	if err != nil {
		return nil, err
	}
	return faultyAdmission{adm, t}, nil
}

type faultyAdmission struct {
	transport.Admission
	t *faulty
}

func (a faultyAdmission) Open(c transport.Conn) transport.Receiver {
	s := a.t.side("server", c)
	a.t.mu.Lock()
	a.t.server = s
	a.t.mu.Unlock()
	return s.begin(a.Admission.Open)
}

func (a faultyAdmission) Abort(err error) {
	if a.t.f.abort != nil {
		a.t.f.abort(err)
		return
	}
	a.Admission.Abort(err)
}

// begin gives the receiver of the kit to s.
func (s *side) begin(open func(transport.Conn) transport.Receiver) transport.Receiver {
	if s.f.open != nil {
		s.f.open(s)
	}
	s.r = open(s)
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	return s
}

func (t *faulty) Dial(
	ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	var client *side
	_, err := t.Transport.Dial(ctx, rawURL, cfg, func(c transport.Conn) transport.Receiver {
		client = t.side("client", c)
		t.mu.Lock()
		server := t.server
		t.mu.Unlock()
		client.peer, client.cross = server, server.cross
		server.mu.Lock()
		server.peer = client
		server.mu.Unlock()
		return client.begin(open)
	})
	if t.f.dial != nil {
		return t.f.dial(client, err, open)
	}
	if err != nil {
		return nil, err
	}
	return client, nil
}

// damage overwrites the bytes that Receive of s was given.
func (s *side) damage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.current {
		s.current[i] = '!'
	}
}

// lend calls Receive with a copy of m that damage finds.
func (s *side) lend(m transport.Message) {
	m.Data = bytes.Clone(m.Data)
	s.mu.Lock()
	s.current = m.Data
	s.mu.Unlock()
	s.r.Receive(m)
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
}
