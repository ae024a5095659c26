package gorilla

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// Dial implements transport.Dialer for ws and wss URLs. Options.HandshakeTimeout
// bounds it beside ctx. It uses no proxy.
func (t *Transport) Dial(ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	if cfg == nil {
		cfg = &transport.DialConfig{}
	}
	var ws *websocket.Conn
	var s *socket
	var deflate bool
	_, err := upgrade.Dial(ctx, t.Name(), rawURL, cfg, t.limits.HandshakeTimeout, func(nc net.Conn, u *url.URL) (err error) {
		s = &socket{Conn: nc, left: t.limits.MaxHeaderBytes}
		ws, deflate, err = t.request(ctx, s, u, cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.start(ws, s, true, deflate, s.early, open), nil
}

// request lets gorilla do the opening handshake (section 4.1) over s, and checks of
// the answer what gorilla does not.
func (t *Transport) request(ctx context.Context, s *socket, u *url.URL, cfg *transport.DialConfig) (ws *websocket.Conn, deflate bool, err error) {
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
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, false, upgrade.ReadRefusal(resp)
	case err != nil && s.left <= 0:
		return nil, false, fmt.Errorf("answer is over the limit of %d bytes", t.limits.MaxHeaderBytes)
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
	deflate, err = checkAnswer(resp.Header.Values("Sec-WebSocket-Extensions"), t.opts.Compression != nil)
	return ws, deflate, err
}
