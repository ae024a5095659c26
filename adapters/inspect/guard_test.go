package inspect

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// request is one that is answered, before it is changed.
func request(ins *Inspector, method, path string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost:8080"+path, nil)
	r.RemoteAddr = "127.0.0.1:5000"
	r.Header.Set(tokenHeader, ins.token)
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOnlyThisMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		change       func(r *http.Request)
		code, remote int // the status, and with AllowRemote
	}{
		{"this machine", func(*http.Request) {}, 200, 200},
		{"IPv6", func(r *http.Request) { r.RemoteAddr = "[::1]:5"; r.Host = "[::1]:8080" }, 200, 200},
		{"IPv6 without a port", func(r *http.Request) { r.Host = "[::1]" }, 200, 200},
		{"IPv4 in IPv6", func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:5" }, 200, 200},
		{"all of 127", func(r *http.Request) { r.RemoteAddr = "127.9.9.9:5"; r.Host = "127.1.1.1" }, 200, 200},
		{"another machine", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:5" }, 403, 200},
		{"no address", func(r *http.Request) { r.RemoteAddr = "" }, 403, 200},
		{"a Unix socket", func(r *http.Request) { r.RemoteAddr = "@" }, 403, 200},
		{"another name", func(r *http.Request) { r.Host = "rebound.example" }, 403, 200},
		{"a name that begins alike", func(r *http.Request) { r.Host = "localhost.example:80" }, 403, 200},
		{"a number that begins alike", func(r *http.Request) { r.Host = "127.0.0.1.example" }, 403, 200},
		{"no name", func(r *http.Request) { r.Host = "" }, 403, 200},
		{"every address", func(r *http.Request) { r.Host = "0.0.0.0" }, 403, 200},
		{"a proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, 403, 200},
		{"a proxy's host", func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "localhost") }, 403, 200},
		{"a proxy by the standard", func(r *http.Request) { r.Header.Set("Forwarded", "for=192.0.2.1") }, 403, 200},
		{"nginx", func(r *http.Request) { r.Header.Set("X-Real-IP", "192.0.2.1") }, 403, 200},
		{"Cloudflare", func(r *http.Request) { r.Header.Set("CF-Connecting-IP", "192.0.2.1") }, 403, 200},
		{"a network of caches", func(r *http.Request) { r.Header.Set("CDN-Loop", "x") }, 403, 200},
		{"what some take for the client", func(r *http.Request) { r.Header.Set("True-Client-IP", "127.0.0.1") }, 403, 200},
		{"nginx as it is when nobody sets it up", func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 }, 403, 200},
		{"without the token", func(r *http.Request) { r.Header.Del(tokenHeader) }, 403, 403},
		{"with another token", func(r *http.Request) { r.Header.Set(tokenHeader, "x") }, 403, 403},
		{"another site", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, 403},
		{"a neighbour", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403, 403},
		{"this site", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 200, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for allow, code := range map[bool]int{false: tt.code, true: tt.remote} {
				ins := New(&Options{AllowRemote: allow})
				r := request(ins, "GET", "/sessions")
				tt.change(r)
				require.Equal(t, code, answer(ins, r).Code, "AllowRemote: %t", allow)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	for path, good := range map[string]string{"/": "GET, HEAD", "/sessions": "GET", "/session": "GET", "/figures": "GET", "/frames": "GET", "/close": "POST"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			if strings.Contains(good, method) {
				continue
			}
			w := answer(ins, request(ins, method, path))
			require.Equal(t, 405, w.Code, "%s %s", method, path)
			require.Equal(t, good, w.Header().Get("Allow"))
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
		}
	}
	require.Equal(t, 404, answer(ins, request(ins, "GET", "/x")).Code)
}

// A page of another origin can't have a session closed.
func TestForgery(t *testing.T) {
	t.Parallel()
	ins := New(&Options{AllowRemote: true})
	for name, change := range map[string]func(r *http.Request){
		"no token":       func(r *http.Request) { r.Header.Del(tokenHeader) },
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"no origin":      func(r *http.Request) { r.Header.Set("Origin", "null") },
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a form": func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		},
	} {
		r := request(ins, "POST", "/close")
		change(r)
		require.Equal(t, 403, answer(ins, r).Code, name)
	}
	r := request(ins, "POST", "/close")
	r.Header.Set("Origin", "http://localhost:8080")
	require.Equal(t, 400, answer(ins, r).Code, "the page's own gets further, to its body")
}

// A link from elsewhere opens the page, which nobody may put into a frame.
func TestPage(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	r := request(ins, "GET", "/")
	r.Header.Del(tokenHeader)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := answer(ins, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	body, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	require.Contains(t, body, ins.token)
	require.NotContains(t, body, "{{")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "frame-ancestors 'none'")
	for kind, tag := range map[string]string{"script-src": `<script type="module">`, "style-src": "<style>"} {
		_, rest, _ := strings.Cut(body, tag)
		content, _, _ := strings.Cut(rest, "</")
		require.Contains(t, policy, kind+" '"+digest([]byte(content))+"'")
	}
	require.NotRegexp(t, `\son[a-z]+=|\sstyle=|https?://[^w]|src=|innerHTML|\beval\b`, body, "nothing in attributes, nothing from outside")
	require.NotEqual(t, ins.token, New(nil).token)
}

// The page works below any prefix, and is sent to where relative URLs do.
func TestPrefix(t *testing.T) {
	t.Parallel()
	ins := New(nil)
	mux := http.NewServeMux()
	mux.Handle("/a/inspect", http.StripPrefix("/a/inspect", ins))
	mux.Handle("/a/inspect/", http.StripPrefix("/a/inspect", ins))
	mux.Handle("/b/", http.StripPrefix("/b/", ins))
	for path, code := range map[string]int{"/a/inspect": 307, "/a/inspect/": 200, "/a/inspect/sessions": 200, "/b/": 200, "/b/sessions": 200} {
		w := answer(mux, request(ins, "GET", path))
		require.Equal(t, code, w.Code, path)
		if code == 307 {
			require.Equal(t, "./inspect/", w.Header().Get("Location"))
		}
	}
}
