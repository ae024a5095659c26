package wire

import "syscall"

const tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT, linux/tcp.h

func setNotSentLowat(fd uintptr, n int) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, n)
}
