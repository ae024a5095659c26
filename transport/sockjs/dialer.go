package sockjs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// The transports that a Dialer has, by the names of sockjs-client.
const (
	nameWebSocket    = "websocket"
	nameXHRStreaming = "xhr-streaming"
	nameEventSource  = "eventsource"
	nameXHRPolling   = "xhr-polling"
)

// DialerOptions are the settings of a Dialer. For each duration and size 0 means the
// default; a negative one means no limit, where the comment says so.
type DialerOptions struct {
	// Transports are tried in this order, until one opens a session. The default is
	// "websocket", "xhr-streaming", "eventsource", "xhr-polling". A WebSocket is left out
	// where info says that the server has none.
	Transports []string

	// RoundTripper makes all requests but the WebSocket's, and knows about proxies and
	// TLS: DialConfig.TLS is then the WebSocket's alone. Its time-outs must be longer than the server's
	// heartbeat interval, and its idle connections are its owner's. The default is one
	// for each Dial, with the proxies of the environment and HTTP/2, which is gone
	// with the connection. A WebSocket goes the way that its own Dialer knows, around
	// these proxies: where that is barred, the next transport gets through.
	RoundTripper http.RoundTripper

	// Jar has the cookies of all requests, and of the handshake of a WebSocket. The
	// default is an empty one for each Dial, so that a balancer which sets a cookie gets
	// all of a connection to one server, whether info asks for cookies or not.
	Jar http.CookieJar

	// MaxMessageSize bounds an incoming message in bytes, after it is unquoted. A longer
	// one ends the connection with ErrMessageTooBig. The default is 1 MiB, negative
	// means that MaxFrameSize alone bounds it.
	MaxMessageSize int

	// MaxFrameSize bounds what a server sends at once, in bytes: a whole array, quoted.
	// Servers put all into one that has waited for a request. The default is what a message
	// of MaxMessageSize may have, six times as much and 64 KiB. On a WebSocket the
	// limit of its own Dialer stands in its place.
	MaxFrameSize int

	// Window is how many bytes of messages, each counting 64 more, may wait for the receiver
	// before only one further frame is read. The default is 256 KiB. A server ends a session
	// that it can't write to for long, or that does not poll for some seconds (weft's
	// after 10 s and 5 s): if the window is small, a short pause of the receiver does it. A
	// WebSocket stops reading at once.
	Window int

	// InfoTimeout bounds the first request, whose time is taken for the round trip. The
	// default is 8 s.
	InfoTimeout time.Duration

	// AttemptTimeout is the least that a transport has to open the session before the
	// next one is tried; on a slow line it has eight round trips, or two and 600 ms
	// if one takes up to 100 ms. The default is 2 s. If it is short, a server that
	// thinks before it accepts loses its WebSockets; if it is long, a proxy that
	// swallows them holds each Dial up.
	AttemptTimeout time.Duration

	// SilenceTimeout is how long the server may say nothing: to a request that waits, where
	// heartbeats come every 25 s, and to one that sends. The default is 60 s, negative
	// means no limit: a connection that breaks unseen is then never over. On a WebSocket the
	// pings of its own Dialer find out.
	SilenceTimeout time.Duration

	// CloseTimeout is how long Close may take to send what was taken. The default is 5 s. A
	// WebSocket has that of its own Dialer.
	CloseTimeout time.Duration

	// Failed, if not nil, is told which transport has failed and why, before Dial goes on
	// with the next one. It must not wait.
	Failed func(transport string, err error)

	// Opened, if not nil, is told which transport has opened a session, before anything is
	// received on it. It is for those who do not have the Conn, as with handler/client. It must not wait.
	Opened func(transport string)
}

func (o *DialerOptions) withDefaults() DialerOptions {
	var c DialerOptions
	if o != nil {
		c = *o
	}
	if c.Transports == nil {
		c.Transports = []string{nameWebSocket, nameXHRStreaming, nameEventSource, nameXHRPolling}
	}
	c.Transports = slices.Clone(c.Transports)
	if c.Failed == nil {
		c.Failed = func(string, error) {}
	}
	if c.Opened == nil {
		c.Opened = func(string) {}
	}
	set(&c.MaxMessageSize, 1<<20, math.MaxInt)
	quoted := 6*min(c.MaxMessageSize, 1<<24) + maxFrame
	set(&c.MaxFrameSize, quoted, quoted)
	set(&c.Window, 256<<10, 256<<10)
	set(&c.InfoTimeout, 8*time.Second, 8*time.Second)
	set(&c.AttemptTimeout, 2*time.Second, 2*time.Second)
	set(&c.SilenceTimeout, 60*time.Second, math.MaxInt64)
	set(&c.CloseTimeout, 5*time.Second, 5*time.Second)
	return c
}

// TransportNamer is a Conn that a Dialer has made.
type TransportNamer interface {
	// TransportName is the one of DialerOptions.Transports that the session is on.
	TransportName() string
}

// Dialer is the client of SockJS. It is safe for concurrent use.
type Dialer struct {
	ws      transport.Dialer
	opts    DialerOptions
	buffers buffers
}

var _ transport.Dialer = (*Dialer)(nil)

// NewDialer returns a dialer with a copy of o; nil means the defaults. ws makes the
// WebSockets; nil means that there are none. It panics if o names a transport that there
// is not.
func NewDialer(ws transport.Dialer, o *DialerOptions) *Dialer {
	d := &Dialer{ws: ws, opts: o.withDefaults()}
	if ws == nil && (o == nil || o.Transports == nil) {
		d.opts.Transports = d.opts.Transports[1:]
	}
	for _, name := range d.opts.Transports {
		if receivers[name] == nil && (name != nameWebSocket || ws == nil) {
			panic("sockjs: there is no transport " + name)
		}
	}
	return d
}

// Dial implements transport.Dialer for http, https, ws and wss URLs of where SockJS is, such
// as "https://example.com/sockjs". The query of the URL and the header go with each
// request. A sub-protocol can be offered on a WebSocket only: sessions over requests have
// the server's own, and "" for its name.
//
// An answer that refuses, with a status other than 200, is a *transport.Refusal in the error;
// redirects are not followed. If info sends to another place, at base_url, that is
// http or https, the latter if the URL was; one on another host than the URL's
// and the hosts below it gets neither the query nor Authorization and Cookie of the header.
//
// If no transport opens a session the error has that of each by its name.
func (d *Dialer) Dial(ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	if cfg == nil {
		cfg = &transport.DialConfig{}
	}
	u, err := upgrade.ParseURL(rawURL, "http", "https", "ws", "wss")
	if err == nil {
		err = upgrade.CheckConfig(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("sockjs: dial: %w", err)
	}
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	c := d.client(u, cfg)
	conn, err := d.approach(ctx, c, cfg, open)
	if conn == nil || conn.TransportName() == nameWebSocket {
		c.release()
	}
	if err != nil {
		return nil, fmt.Errorf("sockjs: dial %s: %w", u.Host, err)
	}
	return conn, nil
}

// client is what makes the requests of one Dial.
func (d *Dialer) client(u *url.URL, cfg *transport.DialConfig) *client {
	c := &client{base: u, header: cfg.Header.Clone(), release: func() {}}
	if c.header == nil {
		c.header = make(http.Header)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http.Jar = d.opts.Jar
	if c.http.Jar == nil {
		c.http.Jar, _ = cookiejar.New(nil)
	}
	c.http.Transport = d.opts.RoundTripper
	if c.http.Transport == nil {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
		if cfg.TLS != nil {
			t.TLSClientConfig = cfg.TLS.Clone()
		}
		c.http.Transport, c.release = t, t.CloseIdleConnections
	}
	return c
}

// dialed is what both ways to have a session return.
type dialed interface {
	transport.Conn
	TransportNamer
}

// approach asks for info, and then tries the transports.
func (d *Dialer) approach(ctx context.Context, c *client, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (dialed, error) {
	in, err := d.info(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	if err := c.follow(in.BaseURL); err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	limit := max(d.opts.AttemptTimeout, 2*roundTripTimeout(in.roundTrip))
	var failed attempts
	for _, name := range d.opts.Transports {
		opened := func(c transport.Conn) transport.Receiver {
			d.opts.Opened(name)
			return open(c)
		}
		conn, err := d.attempt(ctx, limit, func(ctx context.Context) (dialed, error) {
			switch {
			case name != nameWebSocket:
				return d.dialRequests(ctx, c, receivers[name], opened)
			case in.WebSocket != nil && !*in.WebSocket:
				return nil, errors.New("server has none")
			default:
				return d.dialWebSocket(ctx, c, cfg, opened)
			}
		})
		if err == nil {
			return conn, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", name, err))
		d.opts.Failed(name, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// attempt bounds f in time.
func (d *Dialer) attempt(ctx context.Context, limit time.Duration, f func(context.Context) (dialed, error)) (dialed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no session within %v: %w", limit, transport.ErrTimeout))
	defer cancel()
	conn, err := f(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

// roundTripTimeout is what sockjs-client makes of a round trip.
func roundTripTimeout(d time.Duration) time.Duration {
	if d > 100*time.Millisecond {
		return 4 * d
	}
	return 300*time.Millisecond + d
}

// attempts are the errors of all transports.
type attempts []error

// Error has them in the order of the transports.
func (a attempts) Error() string { return errors.Join(a...).Error() }

// Unwrap has the latest first: it is the least likely to be the word of something in between.
func (a attempts) Unwrap() []error {
	errs := slices.Clone(a)
	slices.Reverse(errs)
	return errs
}

// dialWebSocket opens a session on a WebSocket.
func (d *Dialer) dialWebSocket(ctx context.Context, c *client, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (dialed, error) {
	f := &framed{framing: &clientFraming, limit: d.opts.MaxMessageSize, buffers: &d.buffers, opened: make(chan error, 1)}
	u := c.base.JoinPath(newSession(), nameWebSocket)
	own := &transport.DialConfig{SubProtocols: cfg.SubProtocols, Header: c.header.Clone(), TLS: cfg.TLS}
	r := &http.Request{Header: own.Header}
	for _, cookie := range c.http.Jar.Cookies(u) {
		r.AddCookie(cookie)
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	_, err := d.ws.Dial(ctx, u.String(), own, func(c transport.Conn) transport.Receiver {
		f.inner = c
		return f
	})
	if err != nil {
		return nil, err
	}
	select {
	case err = <-f.opened:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = f.end(transport.StatusGoingAway, "", nil)
		return nil, err
	}
	f.in.open(open(f))
	return f, nil
}
