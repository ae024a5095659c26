package enginetest

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sendQueue is how many bytes the kernel keeps for the other end of nc.
func sendQueue(t testing.TB, nc net.Conn) (int, bool) {
	t.Helper()
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	local, remote := nc.LocalAddr().(*net.TCPAddr).Port, nc.RemoteAddr().(*net.TCPAddr).Port
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(table)) {
		var n, from, to, state, queued int
		var fromAddr, toAddr string
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d: %8s:%X %8s:%X %X %X:", &n, &fromAddr, &from, &toAddr, &to, &state, &queued); err != nil {
			continue
		}
		if from == remote && to == local {
			return queued, true
		}
	}
	require.Fail(t, "the other end is not in /proc/net/tcp")
	return 0, false
}
