package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

func epollAdd(ep, fd int) error {
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// epollEcho answers what can be read at once, and closes fd at its end.
func epollEcho(fd int, buf []byte, all *conns[int]) {
	n, err := unix.Read(fd, buf)
	switch {
	case n > 0:
		writeFD(fd, buf[:n])
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
	default:
		all.remove(fd) // first: a publication must not meet the number's next owner
		_ = unix.Close(fd)
	}
}

// writeFD writes all of b, or ends the connection after waiting a second for room.
func writeFD(fd int, b []byte) {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 1000); n == 0 && err == nil {
				_ = unix.Shutdown(fd, unix.SHUT_RDWR)
				return
			}
		default:
			return // epoll reports it too
		}
	}
}
