package sockjs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"
)

func greet(w http.ResponseWriter) { fail(w, http.StatusOK, "Welcome to SockJS!\n") }

func cacheForYear(h http.Header) {
	h.Set("Cache-Control", "public, max-age="+oneYear)
	h.Set("Expires", time.Now().UTC().Add(365*24*time.Hour).Format(http.TimeFormat))
}

// info tells the client what there is.
func (t *Transport) info(w http.ResponseWriter, q *request) {
	var entropy [4]byte
	_, _ = rand.Read(entropy[:]) // it never fails
	body, err := json.Marshal(struct {
		WebSocket    bool     `json:"websocket"`
		CookieNeeded bool     `json:"cookie_needed"`
		Origins      []string `json:"origins"`
		Entropy      uint32   `json:"entropy"`
		BaseURL      string   `json:"base_url,omitempty"`
	}{t.legs["websocket"] != nil, t.opts.CookieNeeded, []string{"*:*"}, binary.BigEndian.Uint32(entropy[:]), t.baseURL(q)})
	if err != nil {
		fail(w, http.StatusInternalServerError, "")
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = w.Write(body)
}

// baseURL is where the client goes on; "" is where it asked for info.
func (t *Transport) baseURL(q *request) string {
	base := t.opts.BaseURL
	if t.cluster == nil {
		return base
	}
	if base == "" {
		if q.Host == "" {
			return ""
		}
		u := url.URL{Scheme: "http", Host: q.Host, Path: q.base}
		if q.TLS != nil {
			u.Scheme = "https"
		}
		base = u.String()
	}
	return strings.TrimSuffix(base, "/") + "/" + t.cluster.token(q.base)
}

// A page is the answer to requests for the iframe.
type page struct {
	body []byte
	etag string
}

func newPage(clientURL string) *page {
	if clientURL == "" {
		return nil
	}
	body := strings.Replace(`<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="URL"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>`, "URL", html.EscapeString(clientURL), 1)
	sum := sha256.Sum256([]byte(body))
	return &page{[]byte(body), `"` + hex.EncodeToString(sum[:16]) + `"`}
}

func (t *Transport) iframe(w http.ResponseWriter, q *request) {
	h := w.Header()
	cacheForYear(h)
	h.Set("ETag", t.page.etag)
	for tag := range strings.SplitSeq(q.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == t.page.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", "text/html;charset=UTF-8")
	_, _ = w.Write(t.page.body)
}

// htmlPage is the beginning of an htmlfile. Browsers show nothing before they have 1 KiB.
func htmlPage(callback string) string {
	page := strings.Replace(`<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.CB;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
`, "CB", callback, 1)
	const least = 1025
	return page + strings.Repeat(" ", max(0, least-len(page))) + "\r\n\r\n"
}

// maxCallback bounds the name of a function.
const maxCallback = 64

// callback returns the function that the request names, or what is wrong with it.
func (q *request) callback() (name, bad string) {
	query := q.URL.Query()
	name = query.Get("c")
	if name == "" {
		name = query.Get("callback")
	}
	if name == "" {
		return "", `"callback" parameter required`
	}
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.' {
			continue
		}
		return "", `invalid "callback" parameter`
	}
	if len(name) > maxCallback {
		return "", `invalid "callback" parameter`
	}
	return name, ""
}
