package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/wire"
)

// Dial implements transport.Dialer. URLs are tcp://host:port or stomp://host:port,
// and tls://host:port or stomp+ssl://host:port for TLS; without a port it is
// DefaultPort or DefaultTLSPort. Options.HandshakeTimeout bounds it beside ctx.
//
// A server that refuses can't say so, which is why Dial succeeds then and the
// connection ends at once. The Conn's SubProtocol is the first of cfg.SubProtocols:
// nothing on the wire negotiates one. cfg.Header is ignored.
func (t *Transport) Dial(ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	if cfg == nil {
		cfg = &transport.DialConfig{}
	}
	to, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("tcp: dial: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.limits.HandshakeTimeout)
	defer cancel()
	nc, err := to.connect(ctx, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("tcp: dial %s: %w", to.addr(), err)
	}
	sub := ""
	if len(cfg.SubProtocols) > 0 {
		sub = cfg.SubProtocols[0]
	}
	return t.start(nc, sub, nil, open), nil
}

// target is what a URL says.
type target struct {
	host, port string
	secure     bool
}

// parseURL checks a URL. Its errors do not have what may be a password.
func parseURL(raw string) (to target, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return to, errors.New("URL is malformed") // the parser quotes all of it
	}
	to = target{host: u.Hostname(), port: u.Port()}
	standard := DefaultPort
	switch u.Scheme {
	case "tcp", "stomp":
	case "tls", "stomp+ssl":
		to.secure, standard = true, DefaultTLSPort
	default:
		return to, fmt.Errorf("scheme of URL is %q, want tcp, stomp, tls or stomp+ssl", u.Scheme)
	}
	switch {
	case to.host == "":
		return to, errors.New("URL has no host")
	case u.User != nil:
		return to, errors.New("URL has user information; the sub-protocol has a place for it")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return to, errors.New("URL has more than a host and a port")
	case to.port == "":
		to.port = standard
	}
	return to, nil
}

func (to *target) addr() string { return net.JoinHostPort(to.host, to.port) }

func (to *target) connect(ctx context.Context, config *tls.Config) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", to.addr())
	if err != nil || !to.secure {
		return nc, err
	}
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = to.host
	}
	tc := tls.Client(wire.NewShim(nc), config)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}
