//go:build unix

package wire

import (
	"io"
	"net"
	"syscall"
)

// socket is the Stream of a plain socket. Its callbacks do one system call and
// return: closing the connection waits for them.
type socket struct {
	nc net.Conn
	rc syscall.RawConn

	// Used by the writer. The func values are made once: one made for each call
	// would be an allocation.
	out      []byte
	outN     int
	outErr   error
	outWait  bool
	writeOut func(fd uintptr) bool

	// Used by the reader.
	in     *Buffer
	inErr  error
	readIn func(fd uintptr) bool
}

func newSocket(nc net.Conn) Stream {
	rc := rawConn(nc)
	if rc == nil {
		return nil
	}
	s := &socket{nc: nc, rc: rc}
	s.writeOut, s.readIn = s.writeFD, s.readFD
	return s
}

// rawConn returns the descriptor's access of a stream socket, nil for anything else.
func rawConn(nc net.Conn) syscall.RawConn {
	switch c := nc.(type) {
	case *net.TCPConn:
		rc, err := c.SyscallConn()
		if err != nil {
			return nil
		}
		return rc
	case *net.UnixConn:
		rc, err := c.SyscallConn()
		if err != nil || c.LocalAddr().Network() != "unix" {
			return nil
		}
		return rc
	}
	return nil
}

func (s *socket) Pending() bool  { return false }
func (s *socket) Blocking() bool { return false }
func (s *socket) Conn() net.Conn { return s.nc }

func (s *socket) TryWrite(p []byte) (int, error) { return s.write(p, false) }

func (s *socket) WaitWrite(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return s.write(p, true)
}

func (s *socket) write(p []byte, wait bool) (int, error) {
	s.out, s.outN, s.outErr, s.outWait = p, 0, nil, wait
	err := s.rc.Write(s.writeOut)
	s.out = nil
	if err == nil {
		err = s.outErr
	}
	return s.outN, err
}

func (s *socket) writeFD(fd uintptr) bool {
	s.outN, s.outErr = writeFD(fd, s.out)
	return s.outN > 0 || s.outErr != nil || !s.outWait
}

// writeFD writes once; no room is 0 without an error.
func writeFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}

func (s *socket) Read(b *Buffer) error {
	s.in, s.inErr = b, nil
	err := s.rc.Read(s.readIn)
	s.in = nil
	if err == nil {
		err = s.inErr
	}
	return err
}

// readFD always tries a read first, even after a short one: a FIN that came with
// the last data makes no second edge.
func (s *socket) readFD(fd uintptr) bool {
	room := s.in.room()
	for {
		n, err := syscall.Read(int(fd), room)
		switch {
		case n > 0:
			s.in.w += n
			return true
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			s.in.Park()
			return false
		case err == nil:
			s.inErr = io.EOF
			return true
		default:
			s.inErr = err
			return true
		}
	}
}
