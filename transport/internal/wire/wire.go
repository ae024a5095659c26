// Package wire writes to network connections without waiting for the peer, and
// reads from them without holding a buffer while nothing comes.
//
// A [Stream] is either the socket itself, TLS over a [Shim], or any other net.Conn,
// for which only blocking calls are left. The transports that speak a protocol of
// bytes share it.
package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// A Stream is the write half and the buffer-less read half of a connection.
type Stream interface {
	// TryWrite writes what there is room for now and returns how much that was.
	// It does one system call (TLS: one for each record) and never waits. A
	// blocking stream has never room.
	TryWrite(p []byte) (int, error)

	// WaitWrite waits until some of p is written, or, with an empty p, until
	// nothing is Pending. It waits for the peer: only a goroutine of
	// this connection may call it, and nobody may call TryWrite meanwhile.
	WaitWrite(p []byte) (int, error)

	// Pending reports whether bytes that TryWrite took have not left the process.
	Pending() bool

	// Blocking reports that TryWrite never takes anything.
	Blocking() bool

	// Read reads behind what b holds. It returns when there is at least one more
	// byte. While it waits for the first one of a frame, b holds no buffer.
	Read(b *Buffer) error

	// Conn is the connection to close and to set deadlines on.
	Conn() net.Conn
}

// New returns the best Stream for nc, which is connected and, if it is TLS, has
// done its handshake.
func New(nc net.Conn) Stream {
	if tc, ok := nc.(*tls.Conn); ok {
		if sh, ok := tc.NetConn().(*Shim); ok && sh.detach() {
			return &tlsStream{tc: tc, shim: sh}
		}
		return &blocking{nc: nc}
	}
	if sh, ok := nc.(*Shim); ok {
		nc = sh.Conn
	}
	if s := newSocket(nc); s != nil {
		return s
	}
	return &blocking{nc: nc}
}

// CloseWrite ends the write half of nc where it can be ended alone.
func CloseWrite(nc net.Conn) error {
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Socket is what nc lies on, below TLS and a Shim.
func Socket(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case *tls.Conn:
			nc = c.NetConn()
		case *Shim:
			nc = c.Conn
		default:
			return nc
		}
	}
}

// SetNotSentLowat bounds the bytes that the kernel keeps for a peer that does not
// read, where the system can.
func SetNotSentLowat(nc net.Conn, n int) {
	if sc, ok := Socket(nc).(syscall.Conn); ok && n > 0 {
		if rc, err := sc.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) { setNotSentLowat(fd, n) })
		}
	}
}

// blocking is the Stream of a connection that can only block.
type blocking struct {
	nc  net.Conn
	one [1]byte
}

func (s *blocking) TryWrite([]byte) (int, error) { return 0, nil }
func (s *blocking) Pending() bool                { return false }
func (s *blocking) Blocking() bool               { return true }
func (s *blocking) Conn() net.Conn               { return s.nc }
func (s *blocking) Read(b *Buffer) error         { return readBlocking(s.nc, &s.one, b) }

func (s *blocking) WaitWrite(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	// In pieces, so that a deadline bounds silence and not a large message.
	return s.nc.Write(p[:min(len(p), maxRecord)])
}

// readBlocking waits with a single byte in its hands unless more must come: only
// when that byte has come, a buffer is taken for what follows.
func readBlocking(nc net.Conn, one *[1]byte, b *Buffer) error {
	if b.Len() == 0 && !b.More {
		b.Park()
		n, err := nc.Read(one[:])
		if n == 0 {
			return noProgress(err)
		}
		b.append(one[:])
		return nil
	}
	n, err := nc.Read(b.room())
	b.w += n
	if n > 0 {
		return nil
	}
	return noProgress(err)
}

func noProgress(err error) error {
	if err == nil {
		return errors.New("read returned nothing")
	}
	return err
}

// tlsStream is TLS over a Shim.
type tlsStream struct {
	tc   *tls.Conn
	shim *Shim
	one  [1]byte
}

// maxRecord is how much is given to TLS at once: one record.
const maxRecord = 16 << 10

func (s *tlsStream) TryWrite(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if done, err := s.shim.tryFlush(); !done || err != nil {
			return written, err
		}
		n, err := s.tc.Write(p[written:min(len(p), written+maxRecord)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (s *tlsStream) WaitWrite(p []byte) (int, error) {
	if err := s.shim.waitFlush(); err != nil || len(p) == 0 {
		return 0, err
	}
	return s.tc.Write(p[:min(len(p), maxRecord)])
}

func (s *tlsStream) Pending() bool        { return s.shim.hasPending() }
func (s *tlsStream) Blocking() bool       { return false }
func (s *tlsStream) Conn() net.Conn       { return s.tc }
func (s *tlsStream) Read(b *Buffer) error { return readBlocking(s.tc, &s.one, b) }

// Past is a deadline that lets a call return at once.
var Past = time.Unix(1, 0)

// Deadline is the time t from now, none if t is not positive.
func Deadline(t time.Duration) time.Time {
	if t <= 0 {
		return time.Time{}
	}
	return time.Now().Add(t)
}
