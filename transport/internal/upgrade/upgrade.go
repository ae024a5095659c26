// Package upgrade is the HTTP side of a WebSocket connection (RFC 6455 section 4),
// apart from the answer, which each engine writes and reads by itself: what a request
// must be, how it is shown to the acceptor and refused, and how a client gets as far as
// its own request.
package upgrade

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/weftws/weft/transport"
)

// Taken is a request that was admitted, and its connection.
type Taken struct {
	Admission transport.Admission
	Conn      net.Conn
	Writer    *bufio.Writer // of net/http, empty
	Early     []byte        // what came behind the request
}

// Serve shows an opening handshake to a, takes its connection over, and gives both to
// open, which writes the answer and opens the connection. An error of open means that
// the answer could not be written. Any other request is refused. name is the
// transport's; timeout bounds the acceptor.
func Serve(w http.ResponseWriter, r *http.Request, name string, timeout time.Duration, a transport.Acceptor, open func(*Taken) error) {
	if refusal := check(r); refusal != nil {
		WriteRefusal(w, refusal)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	admission, err := a.Accept(NewHandshake(ctx, name, r))
	if err != nil {
		WriteRefusal(w, Refusal(err))
		return
	}
	nc, rw, err := hijack(w)
	if err != nil {
		admission.Abort(err)
		WriteRefusal(w, &transport.Refusal{Status: http.StatusInternalServerError,
			Text: "this server can't hand over the connection: its http.ResponseWriter has no Hijack, and no Unwrap that leads to one"})
		return
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	if err := open(&Taken{admission, nc, rw.Writer, early}); err != nil {
		nc.Close()
		admission.Abort(err)
	}
}

// hijack takes the connection over. Wrappers of a ResponseWriter, gin's among them, are
// Hijackers that panic if what they wrap is none.
func hijack(w http.ResponseWriter) (nc net.Conn, rw *bufio.ReadWriter, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the http.Hijacker panicked: %v", v)
		}
	}()
	return http.NewResponseController(w).Hijack()
}

// check says what keeps r from being an opening handshake (section 4.2.1).
func check(r *http.Request) *transport.Refusal {
	switch {
	case !HasToken(r.Header, "Connection", "upgrade") || !HasToken(r.Header, "Upgrade", "websocket"):
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
	if keys := r.Header.Values("Sec-WebSocket-Key"); len(keys) != 1 || !ValidKey(keys[0]) {
		return &transport.Refusal{Status: http.StatusBadRequest, Text: BadKey}
	}
	return nil
}

// BadKey is the text of a refusal for want of a ValidKey.
const BadKey = "the request needs one Sec-WebSocket-Key of 16 bytes in base64"

// ValidKey reports whether key may be a Sec-WebSocket-Key.
func ValidKey(key string) bool {
	var b [18]byte
	n, err := base64.StdEncoding.Decode(b[:], []byte(key[:min(len(key), 24)]))
	return err == nil && n == 16 && len(key) == 24
}

// IsToken reports whether s is a token of HTTP (RFC 9110 section 5.6.2).
func IsToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0
}

// IsControl reports whether r may not stand in a field of a header.
func IsControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// HasToken reports whether one of the lines of a header has that token, in any case.
func HasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for _, t := range AppendTokens(nil, line) {
			if strings.EqualFold(t, token) {
				return true
			}
		}
	}
	return false
}

// AppendTokens appends the elements of a line of a header, such as
// Sec-WebSocket-Protocol.
func AppendTokens(tokens []string, line string) []string {
	for t := range strings.SplitSeq(line, ",") {
		if t = strings.Trim(t, " \t"); t != "" {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// NewHandshake shows r to an acceptor; name is the transport's.
func NewHandshake(ctx context.Context, name string, r *http.Request) *transport.Handshake {
	h := &transport.Handshake{
		Transport:  name,
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
		h.SubProtocols = AppendTokens(h.SubProtocols, line)
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
