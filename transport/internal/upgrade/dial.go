package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Dial connects to a ws or wss URL, over TLS if it says so, and lets request do the
// opening handshake. ctx and timeout bound both. Errors say which transport, name,
// dialed whom; a *transport.Refusal from request is returned as it is.
func Dial(ctx context.Context, name, rawURL string, cfg *transport.DialConfig, timeout time.Duration, request func(net.Conn, *url.URL) error) (net.Conn, error) {
	u, err := ParseURL(rawURL, "ws", "wss")
	if err == nil {
		err = CheckConfig(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: dial: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := connect(ctx, u, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("%s: dial %s: %w", name, u.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(wire.Past) })
	err = request(nc, u)
	if !stop() && !isRefusal(err) {
		err = context.Cause(ctx) // the deadline in the past is set, or about to be
	}
	switch {
	case err == nil:
		return nc, nil
	case !isRefusal(err):
		err = fmt.Errorf("%s: dial %s: handshake: %w", name, u.Host, err)
	}
	nc.Close()
	return nil, err
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*transport.Refusal](err)
	return ok
}

// ParseURL parses the URL of a handshake, which has one of these schemes.
func ParseURL(raw string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("scheme of URL is %q, want %s", u.Scheme, strings.Join(schemes, " or "))
	case u.Host == "":
		return nil, errors.New("URL has no host")
	case strings.Contains(raw, "#"):
		return nil, errors.New("URL has a fragment, which WebSocket does not allow")
	case u.User != nil:
		return nil, errors.New("URL has user information; set the Authorization header instead")
	}
	return u, nil
}

// ownHeaders are the transport's to set, or would give the request a body.
var ownHeaders = []string{"Upgrade", "Connection", "Host", "Content-Length", "Transfer-Encoding", "Trailer"}

// CheckConfig refuses what would break the handshake.
func CheckConfig(cfg *transport.DialConfig) error {
	for name, values := range cfg.Header {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !IsToken(name), slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, IsControl) }):
			return fmt.Errorf("header %q is malformed", name)
		case slices.Contains(ownHeaders, canonical), strings.HasPrefix(canonical, "Sec-Websocket-"):
			return fmt.Errorf("header %s belongs to the handshake and can't be set", name)
		}
	}
	for _, name := range cfg.SubProtocols {
		if !IsToken(name) {
			return fmt.Errorf("sub-protocol %q is not a token", name)
		}
	}
	return nil
}

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
