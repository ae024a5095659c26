package gorilla

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Dial implements transport.Dialer for ws and wss URLs. Options.HandshakeTimeout
// bounds it beside ctx. It uses no proxy.
func (t *Transport) Dial(ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	if cfg == nil {
		cfg = &transport.DialConfig{}
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if err := checkDial(cfg); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.HandshakeTimeout)
	defer cancel()
	nc, err := connect(ctx, u, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("gorilla: dial %s: %w", u.Host, err)
	}
	s := &socket{Conn: nc, left: t.opts.MaxHeaderBytes}
	ws, deflate, err := t.request(ctx, s, u, cfg)
	if err != nil {
		nc.Close()
		if refusal, ok := errors.AsType[*transport.Refusal](err); ok {
			return nil, refusal
		}
		return nil, fmt.Errorf("gorilla: dial %s: handshake: %w", u.Host, err)
	}
	return t.start(ws, s, true, deflate, s.early, open), nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("gorilla: dial: %w", err)
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("gorilla: dial: scheme of URL is %q, want ws or wss", u.Scheme)
	case u.Host == "":
		return nil, errors.New("gorilla: dial: URL has no host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("gorilla: dial: URL has a fragment, which WebSocket does not allow")
	case u.User != nil:
		return nil, errors.New("gorilla: dial: URL has user information; set the Authorization header instead")
	}
	return u, nil
}

// ownHeaders are the transport's to set, or would give the request a body.
var ownHeaders = []string{"Upgrade", "Connection", "Host", "Content-Length", "Transfer-Encoding", "Trailer"}

// checkDial refuses what would break the handshake.
func checkDial(cfg *transport.DialConfig) error {
	for name, values := range cfg.Header {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !isToken(name), slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, isControl) }):
			return fmt.Errorf("gorilla: dial: header %q is malformed", name)
		case slices.Contains(ownHeaders, canonical), strings.HasPrefix(canonical, "Sec-Websocket-"):
			return fmt.Errorf("gorilla: dial: header %s belongs to the handshake and can't be set", name)
		}
	}
	for _, name := range cfg.SubProtocols {
		if !isToken(name) {
			return fmt.Errorf("gorilla: dial: sub-protocol %q is not a token", name)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func connect(ctx context.Context, u *url.URL, config *tls.Config) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme == "ws" {
		return nc, err
	}
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = u.Hostname()
	}
	tc := tls.Client(wire.NewShim(nc), config)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// request lets gorilla do the opening handshake (section 4.1) over s, and checks of
// the answer what gorilla does not.
func (t *Transport) request(ctx context.Context, s *socket, u *url.URL, cfg *transport.DialConfig) (ws *websocket.Conn, deflate bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	connected := func(context.Context, string, string) (net.Conn, error) { return s, nil }
	d := websocket.Dialer{
		NetDialContext:    connected,
		NetDialTLSContext: connected,
		ReadBufferSize:    1, // gorilla takes the least that it can do with
		WriteBufferSize:   writeBufferSize,
		WriteBufferPool:   &writeBuffers,
		Subprotocols:      cfg.SubProtocols,
		EnableCompression: t.opts.Compression != nil,
	}
	// What ends ctx ends the reads and writes on s; gorilla would put its own deadline
	// in place of that.
	ws, resp, err := d.DialContext(context.WithoutCancel(ctx), u.String(), cfg.Header) //nolint:bodyclose // gorilla has read it
	switch {
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, false, readRefusal(resp)
	case err != nil && s.left <= 0:
		return nil, false, fmt.Errorf("answer is over the limit of %d bytes", t.opts.MaxHeaderBytes)
	case errors.Is(err, websocket.ErrBadHandshake):
		return nil, false, fmt.Errorf("%w: Upgrade, Connection or Sec-WebSocket-Accept of the answer is not what it must be", err)
	case err != nil:
		return nil, false, err
	case !resp.ProtoAtLeast(1, 1):
		return nil, false, fmt.Errorf("answer is %s", resp.Proto)
	}
	if subs := resp.Header.Values("Sec-WebSocket-Protocol"); len(subs) > 1 || len(subs) == 1 && !slices.Contains(cfg.SubProtocols, subs[0]) {
		return nil, false, fmt.Errorf("answer has sub-protocol %.100q, which was not offered", subs)
	}
	if deflate, err = checkAnswer(resp.Header.Values("Sec-WebSocket-Extensions"), t.opts.Compression != nil); err != nil {
		return nil, false, err
	}
	if !stop() {
		return nil, false, context.Cause(ctx)
	}
	return ws, deflate, nil
}

// maxRefusalText bounds what is kept of the body of a refusal.
const maxRefusalText = 1024

func readRefusal(resp *http.Response) *transport.Refusal {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusalText))
	return &transport.Refusal{Status: resp.StatusCode, Text: strings.TrimSpace(string(text)), Header: resp.Header}
}
