package inspect

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

var (
	//go:embed page/page.html
	pageHTML []byte
	//go:embed page/page.css
	pageCSS []byte
	//go:embed page/page.js
	pageJS []byte
)

// newPage returns the page, which is one file, and the policy under which it is read: only
// its own script and style count, and it talks to nobody but its server.
func newPage(token string) (page []byte, policy string) {
	page = pageHTML
	for mark, content := range map[string][]byte{"{{style}}": pageCSS, "{{script}}": pageJS, "{{token}}": []byte(token)} {
		page = bytes.Replace(page, []byte(mark), content, 1)
	}
	return page, fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; img-src data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
		digest(pageJS), digest(pageCSS))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// tokenHeader is what all requests but that for the page itself must have. A page of another
// origin can't send it without being asked for permission, which is never given, nor does it
// know the token.
const tokenHeader = "X-Weft-Inspect"

type route struct {
	method string
	serve  http.HandlerFunc
}

// ServeHTTP answers with the page, and what the page asks for. It works below any prefix
// that http.StripPrefix takes off.
func (i *Inspector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", i.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if why := i.foreign(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	select {
	case <-i.done:
		http.Error(w, "this page is closed", http.StatusServiceUnavailable)
		return
	default:
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		i.servePage(w, r)
		return
	}
	to, ok := i.routes[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != to.method {
		h.Set("Allow", to.method)
		http.Error(w, "this needs "+to.method, http.StatusMethodNotAllowed)
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(i.token)) != 1 {
		http.Error(w, "this is for the page alone; if you see it there, reload: the server has restarted", http.StatusForbidden)
		return
	}
	to.serve(w, r)
}

func (i *Inspector) servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this needs GET", http.StatusMethodNotAllowed)
		return
	}
	// The page names its parts by relative URLs, so its own must end with a slash.
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil && asked.Path != "" && !strings.HasSuffix(asked.Path, "/") {
		w.Header().Set("Location", "./"+url.PathEscape(path.Base(asked.Path))+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(i.page)
}

// foreign says why a request is refused, "" if it is not.
func (i *Inspector) foreign(r *http.Request) string {
	if !i.opts.AllowRemote {
		if why := remote(r); why != "" {
			return "this page answers to this machine alone: " + why + "; see inspect.Options.AllowRemote"
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		// Following a link is harmless: what it shows is seen by who follows it.
		if r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Method != http.MethodGet {
			return "another site asks"
		}
	}
	if err := i.origins.Check(r); err != nil {
		return "another site asks"
	}
	return ""
}

// proxyHeaders are what proxies add, besides X-Forwarded-For and the like.
var proxyHeaders = []string{
	"Cdn-Loop", "Cf-Connecting-Ip", "Client-Ip", "Fastly-Client-Ip", "Forwarded", "Forwarded-For", "True-Client-Ip", "Via",
	"X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For", "X-Real-Ip",
}

// remote says why r is not from this machine, "" if it is.
func remote(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return "the request comes from elsewhere"
	}
	if !localName(r.Host) {
		return "the request asks for another name than localhost"
	}
	if !r.ProtoAtLeast(1, 1) { // which no browser speaks, but nginx if nobody tells it not to
		return "the request has passed a proxy"
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded") || slices.Contains(proxyHeaders, name) {
			return "the request has passed a proxy"
		}
	}
	return ""
}

// localName reports whether a Host is one that no name server can make another's.
func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
