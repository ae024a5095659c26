package gobwas

import (
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/http"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/internal/wire"
)

// ServeHTTP upgrades a request (RFC 6455 section 4.2). The server's connection must
// be within reach of http.NewResponseController: middleware that wraps the
// ResponseWriter needs an Unwrap method.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request, a transport.Acceptor) {
	upgrade.Serve(w, r, t.Name(), t.limits.HandshakeTimeout, a, func(taken *upgrade.Taken) error {
		sub := taken.Admission.SubProtocol()
		agreed, extensions := t.opts.negotiate(r.Header.Values(upgrade.ExtensionsHeader))
		if err := t.answer(taken.Conn, appendUpgrade(nil, r.Header.Get("Sec-WebSocket-Key"), sub, extensions)); err != nil {
			return err
		}
		t.start(taken.Conn, sub, agreed, false, taken.Early, taken.Admission.Open)
		return nil
	})
}

// answer writes the end of a handshake and clears the deadlines.
func (t *Transport) answer(nc net.Conn, p []byte) error {
	if err := nc.SetDeadline(wire.Deadline(t.limits.HandshakeTimeout)); err != nil {
		return err
	}
	if _, err := nc.Write(p); err != nil {
		return err
	}
	return nc.SetDeadline(time.Time{})
}

// acceptGUID is the constant of section 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

func appendUpgrade(b []byte, key, subProtocol, extensions string) []byte {
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	sum := sha1.Sum([]byte(key + acceptGUID))
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	if subProtocol != "" {
		b = append(append(b, "\r\nSec-WebSocket-Protocol: "...), subProtocol...)
	}
	if extensions != "" {
		b = append(append(b, "\r\n"+upgrade.ExtensionsHeader+": "...), extensions...)
	}
	return append(b, "\r\n\r\n"...)
}
