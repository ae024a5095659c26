package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stompClients are other people's, each driven by a script that takes an address, a
// version and the name of the broker.
var stompClients = []struct{ name, command, script string }{
	{"stomp.py", python, "py/stomp_client.py"},
	{"Net::Stomp", "perl", "pl/stomp_client.pl"},
	{"stompit", "node", "js/stompit_client.mjs"},
}

// eachStompClient runs every client in every version against a broker.
func eachStompClient(t *testing.T, addr, broker string) {
	t.Helper()
	for _, c := range stompClients {
		for _, v := range stompVersions {
			t.Run(c.name+" "+v, func(t *testing.T) {
				t.Parallel()
				script(t, nil, c.command, c.script, addr, v, broker)
			})
		}
	}
}

// stompServer starts interop/server and returns its address for STOMP over TCP.
func stompServer(t *testing.T) string {
	t.Helper()
	p := start(t, build(t, "./server"), "-addr", "127.0.0.1:0", "-stomp-tcp", "127.0.0.1:0")
	_ = p.address(t)
	addr, ok := strings.CutPrefix(p.line(t), "STOMP on ")
	require.True(t, ok)
	return addr
}

// STOMP clients speak each version over TCP with weft.
func TestInteropStompTCP(t *testing.T) {
	foreign(t)
	t.Parallel()
	eachStompClient(t, stompServer(t), "weft")
}
