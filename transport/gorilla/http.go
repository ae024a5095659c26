package gorilla

import (
	"bufio"
	"bytes"
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// ServeHTTP upgrades a request (RFC 6455 section 4.2). The server's connection must
// be within reach of http.NewResponseController: middleware that wraps the
// ResponseWriter needs an Unwrap method.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request, a transport.Acceptor) {
	upgrade.Serve(w, r, t.Name(), t.limits.HandshakeTimeout, a, func(taken *upgrade.Taken) error {
		s := &socket{Conn: taken.Conn}
		ws, deflate, err := t.answer(&handedOver{s: s, w: taken.Writer}, r, taken.Admission.SubProtocol())
		if err == nil {
			t.start(ws, s, false, deflate, taken.Early, taken.Admission.Open)
		}
		return err
	})
}

// answer lets gorilla write the answer. It sees no more of the request than what it
// must: the rest is decided already.
func (t *Transport) answer(w http.ResponseWriter, r *http.Request, sub string) (ws *websocket.Conn, deflate bool, err error) {
	u := websocket.Upgrader{
		HandshakeTimeout: t.limits.HandshakeTimeout,
		ReadBufferSize:   1, // gorilla takes the least that it can do with
		WriteBufferSize:  writeBufferSize,
		WriteBufferPool:  &writeBuffers,
		Error:            func(http.ResponseWriter, *http.Request, int, error) {},
		CheckOrigin:      func(*http.Request) bool { return true }, // the acceptor's
	}
	request := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection":            {"upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     r.Header["Sec-Websocket-Key"],
	}}
	if t.opts.Compression != nil && acceptOffers(r.Header["Sec-Websocket-Extensions"]) {
		u.EnableCompression = true
		request.Header["Sec-Websocket-Extensions"] = []string{"permessage-deflate"}
	}
	var header http.Header
	if sub != "" {
		header = http.Header{"Sec-Websocket-Protocol": {sub}}
	}
	ws, err = u.Upgrade(w, request, header)
	return ws, u.EnableCompression, err
}

// handedOver is the ResponseWriter that gorilla is given: a connection that was
// hijacked before. Bytes that came behind the request are kept from gorilla, which
// would refuse them.
type handedOver struct {
	s *socket
	w *bufio.Writer
}

func (*handedOver) Header() http.Header         { return http.Header{} }
func (*handedOver) Write(p []byte) (int, error) { return len(p), nil }
func (*handedOver) WriteHeader(int)             {}

func (h *handedOver) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.s, bufio.NewReadWriter(bufio.NewReaderSize(bytes.NewReader(nil), 16), h.w), nil
}
