package transport

import (
	"crypto/tls"
	"net"

	"github.com/weftws/weft/transport/internal/wire"
)

// NewTLSListener is tls.NewListener for servers whose handlers are weft's: a
// connection that a transport takes over from net/http then never waits for its
// peer. Use it with http.Server.Serve in place of ServeTLS; for HTTP/2 beside
// WebSocket config.NextProtos needs "h2" and "http/1.1". config must hold a
// certificate.
func NewTLSListener(inner net.Listener, config *tls.Config) net.Listener {
	return tls.NewListener(shimListener{inner}, config)
}

type shimListener struct{ net.Listener }

func (l shimListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wire.NewShim(nc), nil
}
