package sockjs

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// maxSegment bounds the server's and the session's part of a path. sockjs-client has 3
// and 8 characters.
const maxSegment = 128

// A route is what a path stands for.
type route struct {
	method  string
	options bool  // OPTIONS has an answer too
	cached  bool  // the client may keep the answer
	session bool  // about a session over requests: a node owns it, and answers carry the cookie
	kind    *kind // of a receive request
	cors    bool  // pages of other origins may ask
	serve   func(t *Transport, w http.ResponseWriter, q *request)
}

func (r *route) allow() string {
	if r.options {
		return "OPTIONS, " + r.method
	}
	return r.method
}

func receives(k *kind, method string, options bool) *route {
	return &route{method: method, options: options, session: true, kind: k, cors: true, serve: func(t *Transport, w http.ResponseWriter, q *request) {
		t.receive(k, w, q)
	}}
}

var (
	greetingRoute = &route{method: "GET", cached: true, serve: func(_ *Transport, w http.ResponseWriter, _ *request) { greet(w) }}
	infoRoute     = &route{method: "GET", options: true, cors: true, serve: (*Transport).info}
	iframeRoute   = &route{method: "GET", cached: true, serve: (*Transport).iframe}
	rawRoute      = &route{method: "GET", serve: (*Transport).rawWebSocket}

	webSocketRoute    = &route{method: "GET", serve: (*Transport).webSocket}
	xhrRoute          = receives(xhr, "POST", true)
	xhrStreamingRoute = receives(xhrStreaming, "POST", true)
	eventSourceRoute  = receives(eventSource, "GET", false)
	htmlFileRoute     = receives(htmlFile, "GET", false)
	jsonpRoute        = receives(jsonp, "GET", false)
	xhrSendRoute      = &route{method: "POST", options: true, session: true, cors: true, serve: (*Transport).xhrSend}
	jsonpSendRoute    = &route{method: "POST", session: true, cors: true, serve: (*Transport).jsonpSend}
)

// A request is a request with what its path says.
type request struct {
	*http.Request
	acceptor transport.Acceptor
	key      key
	base     string // the path in front of what is ours
	path     string // what is ours, as it was written

	// In a cluster.
	node      string             // whose the session is; "" if the path names none
	elsewhere bool               // that is another node
	owner     *[sha256.Size]byte // whose the request is, if another node says so
}

// handshake is what the acceptor sees: the session's id is not for it.
func (q *request) handshake() *transport.Handshake {
	h := upgrade.NewHandshake(q.Context(), name, q.Request)
	h.Path = q.base
	h.SubProtocols = nil
	return h
}

// find returns the route of a path, nil if there is none, and the id of its session and the
// token in front of it.
func (t *Transport) find(path string) (_ *route, token, id string) {
	if t.cluster != nil {
		token, path = cutToken(path)
	}
	r, id := t.findBehind(path)
	return r, token, id
}

// findBehind does that for what is behind the token.
func (t *Transport) findBehind(path string) (_ *route, id string) {
	switch path {
	case "", "/":
		return greetingRoute, ""
	case "/info":
		return infoRoute, ""
	case "/websocket":
		if t.ws == nil || t.opts.NoRawWebSocket {
			return nil, ""
		}
		return rawRoute, ""
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, ""
	}
	server, rest, ok := strings.Cut(rest, "/")
	if !ok {
		if t.page != nil && isIframe(server) {
			return iframeRoute, ""
		}
		return nil, ""
	}
	id, leg, ok := strings.Cut(rest, "/")
	if !ok {
		return nil, ""
	}
	leg = strings.TrimSuffix(leg, "/")
	if _, ok := segment(server); !ok {
		return nil, ""
	}
	if id, ok = segment(id); !ok {
		return nil, ""
	}
	return t.legs[leg], id
}

// segment decodes a part of a path and reports whether it may stand there.
func segment(s string) (string, bool) {
	if len(s) > 3*maxSegment {
		return "", false
	}
	s, err := url.PathUnescape(s)
	if err != nil || s == "" || len(s) > maxSegment {
		return "", false
	}
	for i := range len(s) {
		if c := s[i]; c == '.' || c == '/' || c == '\\' || c < ' ' || c == 0x7f {
			return "", false
		}
	}
	return s, true
}

// isIframe reports whether s is iframe, anything of digits, small letters and ._- and
// .html.
func isIframe(s string) bool {
	s, ok := strings.CutPrefix(s, "iframe")
	if !ok {
		return false
	}
	s, ok = strings.CutSuffix(s, ".html")
	for i := range len(s) {
		if c := s[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '.' || c == '_' {
			continue
		}
		return false
	}
	return ok
}

// ServeHTTP answers whatever lies under the path at which the transport is mounted, with
// [Mount] or with http.StripPrefix.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request, a transport.Acceptor) {
	path := r.URL.EscapedPath()
	route, token, id := t.find(path)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	q := &request{Request: r, acceptor: a, base: base(r, path), path: path}
	if route == nil || token != "" && !t.cluster.admit(q, token) {
		fail(w, http.StatusNotFound, "not found")
		return
	}
	if err := t.checkOrigin(q); err != nil && route != greetingRoute {
		h.Set("Cache-Control", notCached)
		upgrade.WriteRefusal(w, upgrade.Refusal(err))
		return
	}
	if route.cors {
		t.cors(h, r)
	}
	switch {
	case r.Method == http.MethodOptions && route.options:
		preflight(w, r, route.allow())
		return
	case r.Method != route.method:
		h.Set("Allow", route.allow())
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !route.cached {
		h.Set("Cache-Control", notCached)
	}
	if route.session && t.opts.CookieNeeded {
		setCookie(w, r)
	}
	if id != "" {
		q.key = t.key(q, token+"/"+id)
	}
	switch {
	case !q.elsewhere || !route.session:
		route.serve(t, w, q)
	case q.owner != nil:
		fail(w, http.StatusMisdirectedRequest, "session of another node")
	default:
		t.forward(route, w, q)
	}
}

// base is the path that was stripped from the request's before it came here.
func base(r *http.Request, path string) string {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return ""
	}
	b, ok := strings.CutSuffix(u.EscapedPath(), path)
	if !ok {
		return ""
	}
	b, err = url.PathUnescape(b)
	if err != nil {
		return ""
	}
	return b
}

// fail answers with a status and a constant text.
func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// Mount puts endpoint, whose transport is this package's, at prefix, which has no slash at
// its end, and next everywhere else. It belongs in front of a router: http.ServeMux
// answers prefix alone and paths with two slashes with redirects, where the protocol has
// answers of its own. A nil next answers 404. It panics without an endpoint, and for a
// prefix that is not "" and does not begin with a slash, or ends with one.
func Mount(prefix string, endpoint, next http.Handler) http.Handler {
	if endpoint == nil {
		panic("sockjs: Mount without an endpoint")
	}
	if prefix != "" && prefix[0] != '/' || strings.HasSuffix(prefix, "/") {
		panic("sockjs: Mount: prefix " + prefix + " must begin with a slash and not end with one")
	}
	if next == nil {
		next = http.HandlerFunc(http.NotFound)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok || path != "" && path[0] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		raw, ok := strings.CutPrefix(r.URL.RawPath, prefix)
		if !ok && r.URL.RawPath != "" { // the prefix is written in another way
			http.NotFound(w, r)
			return
		}
		r2 := new(http.Request)
		*r2 = *r
		r2.URL = new(url.URL)
		*r2.URL = *r.URL
		r2.URL.Path, r2.URL.RawPath = path, raw
		endpoint.ServeHTTP(w, r2)
	})
}
