package main

import (
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// The floor of servers with an event loop: one epoll, one buffer, one goroutine.
var epoll = row{
	Name: "tcp-epoll", Library: "golang.org/x/sys", Kind: "echo", Framing: "tcp",
	URL: "https://man7.org/linux/man-pages/man7/epoll.7.html", Limit: "none",
	Note:  "a floor, not a server: as tcp, without TLS; drops a client that doesn't read for 1 s",
	start: startEpoll,
}

func startEpoll(s site) (*server, error) {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	var lfd int
	if err := raw.Control(func(fd uintptr) { lfd = int(fd) }); err != nil {
		return nil, err
	}
	var all conns[int]
	go func() {
		defer runtime.KeepAlive(ln) // whose finalizer closes lfd
		epollLoop(ep, lfd, &all)
	}()
	return &server{addr: ln.Addr().String(), publish: func() error {
		all.each(func(fd int) { writeFD(fd, tcpPublication) })
		return nil
	}}, epollAdd(ep, lfd)
}

func epollLoop(ep, lfd int, all *conns[int]) {
	events, buf := make([]unix.EpollEvent, 256), make([]byte, 64<<10)
	for {
		n, _ := unix.EpollWait(ep, events, -1) // EINTR is the only error there can be
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) != lfd {
				epollEcho(int(e.Fd), buf, all)
			} else if fd, _, err := unix.Accept4(lfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
				all.add(fd)
				_ = epollAdd(ep, fd)
			}
		}
	}
}
