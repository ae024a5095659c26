package wire

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// maxPending bounds what a Shim keeps. One record is kept by TryWrite; TLS itself
// adds answers to key updates, which a hostile peer can ask for without reading.
const maxPending = 64 << 10

var errPending = errors.New("peer does not read what TLS must send")

// Shim stands between a socket and a library that can only block, such as
// crypto/tls. Until detach it passes everything through. After that its Write
// never waits: it sends what the socket takes and keeps the rest.
type Shim struct {
	net.Conn
	rc syscall.RawConn

	mu       sync.Mutex
	detached bool
	waiting  bool // waitFlush runs; it alone may touch the socket
	pending  []byte
	err      error
}

// NewShim wraps a socket. It returns nc itself where the system or the kind of
// connection has no non-blocking calls.
func NewShim(nc net.Conn) net.Conn {
	rc := rawConn(nc)
	if rc == nil {
		return nc
	}
	return &Shim{Conn: nc, rc: rc}
}

func (s *Shim) detach() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detached = true
	return true
}

// Write implements net.Conn.
func (s *Shim) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.detached {
		s.mu.Unlock()
		n, err := s.Conn.Write(p)
		s.mu.Lock()
		return n, err
	}
	if s.err != nil {
		return 0, s.err
	}
	sent := 0
	if len(s.pending) == 0 && !s.waiting {
		sent = s.send(p)
	}
	if s.err == nil && len(s.pending)+len(p)-sent > maxPending {
		s.err = errPending
	}
	if s.err != nil {
		return 0, s.err
	}
	s.pending = append(s.pending, p[sent:]...)
	return len(p), nil
}

// send writes once, without waiting. The caller holds s.mu.
func (s *Shim) send(p []byte) (n int) {
	err := s.rc.Write(func(fd uintptr) bool {
		n, s.err = writeFD(fd, p)
		return true
	})
	if s.err == nil {
		s.err = err
	}
	return n
}

// CloseWrite ends the write half of the socket.
func (s *Shim) CloseWrite() error { return CloseWrite(s.Conn) }

func (s *Shim) hasPending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0
}

// tryFlush sends what is pending, without waiting, and reports whether nothing is
// left.
func (s *Shim) tryFlush() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0 && s.err == nil && !s.waiting {
		s.drop(s.send(s.pending))
	}
	return len(s.pending) == 0, s.err
}

// waitFlush waits until all that is pending is sent.
func (s *Shim) waitFlush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = true
	defer func() { s.waiting = false }()
	for len(s.pending) > 0 && s.err == nil {
		s.mu.Unlock()
		err := s.rc.Write(func(fd uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			n, err := writeFD(fd, s.pending)
			s.drop(n)
			s.err = err
			return n > 0 || err != nil
		})
		s.mu.Lock()
		if s.err == nil {
			s.err = err
		}
	}
	return s.err
}

func (s *Shim) drop(n int) {
	s.pending = s.pending[n:]
	if len(s.pending) == 0 {
		s.pending = nil
	}
}
