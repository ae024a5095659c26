package gobwas

import (
	"bufio"
	"bytes"
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

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Dial implements transport.Dialer for ws and wss URLs. Options.HandshakeTimeout
// bounds it beside ctx.
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
	nc, err := t.connect(ctx, u, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("gobwas: dial %s: %w", u.Host, err)
	}
	sub, agreed, early, err := t.request(ctx, nc, u, cfg)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return t.start(nc, sub, agreed, true, early, open), nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("gobwas: dial: %w", err)
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("gobwas: dial: scheme of URL is %q, want ws or wss", u.Scheme)
	case u.Host == "":
		return nil, errors.New("gobwas: dial: URL has no host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("gobwas: dial: URL has a fragment, which WebSocket does not allow")
	case u.User != nil:
		return nil, errors.New("gobwas: dial: URL has user information; set the Authorization header instead")
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
			return fmt.Errorf("gobwas: dial: header %q is malformed", name)
		case slices.Contains(ownHeaders, canonical), strings.HasPrefix(canonical, "Sec-Websocket-"):
			return fmt.Errorf("gobwas: dial: header %s belongs to the handshake and can't be set", name)
		}
	}
	for _, name := range cfg.SubProtocols {
		if !isToken(name) {
			return fmt.Errorf("gobwas: dial: sub-protocol %q is not a token", name)
		}
	}
	return nil
}

func (t *Transport) connect(ctx context.Context, u *url.URL, config *tls.Config) (net.Conn, error) {
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

// request does the opening handshake (section 4.1); early is what came behind the
// answer.
func (t *Transport) request(ctx context.Context, nc net.Conn, u *url.URL, cfg *transport.DialConfig) (sub string, agreed *agreement, early []byte, err error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var refusal *transport.Refusal
	d := ws.Dialer{
		Protocols: cfg.SubProtocols,
		Header:    ws.HandshakeHeaderHTTP(cfg.Header),
		OnStatusError: func(status int, _ []byte, answer io.Reader) {
			refusal = readRefusal(status, answer)
		},
	}
	limited := &limitedConn{Conn: nc, left: t.opts.MaxHeaderBytes}
	if z := t.opts.Compression; z != nil {
		limited.seen = new(bytes.Buffer)
		offer := z.offer()
		d.Extensions = append(d.Extensions, wsflate.Parameters{
			ServerNoContextTakeover: offer.serverNoTakeover,
			ClientNoContextTakeover: offer.clientNoTakeover,
			ClientMaxWindowBits:     1, // means without a value
		}.Option())
	}
	br, hs, err := d.Upgrade(limited, u)
	if br != nil {
		early, _ = br.Peek(br.Buffered())
		early = append([]byte(nil), early...)
		ws.PutReader(br)
	}
	switch {
	case refusal != nil:
		return "", nil, nil, refusal
	case err != nil && context.Cause(ctx) != nil:
		return "", nil, nil, fmt.Errorf("gobwas: dial %s: handshake: %w", u.Host, context.Cause(ctx))
	case err != nil && limited.left <= 0:
		return "", nil, nil, fmt.Errorf("gobwas: dial %s: answer is over the limit of %d bytes", u.Host, t.opts.MaxHeaderBytes)
	case err != nil:
		return "", nil, nil, fmt.Errorf("gobwas: dial %s: handshake: %w", u.Host, err)
	case !stop():
		return "", nil, nil, fmt.Errorf("gobwas: dial %s: handshake: %w", u.Host, context.Cause(ctx))
	}
	if limited.seen != nil {
		// ws.Dialer has checked the name; it does not tell what was repeated.
		agreed, err = t.opts.checkAnswer(headerLines(limited.seen.Bytes(), extensionsHeader))
		if err != nil {
			return "", nil, nil, fmt.Errorf("gobwas: dial %s: handshake: %w", u.Host, err)
		}
	}
	return hs.Protocol, agreed, early, nil
}

// maxRefusalText bounds what is kept of the body of a refusal.
const maxRefusalText = 1024

func readRefusal(status int, answer io.Reader) *transport.Refusal {
	refusal := &transport.Refusal{Status: status}
	resp, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return refusal
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusalText))
	refusal.Text, refusal.Header = strings.TrimSpace(string(text)), resp.Header
	return refusal
}

// limitedConn bounds what a handshake reads.
type limitedConn struct {
	net.Conn
	left int
	seen *bytes.Buffer // if not nil, keeps what was read
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	if c.seen != nil {
		c.seen.Write(p[:n])
	}
	return n, err
}
