package gorilla

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
)

// ServeHTTP upgrades a request (RFC 6455 section 4.2). The server's connection must
// be within reach of http.NewResponseController: middleware that wraps the
// ResponseWriter needs an Unwrap method.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request, a transport.Acceptor) {
	if refusal := checkRequest(r); refusal != nil {
		writeRefusal(w, refusal)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.opts.HandshakeTimeout)
	defer cancel()
	admission, err := a.Accept(newHandshake(ctx, r))
	if err != nil {
		writeRefusal(w, asRefusal(err))
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		admission.Abort(err)
		writeRefusal(w, &transport.Refusal{Status: http.StatusInternalServerError,
			Text: "this server can't hand over the connection: its http.ResponseWriter has no Hijack, and no Unwrap that leads to one"})
		return
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	s := &socket{Conn: nc}
	ws, deflate, err := t.upgrade(&handedOver{s: s, w: rw.Writer}, r, admission.SubProtocol())
	if err != nil {
		nc.Close()
		admission.Abort(err)
		return
	}
	t.start(ws, s, false, deflate, early, admission.Open)
}

// upgrade lets gorilla write the answer. It sees no more of the request than what it
// must: the rest is decided already.
func (t *Transport) upgrade(w http.ResponseWriter, r *http.Request, sub string) (ws *websocket.Conn, deflate bool, err error) {
	u := websocket.Upgrader{
		HandshakeTimeout: t.opts.HandshakeTimeout,
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
		request.Header["Sec-Websocket-Extensions"] = []string{deflateName}
	}
	var answer http.Header
	if sub != "" {
		answer = http.Header{"Sec-Websocket-Protocol": {sub}}
	}
	ws, err = u.Upgrade(w, request, answer)
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

// checkRequest says what keeps r from being an opening handshake (section 4.2.1).
func checkRequest(r *http.Request) *transport.Refusal {
	switch {
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return &transport.Refusal{Status: http.StatusUpgradeRequired,
			Text:   "this is a WebSocket endpoint: the request needs the headers Connection: Upgrade and Upgrade: websocket",
			Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}}
	case r.Method != http.MethodGet:
		return &transport.Refusal{Status: http.StatusMethodNotAllowed, Text: "a WebSocket handshake is a GET request",
			Header: http.Header{"Allow": {"GET"}}}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return &transport.Refusal{Status: http.StatusHTTPVersionNotSupported, Text: "a WebSocket handshake needs HTTP/1.1"}
	case r.Host == "":
		return &transport.Refusal{Status: http.StatusBadRequest, Text: "the request has no Host"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &transport.Refusal{Status: http.StatusUpgradeRequired,
			Text:   fmt.Sprintf("Sec-WebSocket-Version %.20q is not supported, only 13 is", r.Header.Get("Sec-WebSocket-Version")),
			Header: http.Header{"Sec-Websocket-Version": {"13"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}}}
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 || !validKey(keys[0]) {
		return &transport.Refusal{Status: http.StatusBadRequest, Text: "the request needs one Sec-WebSocket-Key of 16 bytes in base64"}
	}
	return nil
}

func validKey(key string) bool {
	var b [18]byte
	n, err := base64.StdEncoding.Decode(b[:], []byte(key[:min(len(key), 24)]))
	return err == nil && n == 16 && len(key) == 24
}

// isToken reports whether s is a token of HTTP (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0
}

func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func newHandshake(ctx context.Context, r *http.Request) *transport.Handshake {
	h := &transport.Handshake{
		Transport:  "gorilla",
		Host:       r.Host,
		Path:       r.URL.Path,
		Query:      r.URL.RawQuery,
		Secure:     r.TLS != nil,
		TLS:        r.TLS,
		RemoteAddr: parseAddr(r.RemoteAddr),
		Header:     r.Header,
		Context:    ctx,
	}
	h.LocalAddr, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for t := range strings.SplitSeq(line, ",") {
			if t = strings.Trim(t, " \t"); t != "" {
				h.SubProtocols = append(h.SubProtocols, t)
			}
		}
	}
	return h
}

// addr is the address of a peer that has no IP.
type addr string

func (addr) Network() string  { return "" }
func (a addr) String() string { return string(a) }

func parseAddr(s string) net.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return addr(s)
}

// asRefusal keeps the text of an error that is no refusal from the client.
func asRefusal(err error) *transport.Refusal {
	if r, ok := errors.AsType[*transport.Refusal](err); ok {
		if r.Status < 400 || r.Status > 599 {
			return &transport.Refusal{Status: http.StatusInternalServerError, Text: r.Text, Header: r.Header}
		}
		return r
	}
	return &transport.Refusal{Status: http.StatusInternalServerError, Text: http.StatusText(http.StatusInternalServerError)}
}

func writeRefusal(w http.ResponseWriter, r *transport.Refusal) {
	h := w.Header()
	for k, v := range r.Header {
		h[k] = v
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.Status)
	_, _ = fmt.Fprintln(w, r.Text)
}
