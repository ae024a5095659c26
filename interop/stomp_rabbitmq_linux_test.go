package interop

import (
	"crypto/tls"
	"testing"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport/gobwas"
)

// Scripts that pass with RabbitMQ are right, and what weft's client can do with it is
// no accident of weft's own server.
func TestInteropRabbitMQ(t *testing.T) {
	foreign(t)
	t.Parallel()
	id := newIdentity(t)
	b := rabbitmq(t, id)
	onTCP := tcpSite(b.tcp, b.vhost)
	onTCP.refused = subprotocol.Message{Destination: "/elsewhere/x"}
	onWS := onTCP
	onWS.url, onWS.dialer = b.ws, gobwas.New(&gobwas.Options{MaxMessageSize: 2 << 20})
	onWS.textOnly = true // by default its plugin sends any body as text, which gobwas does not take
	t.Run("together", func(t *testing.T) {
		t.Run("clients", func(t *testing.T) {
			t.Parallel()
			eachStompClient(t, stompClients, b.tcp, "rabbitmq")
		})
		t.Run("weft tcp", func(t *testing.T) {
			t.Parallel()
			onTCP.run(t, stompVersions...)
		})
		t.Run("weft tls", func(t *testing.T) {
			t.Parallel()
			onTCP.overTLS(b.tls, &tls.Config{RootCAs: id.roots(t)}).run(t, "1.2")
		})
		t.Run("weft ws", func(t *testing.T) {
			t.Parallel()
			onWS.run(t, stompVersions...)
		})
	})
	t.Run("restart", func(t *testing.T) { onWS.restart(t, b) })
}
