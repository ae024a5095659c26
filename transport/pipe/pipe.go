package pipe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftws/weft/transport"
)

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Binder    = (*Transport)(nil)
	_ transport.Dialer    = (*Transport)(nil)
)

// A Transport connects those who dial it with the acceptor that is bound to it. It
// is safe for concurrent use.
type Transport struct {
	opts    Options
	buffers buffers
	dials   atomic.Uint64

	mu       sync.Mutex
	acceptor transport.Acceptor
}

// New makes a Transport with nobody bound to it. Nil opts mean the defaults.
func New(opts *Options) *Transport {
	return &Transport{opts: opts.withDefaults()}
}

// Name returns "pipe".
func (t *Transport) Name() string { return "pipe" }

// Features returns that a pipe keeps boundaries and carries both types.
func (t *Transport) Features() transport.Features {
	return transport.Features{Boundaries: true, Text: true, Binary: true}
}

// ServeHTTP answers 501: a pipe is not reached through HTTP.
func (t *Transport) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ transport.Acceptor) {
	http.Error(w, "pipe: this transport connects inside a process and is not served over HTTP",
		http.StatusNotImplemented)
}

// Bind sets the acceptor of later connections; nil refuses them with status 503.
func (t *Transport) Bind(a transport.Acceptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acceptor = a
}

// maxRefusal is how much of a refusal's text a dialer returns.
const maxRefusal = 1024

// handshakeFields are the header fields that DialConfig.Header must not have: a
// WebSocket dialer sets them itself, and code that runs over a pipe should run over
// a WebSocket too.
var handshakeFields = []string{
	"Connection", "Host", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol",
	"Sec-Websocket-Version", "Upgrade",
}

// Dial connects to the bound acceptor. rawURL is "pipe://host/path?query"; host, path
// and query are what the acceptor sees. Handshake.Context is ctx. A Dial that ctx
// ends returns ctx.Err, and an acceptor that admits it later has its admission
// aborted.
func (t *Transport) Dial(
	ctx context.Context, rawURL string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	h, err := t.handshake(ctx, rawURL, cfg)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	a := t.acceptor
	t.mu.Unlock()
	if a == nil {
		return nil, &transport.Refusal{Status: http.StatusServiceUnavailable, Text: "pipe: no acceptor is bound"}
	}

	adm, err := t.ask(ctx, a, h)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		adm.Abort(err)
		return nil, err
	}
	sub := adm.SubProtocol()
	if sub != "" && !slices.Contains(h.SubProtocols, sub) {
		err := fmt.Errorf("pipe: peer chose sub-protocol %q, which was not offered", sub)
		adm.Abort(err)
		return nil, err
	}
	server, client := newLink(&t.opts, &t.buffers, sub)
	server.open(adm.Open)
	client.open(open)
	return client, nil
}

// handshake builds what the acceptor sees.
func (t *Transport) handshake(ctx context.Context, rawURL string, cfg *transport.DialConfig) (*transport.Handshake, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	if u.Scheme != "pipe" {
		return nil, fmt.Errorf("pipe: scheme %q is not pipe", u.Scheme)
	}
	if cfg == nil {
		cfg = new(transport.DialConfig)
	}
	header := make(http.Header, len(cfg.Header))
	for _, name := range slices.Sorted(maps.Keys(cfg.Header)) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if slices.Contains(handshakeFields, canonical) {
			return nil, fmt.Errorf("pipe: header field %s belongs to the handshake", canonical)
		}
		header[canonical] = append(header[canonical], cfg.Header[name]...)
	}
	n := strconv.FormatUint(t.dials.Add(1), 10)
	return &transport.Handshake{
		Transport:    t.Name(),
		Host:         u.Host,
		Path:         u.Path,
		Query:        u.RawQuery,
		RemoteAddr:   addr("client-" + n),
		LocalAddr:    addr("server-" + n),
		Header:       header,
		SubProtocols: slices.Clone(cfg.SubProtocols),
		Context:      ctx,
	}, nil
}

// ask lets the acceptor decide, for as long as ctx allows.
func (t *Transport) ask(ctx context.Context, a transport.Acceptor, h *transport.Handshake) (transport.Admission, error) {
	type answer struct {
		adm transport.Admission
		err error
	}
	answers := make(chan answer)
	gone := make(chan struct{})
	go func() {
		var ans answer
		defer func() {
			if recover() != nil { // as a panic in an HTTP handler: the client's request fails
				ans = answer{err: errPanic}
			}
			select {
			case answers <- ans:
			case <-gone:
				if ans.err == nil && ans.adm != nil {
					ans.adm.Abort(ctx.Err())
				}
			}
		}()
		ans.adm, ans.err = a.Accept(h)
	}()
	select {
	case ans := <-answers:
		if ans.err == nil && ans.adm == nil {
			ans.err = errNoAdmission
		}
		if ans.err != nil {
			return nil, refusal(ans.err)
		}
		return ans.adm, nil
	case <-ctx.Done():
		close(gone)
		return nil, ctx.Err()
	}
}

var (
	errPanic       = errors.New("pipe: the acceptor panicked")
	errNoAdmission = errors.New("pipe: the acceptor returned no admission")
)

// refusal is what the dialer is told of the acceptor's error. Only a Refusal is
// meant for the client.
func refusal(err error) *transport.Refusal {
	r, ok := errors.AsType[*transport.Refusal](err)
	if !ok || r.Status < 400 || r.Status > 599 {
		return &transport.Refusal{Status: http.StatusInternalServerError}
	}
	text := r.Text
	if len(text) > maxRefusal {
		text = strings.ToValidUTF8(text[:maxRefusal], "")
	}
	return &transport.Refusal{Status: r.Status, Text: text, Header: r.Header.Clone()}
}

// addr is the address of an end.
type addr string

func (addr) Network() string  { return "pipe" }
func (a addr) String() string { return string(a) }
