package gobwas

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// Dial implements transport.Dialer for ws and wss URLs. Options.HandshakeTimeout
// bounds it beside ctx.
func (t *Transport) Dial(ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
	if cfg == nil {
		cfg = &transport.DialConfig{}
	}
	var sub string
	var agreed *agreement
	var early []byte
	nc, err := upgrade.Dial(ctx, t.Name(), rawURL, cfg, t.limits.HandshakeTimeout, func(nc net.Conn, u *url.URL) (err error) {
		sub, agreed, early, err = t.request(nc, u, cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.start(nc, sub, agreed, true, early, open), nil
}

// request does the opening handshake (section 4.1); early is what came behind the
// answer.
func (t *Transport) request(nc net.Conn, u *url.URL, cfg *transport.DialConfig) (sub string, agreed *agreement, early []byte, err error) {
	var refusal *transport.Refusal
	d := ws.Dialer{
		Protocols: cfg.SubProtocols,
		Header:    ws.HandshakeHeaderHTTP(cfg.Header),
		OnStatusError: func(status int, _ []byte, answer io.Reader) {
			refusal = readRefusal(status, answer)
		},
	}
	limited := &limitedConn{Conn: nc, left: t.limits.MaxHeaderBytes}
	if z := t.opts.Compression; z != nil {
		limited.seen = new(bytes.Buffer)
		offer := z.offer()
		d.Extensions = append(d.Extensions, wsflate.Parameters{
			ServerNoContextTakeover: offer.ServerNoTakeover,
			ClientNoContextTakeover: offer.ClientNoTakeover,
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
	case err != nil && limited.left <= 0:
		return "", nil, nil, fmt.Errorf("answer is over the limit of %d bytes", t.limits.MaxHeaderBytes)
	case err != nil:
		return "", nil, nil, err
	}
	if limited.seen != nil {
		// ws.Dialer has checked the name; it does not tell what was repeated.
		agreed, err = t.opts.checkAnswer(headerLines(limited.seen.Bytes(), upgrade.ExtensionsHeader))
		if err != nil {
			return "", nil, nil, err
		}
	}
	return hs.Protocol, agreed, early, nil
}

// readRefusal reads an answer, of which ws.Dialer has parsed the status.
func readRefusal(status int, answer io.Reader) *transport.Refusal {
	resp, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return &transport.Refusal{Status: status}
	}
	defer resp.Body.Close()
	return upgrade.ReadRefusal(resp)
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
