//go:build !unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// Without non-blocking calls on a descriptor every connection is a blocking one.
func newSocket(net.Conn) Stream { return nil }

func rawConn(net.Conn) syscall.RawConn { return nil }

func writeFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
