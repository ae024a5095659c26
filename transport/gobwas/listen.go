package gobwas

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/accept"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/internal/wire"
)

// Serve implements transport.ListenerServer: it upgrades connections of ln without
// net/http and without copying the request. With Options.TLS it speaks TLS on them.
// A temporary failure of Accept, such as too many open files, is waited out.
func (t *Transport) Serve(ctx context.Context, ln net.Listener, a transport.Acceptor) error {
	return accept.Loop(ctx, t.Name(), ln, math.MaxInt, func(nc net.Conn) { t.serveConn(ctx, nc, a) })
}

// serveConn does the handshake of one connection, on a goroutine of its own: the
// reader that follows begins with a fresh stack.
func (t *Transport) serveConn(ctx context.Context, nc net.Conn, a transport.Acceptor) {
	ctx, cancel := context.WithTimeout(ctx, t.limits.HandshakeTimeout)
	defer cancel()
	opened := false
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(wire.Past) })
	raw := nc
	defer func() {
		if !opened {
			raw.Close()
		}
	}()

	u := handshake{ctx: ctx, opts: &t.opts, acceptor: a}
	u.hs.Transport = t.Name()
	if t.opts.TLS != nil {
		tc := tls.Server(wire.NewShim(nc), t.opts.TLS)
		if tc.HandshakeContext(ctx) != nil {
			return
		}
		state := tc.ConnectionState()
		u.hs.TLS, u.hs.Secure = &state, true
		nc = tc
	}
	u.hs.RemoteAddr, u.hs.LocalAddr = nc.RemoteAddr(), nc.LocalAddr()

	request, early, err := readHeader(nc, t.limits.MaxHeaderBytes)
	defer wire.PutPiece(request)
	if err == nil {
		u.watch = func() func() {
			ahead := accept.Watch(nc, cancel)
			return func() { early = append(early, ahead()...) }
		}
		err = u.run(request[:len(request)-len(early)])
	}
	if err != nil {
		if u.admission != nil {
			u.admission.Abort(err)
		}
		refuse(nc, err)
		return
	}
	if !stop() {
		// The deadline in the past is set or about to be.
		u.admission.Abort(context.Cause(ctx))
		return
	}
	if err := t.answer(nc, u.answer.Bytes()); err != nil {
		u.admission.Abort(err)
		return
	}
	opened = true
	t.start(nc, u.admission.SubProtocol(), u.agreed, false, early, u.admission.Open)
}

var errHeaderEnd = []byte("\r\n\r\n")

// readHeader reads a request up to its empty line; early is what came behind it.
func readHeader(nc net.Conn, limit int) (all, early []byte, err error) {
	all = wire.GetPiece(1)
	for {
		if len(all) == cap(all) {
			grown := append(wire.GetPiece(2*cap(all)), all...)
			wire.PutPiece(all)
			all = grown
		}
		n, err := nc.Read(all[len(all):cap(all)])
		from := max(0, len(all)-len(errHeaderEnd)+1)
		all = all[:len(all)+n]
		if i := bytes.Index(all[from:], errHeaderEnd); i >= 0 {
			end := from + i + len(errHeaderEnd)
			if end <= limit {
				return all, all[end:], nil
			}
		}
		switch {
		case len(all) >= limit:
			return all, nil, &transport.Refusal{Status: http.StatusRequestHeaderFieldsTooLarge,
				Text: fmt.Sprintf("the request header is over the limit of %d bytes", limit)}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return all, nil, &transport.Refusal{Status: http.StatusRequestTimeout, Text: "the request header did not come in time"}
		case err != nil:
			return all, nil, err
		}
	}
}

// handshake is one zero-copy upgrade: ws.Upgrader reads the request and writes the
// answer, and calls back on the way.
type handshake struct {
	ctx       context.Context
	opts      *Options
	watch     func() (stop func())
	acceptor  transport.Acceptor
	hs        transport.Handshake
	request   *bytes.Reader
	answer    bytes.Buffer
	fields    fields
	admission transport.Admission

	offers []string // lines of Sec-WebSocket-Extensions
	agreed *agreement
}

func (u *handshake) Read(p []byte) (int, error)  { return u.request.Read(p) }
func (u *handshake) Write(p []byte) (int, error) { return u.answer.Write(p) }

func (u *handshake) run(request []byte) error {
	if refusal := checkLines(request); refusal != nil {
		return refusal
	}
	if u.opts.Compression != nil {
		u.offers = headerLines(request, upgrade.ExtensionsHeader) // ws.Upgrader does not show it
	}
	u.request = bytes.NewReader(request)
	_, err := ws.Upgrader{
		OnRequest:       u.onRequest,
		OnHost:          u.onHost,
		OnHeader:        u.fields.add,
		ProtocolCustom:  u.onProtocol,
		OnBeforeUpgrade: u.accept,
	}.Upgrade(u)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ws.ErrMalformedRequest // the header ended before its end
	}
	return err
}

func (u *handshake) onRequest(uri []byte) error {
	parsed, err := url.ParseRequestURI(string(uri))
	if err != nil {
		return &transport.Refusal{Status: http.StatusBadRequest, Text: "the request URI is malformed"}
	}
	u.hs.Path, u.hs.Query = parsed.Path, parsed.RawQuery
	return nil
}

func (u *handshake) onHost(host []byte) error {
	u.hs.Host = string(host)
	return nil
}

// onProtocol collects the offers; the choice is announced by accept.
func (u *handshake) onProtocol(line []byte) (string, bool) {
	u.hs.SubProtocols = upgrade.AppendTokens(u.hs.SubProtocols, string(line))
	return "", true
}

func (u *handshake) accept() (ws.HandshakeHeader, error) {
	u.hs.Header = &u.fields
	u.hs.Context = u.ctx
	admission, err := func() (transport.Admission, error) {
		defer u.watch()()
		return u.acceptor.Accept(&u.hs)
	}()
	if err != nil {
		return nil, upgrade.Refusal(err)
	}
	u.admission = admission
	var header string
	if name := admission.SubProtocol(); name != "" {
		header = "Sec-WebSocket-Protocol: " + name + "\r\n"
	}
	agreed, extensions := u.opts.negotiate(u.offers)
	if agreed != nil {
		u.agreed = agreed
		header += upgrade.ExtensionsHeader + ": " + extensions + "\r\n"
	}
	if header == "" {
		return nil, nil
	}
	return ws.HandshakeHeaderString(header), nil
}

// checkLines refuses what ws.Upgrader lets pass and net/http does not: fields that
// are folded, have no proper name or control characters in their value, and more
// than one of those that must be one.
func checkLines(request []byte) *transport.Refusal {
	hosts, keys := 0, 0
	_, lines, _ := bytes.Cut(request, []byte("\r\n"))
	for line := range bytes.Lines(lines) {
		line, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if ok && len(line) == 0 {
			break
		}
		name, value, colon := bytes.Cut(line, []byte(":"))
		if !ok || !colon || !upgrade.IsToken(name) || bytes.ContainsFunc(value, upgrade.IsControl) {
			return &transport.Refusal{Status: http.StatusBadRequest, Text: "the request header is malformed"}
		}
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			hosts++
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Key")):
			if keys++; !upgrade.ValidKey(string(bytes.Trim(value, " \t"))) {
				keys++
			}
		}
	}
	switch {
	case hosts > 1:
		return &transport.Refusal{Status: http.StatusBadRequest, Text: "the request has more than one Host"}
	case keys > 1:
		return &transport.Refusal{Status: http.StatusBadRequest, Text: upgrade.BadKey}
	}
	return nil
}

// headerLines returns the values of one field of a header, its first line left out.
func headerLines(header []byte, name string) (values []string) {
	_, lines, _ := bytes.Cut(header, []byte("\n"))
	for line := range bytes.Lines(lines) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if k, v, _ := bytes.Cut(line, []byte(":")); strings.EqualFold(string(k), name) {
			values = append(values, string(v))
		}
	}
	return values
}

// fields is the header of a request that net/http has not seen: one line behind the
// other in text, found by their ends.
type fields struct {
	text []byte
	ends []int // of name, value, name, value ...
}

func (f *fields) add(name, value []byte) error {
	f.text = append(f.text, name...)
	f.ends = append(f.ends, len(f.text))
	f.text = append(f.text, value...)
	f.ends = append(f.ends, len(f.text))
	return nil
}

// Get implements transport.Header.
func (f *fields) Get(name string) string {
	vs := f.find(name, 1)
	if len(vs) == 0 {
		return ""
	}
	return vs[0]
}

// Values implements transport.Header.
func (f *fields) Values(name string) []string { return f.find(name, len(f.ends)) }

func (f *fields) find(name string, most int) (vs []string) {
	start := 0
	for i := 0; i < len(f.ends) && len(vs) < most; i += 2 {
		if strings.EqualFold(string(f.text[start:f.ends[i]]), name) {
			vs = append(vs, string(f.text[f.ends[i]:f.ends[i+1]]))
		}
		start = f.ends[i+1]
	}
	return vs
}

// refuse answers a handshake that failed, if an answer makes sense, and lets the
// client read it before the socket closes.
func refuse(nc net.Conn, err error) {
	refusal, ok := errors.AsType[*transport.Refusal](err)
	if !ok {
		rejected, ok := errors.AsType[*ws.ConnectionRejectedError](err)
		if !ok {
			return // the connection failed
		}
		refusal = &transport.Refusal{Status: rejected.StatusCode(), Text: rejected.Error()}
		switch refusal.Status {
		case http.StatusUpgradeRequired:
			refusal.Header = http.Header{"Sec-Websocket-Version": {"13"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		case http.StatusMethodNotAllowed:
			refusal.Header = http.Header{"Allow": {"GET"}}
		}
	}
	_ = nc.SetDeadline(time.Now().Add(refuseTime))
	if _, err := nc.Write(upgrade.AppendRefusal(nil, refusal)); err != nil {
		return
	}
	_ = wire.CloseWrite(nc)
	_, _ = io.CopyN(io.Discard, nc, maxRefused)
}

// refuseTime and maxRefused bound what is read from a refused client.
const (
	refuseTime = time.Second
	maxRefused = 4 << 20
)
