package sockjs

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// A key is where a session is found: requests of another owner, another acceptor or
// another path find nothing, whatever id they name.
type key struct {
	acceptor any
	base, id string
	owner    [sha256.Size]byte
}

func (t *Transport) key(q *request, id string) key {
	k := key{base: q.base, id: id}
	if reflect.ValueOf(q.acceptor).Comparable() {
		k.acceptor = q.acceptor
	}
	if q.owner != nil {
		k.owner = *q.owner
	} else if owner := t.opts.Owner(q.Request); owner != "" {
		k.owner = sha256.Sum256([]byte(owner))
	}
	return k
}

// ownerByCredentials is the default of Options.Owner.
func ownerByCredentials(r *http.Request) string {
	owner := r.Header.Get("Authorization")
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		owner += "\n" + string(r.TLS.PeerCertificates[0].Raw)
	}
	return owner
}

// checkOrigin asks who knows the allowed origins, before an answer says anything.
func (t *Transport) checkOrigin(q *request) error {
	h := q.handshake()
	if len(h.Header.Values("Origin")) == 0 {
		origin := impliedOrigin(q.Request)
		if origin == "" {
			return nil
		}
		h.Header = http.Header{"Origin": {origin}}
	}
	if c, ok := transport.As[transport.OriginChecker](q.acceptor); ok {
		return c.CheckOrigin(h)
	}
	if !sameOrigin(h) {
		return &transport.Refusal{Status: http.StatusForbidden, Text: "pages of this origin are not allowed here"}
	}
	return nil
}

// impliedOrigin is the origin of a page on another site that a browser does not name in
// Origin, because the request is a script's or a frame's; "" if it is none.
func impliedOrigin(r *http.Request) string {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
	default:
		return ""
	}
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host == "" || u.Scheme == "" {
		return "null"
	}
	return u.Scheme + "://" + u.Host
}

// sameOrigin is the rule for acceptors that have none.
func sameOrigin(h *transport.Handshake) bool {
	origins := h.Header.Values("Origin")
	if len(origins) != 1 {
		return false
	}
	u, err := url.Parse(origins[0])
	// An http page of the same host may be anybody's on the way.
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, h.Host) && !(h.Secure && u.Scheme == "http")
}

// cors lets the page that asks read the answer. Its origin was checked.
func (t *Transport) cors(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
}

const (
	notCached = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
	oneYear   = "31536000"
)

// preflight answers OPTIONS.
func preflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Max-Age", oneYear)
	if asked := r.Header.Get("Access-Control-Request-Headers"); isList(asked) {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	cacheForYear(h)
	w.WriteHeader(http.StatusNoContent)
}

// isList reports whether s is a list of header names.
func isList(s string) bool {
	names := upgrade.AppendTokens(nil, s)
	for _, n := range names {
		if !upgrade.IsToken(n) {
			return false
		}
	}
	return len(names) > 0
}

// The cookie by which balancers tell servers from each other.
const cookieName = "JSESSIONID"

func setCookie(w http.ResponseWriter, r *http.Request) {
	value := "dummy"
	if c, err := r.Cookie(cookieName); err == nil && c.Value != "" {
		value = c.Value
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/"})
}
