package interop

import (
	"testing"

	"github.com/weftws/weft/subprotocol"
)

// weft's client is at home at ActiveMQ too.
func TestInteropActiveMQ(t *testing.T) {
	foreign(t)
	t.Parallel()
	b := activemq(t)
	s := tcpSite(b.tcp, b.vhost)
	s.deadLetter = "/queue/DLQ."
	s.refused = subprotocol.Message{
		Destination: "/queue/x", Transaction: "never begun",
		Header: subprotocol.Header{{Name: "selector", Value: "no selector )"}},
	}
	t.Run("weft tcp", func(t *testing.T) { s.run(t, stompVersions...) })
	t.Run("restart", func(t *testing.T) { s.restart(t, b) })
}
