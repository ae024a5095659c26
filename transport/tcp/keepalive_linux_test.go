package tcp

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// The kernel is asked to look after silent peers, on both sides and below TLS.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"plain", "tls", "tls-listener", "tls-own"} {
		opts := &Options{KeepAlive: 77 * time.Second}
		opened := make(chan transport.Conn, 1)
		server := newRecorder()
		url := serve(t, kind, opts, &acceptor{open: func(c transport.Conn) transport.Receiver {
			opened <- c
			return server
		}})
		client := newRecorder()
		c := dial(t, New(opts), url, client)
		for _, c := range []transport.Conn{c, wait(t, opened)} {
			rc, err := wire.Socket(c.(*conn).Stream.Conn()).(*net.TCPConn).SyscallConn()
			require.NoError(t, err)
			for option, want := range map[[2]int]int{
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}:   1,
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}:  77,
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}: 77,
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}:   3,
			} {
				require.NoError(t, rc.Control(func(fd uintptr) {
					got, err := syscall.GetsockoptInt(int(fd), option[0], option[1])
					require.NoError(t, err)
					require.Equal(t, want, got, "%s: option %v", kind, option)
				}))
			}
		}
		require.NoError(t, c.Close(transport.StatusNormalClosure, ""))
		wait(t, client.closed)
		wait(t, server.closed)
	}
}
