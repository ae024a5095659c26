package gorilla

import (
	"bytes"
	"io"
	"net"
	"time"
)

// socket is the net.Conn that gorilla is given. During the handshake it is the
// connection itself; after it gorilla's writes end in memory and its reads come from
// what conn has read, so that gorilla never waits for a peer to take something.
type socket struct {
	net.Conn
	c *conn // nil during the handshake

	// foreign: gorilla writes of its own accord. It does so from the reading side, to
	// report a broken rule in a close frame; conn sends that one itself.
	// Guarded by gorilla's own lock, which it holds around a write and the deadline
	// before it.
	foreign bool

	// While a client's handshake is read.
	left  int  // how much may come
	line  bool // the last line has ended and the next one is empty so far
	done  bool // the answer's header has come
	early []byte
}

// SetWriteDeadline tells whose write comes next: those of conn have no deadline.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.c == nil {
		return s.Conn.SetWriteDeadline(t)
	}
	s.foreign = !t.IsZero()
	return nil
}

// Write implements net.Conn. Whoever makes gorilla write is in a Write of the conn.
func (s *socket) Write(p []byte) (int, error) {
	switch c := s.c; {
	case c == nil:
		return s.Conn.Write(p)
	case s.foreign:
	case c.borrow:
		c.borrowed = p
	default:
		c.out = append(c.out, p...)
	}
	return len(p), nil
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if s.c != nil {
		return s.c.readRaw(p)
	}
	if s.done && len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	if s.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	if end := s.headerEnd(p[:n]); end < n {
		// gorilla would keep what lies behind the header where the guard can't see it.
		s.early = bytes.Clone(p[end:n])
		return end, nil
	}
	return n, err
}

// headerEnd returns how much of p belongs to the header of the answer; once that has
// ended, all.
func (s *socket) headerEnd(p []byte) int {
	for i, b := range p {
		switch {
		case s.done:
			return len(p)
		case b == '\n' && s.line:
			s.done = true
			return i + 1
		case b == '\n':
			s.line = true
		case b != '\r':
			s.line = false
		}
	}
	return len(p)
}

// readRaw gives gorilla the next bytes that the guard lets pass.
func (c *conn) readRaw(p []byte) (int, error) {
	for c.refused == nil {
		if c.In.Len() == 0 {
			c.refused = c.Fill(c.guard.partial(), c.guard.ended)
			c.guard.ended = false
			continue
		}
		n := copy(p, c.In.Bytes())
		n, c.refused = c.guard.feed(p[:n])
		c.In.Consume(n)
		if n > 0 {
			return n, nil // what is sound may say more than what is not
		}
	}
	c.ioErr = c.refused
	return 0, c.ioErr
}

var _ net.Conn = (*socket)(nil)
