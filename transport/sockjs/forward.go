package sockjs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// errNoNode is why a request has no answer.
var errNoNode = errors.New("sockjs: there is no such node")

// hops are the headers that are about one connection. What a client lists in Connection is
// none of them: it could take away from the owner's acceptor what was looked at here.
var hops = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Expect", // the body has come
}

func dropHops(h http.Header) {
	for _, name := range hops {
		h.Del(name)
	}
}

// forward has the node that owns the session answer. It was checked here that the page may
// ask.
func (t *Transport) forward(rt *route, w http.ResponseWriter, q *request) {
	c := t.cluster
	if c.waiting.Add(1) > int64(c.MaxForwards) {
		c.waiting.Add(-1)
		unavailable(w)
		return
	}
	defer c.waiting.Add(-1)
	f := &forwarding{t: t, w: w, q: q, silence: math.MaxInt64}
	if t.opts.HeartbeatInterval < math.MaxInt64 {
		f.silence = t.opts.HeartbeatInterval + t.opts.HandshakeTimeout
	}
	var ok bool
	if rt.kind != nil {
		f.leg, ok = t.newLeg(rt.kind, w, q)
	} else {
		f.body, ok = t.body(w, q.Request)
	}
	if ok {
		f.run()
	}
}

// forwarding is a request that is being forwarded.
type forwarding struct {
	t       *Transport
	w       http.ResponseWriter
	q       *request
	leg     *leg          // of a receive request
	body    []byte        // of a send request
	silence time.Duration // from which on the other node counts as dead
	written int
	tail    []byte // how it ends
}

func (f *forwarding) run() {
	f.t.stats.forwarded.Add(1)
	ctx, cancel := context.WithCancel(f.q.Context())
	defer cancel()
	watchdog := time.AfterFunc(f.silence, cancel)
	defer watchdog.Stop()
	resp, err := f.ask(ctx)
	if err != nil {
		f.gone()
		return
	}
	defer resp.Body.Close()
	buf := make([]byte, 4<<10)
	n, err := resp.Body.Read(buf)
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		f.gone()
		return
	}
	dropHops(resp.Header)
	h := f.w.Header()
	for name, values := range resp.Header {
		if _, said := h[name]; !said { // origin, cookie and the like are said once
			h[name] = values
		}
	}
	f.w.WriteHeader(resp.StatusCode)
	for {
		if n > 0 {
			watchdog.Stop() // the client may take its time
			if f.write(buf[:n]) != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			f.cut()
			return
		}
		watchdog.Reset(f.silence)
		n, err = resp.Body.Read(buf)
	}
}

// ask makes the request.
func (f *forwarding) ask(ctx context.Context) (*http.Response, error) {
	q := f.q
	peer := f.t.cluster.Peer(q.node)
	if peer == nil {
		return nil, errNoNode
	}
	base := &url.URL{Path: q.base}
	u := *peer
	u.Path = strings.TrimSuffix(peer.Path, "/") + q.base + q.URL.Path
	u.RawPath = strings.TrimSuffix(peer.EscapedPath(), "/") + base.EscapedPath() + q.path
	u.RawQuery = q.URL.RawQuery
	out, err := http.NewRequestWithContext(ctx, q.Method, "", bytes.NewReader(f.body))
	if err != nil {
		return nil, err
	}
	out.URL, out.Host = &u, q.Host // not parsed again: that would cut the query at a #
	out.Header = q.Header.Clone()
	dropHops(out.Header)
	if _, has := out.Header["User-Agent"]; !has {
		out.Header.Set("User-Agent", "") // not net/http's own
	}
	via := q.RemoteAddr
	if host, _, err := net.SplitHostPort(via); err == nil {
		via = host
	}
	out.Header.Set("X-Forwarded-For", strings.Join(append(out.Header["X-Forwarded-For"], via), ", "))
	out.Header.Set(forwardedHeader, f.t.cluster.mark(q))
	resp, err := f.t.cluster.RoundTripper.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusMisdirectedRequest, http.StatusBadGateway, http.StatusGatewayTimeout:
		resp.Body.Close()
		return nil, errNoNode
	}
	return resp, nil
}

func (f *forwarding) write(p []byte) error {
	f.written += len(p)
	f.tail = append(f.tail, p[max(0, len(p)-maxEnd):]...)
	f.tail = append(f.tail[:0], f.tail[max(0, len(f.tail)-maxEnd):]...)
	if f.leg != nil {
		return f.leg.out(p, false)
	}
	_, err := f.w.Write(p)
	return err
}

// gone answers in place of the owner of the session, unless it is the client who is gone.
func (f *forwarding) gone() {
	if f.q.Context().Err() != nil {
		return
	}
	f.t.stats.forwardsFailed.Add(1)
	if f.leg == nil {
		fail(f.w, http.StatusNotFound, "no such session")
		return
	}
	if f.leg.start() == nil {
		f.interrupt()
	}
}

func (f *forwarding) interrupt() {
	_ = f.leg.write(appendClose(nil, codeInterrupted, textInterrupted), true)
}

// cut ends an answer that the owner has not ended: behind a whole frame, or before all of
// them, the close frame may stand.
func (f *forwarding) cut() {
	if f.q.Context().Err() != nil {
		return
	}
	f.t.stats.forwardsFailed.Add(1)
	if l := f.leg; l != nil && !l.kind.poll &&
		(bytes.HasSuffix(f.tail, []byte(l.kind.end)) || f.written == len(l.kind.prelude(l.callback))) {
		f.interrupt()
		return
	}
	panic(http.ErrAbortHandler)
}
