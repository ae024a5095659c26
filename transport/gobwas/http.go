package gobwas

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
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
	key := r.Header.Get("Sec-WebSocket-Key")
	agreed, extensions := t.opts.negotiate(r.Header.Values(extensionsHeader))
	if err := t.answer(nc, appendUpgrade(nil, key, admission.SubProtocol(), extensions)); err != nil {
		nc.Close()
		admission.Abort(err)
		return
	}
	t.start(nc, admission.SubProtocol(), agreed, false, early, admission.Open)
}

// answer writes the end of a handshake and clears the deadlines.
func (t *Transport) answer(nc net.Conn, p []byte) error {
	if err := nc.SetDeadline(wire.Deadline(t.opts.HandshakeTimeout)); err != nil {
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
		b = append(append(b, "\r\n"+extensionsHeader+": "...), extensions...)
	}
	return append(b, "\r\n\r\n"...)
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
		return &transport.Refusal{Status: http.StatusBadRequest, Text: badKey}
	}
	return nil
}

const badKey = "the request needs one Sec-WebSocket-Key of 16 bytes in base64"

func validKey(key string) bool {
	var b [18]byte
	n, err := base64.StdEncoding.Decode(b[:], []byte(key[:min(len(key), 24)]))
	return err == nil && n == 16 && len(key) == 24
}

// isToken reports whether s is a token of HTTP (RFC 9110 section 5.6.2).
func isToken[T string | []byte](s T) bool {
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

// appendTokens appends the tokens of one Sec-WebSocket-Protocol line.
func appendTokens(tokens []string, line string) []string {
	for t := range strings.SplitSeq(line, ",") {
		if t = strings.Trim(t, " \t"); t != "" {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

func newHandshake(ctx context.Context, r *http.Request) *transport.Handshake {
	h := &transport.Handshake{
		Transport:  "gobwas",
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
		h.SubProtocols = appendTokens(h.SubProtocols, line)
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

func refusalHeader(r *transport.Refusal) http.Header {
	h := r.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	return h
}

func writeRefusal(w http.ResponseWriter, r *transport.Refusal) {
	h := w.Header()
	for k, v := range refusalHeader(r) {
		h[k] = v
	}
	w.WriteHeader(r.Status)
	_, _ = fmt.Fprintln(w, r.Text)
}

// appendRefusal encodes r as a whole HTTP answer that ends the connection.
func appendRefusal(b []byte, r *transport.Refusal) []byte {
	h := refusalHeader(r)
	h.Set("Content-Length", fmt.Sprint(len(r.Text)+1))
	if h.Get("Upgrade") == "" {
		h.Set("Connection", "close")
	}
	buf := bytes.NewBuffer(fmt.Appendf(b, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status)))
	_ = h.Write(buf)
	fmt.Fprintf(buf, "\r\n%s\n", r.Text)
	return buf.Bytes()
}
