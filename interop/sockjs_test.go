package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sockJSPaths are the test services and the broker on each engine.
var sockJSPaths = []string{"/gobwas/sockjs", "/gorilla/sockjs"}

// sockjs-client in node uses the test services over each transport that it has there.
func TestInteropSockJS(t *testing.T) {
	foreign(t)
	t.Parallel()
	_, url := serverWith(t, "http", "-sockjs-engine", "gorilla")
	for _, path := range append([]string{""}, sockJSPaths...) {
		t.Run("at "+path, func(t *testing.T) {
			t.Parallel()
			script(t, nil, "node", "js/sockjs.mjs", url+path)
		})
	}
}

// @stomp/stompjs uses the broker through sockjs-client, over each transport.
func TestInteropSockJSStompJS(t *testing.T) {
	foreign(t)
	t.Parallel()
	_, url := serverWith(t, "http")
	for _, path := range sockJSPaths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			script(t, nil, "node", "js/sockjs_stompjs.mjs", url+path+"/sockjs-stomp")
		})
	}
}

// sockjs-client in a browser uses the test services over every transport, and the client of
// the chat example over its three, on pages of the server's own origin, another port and
// another site.
func TestInteropSockJSBrowser(t *testing.T) {
	foreign(t)
	t.Parallel()
	dir := t.TempDir()
	for _, from := range []string{
		"fixtures/sockjs.html", "js/sockjs_cases.mjs", "node_modules/sockjs-client/dist/sockjs.min.js",
		"../examples/chat/page/sockjs.js",
	} {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600))
	}
	id := newIdentity(t)
	for _, tt := range []struct {
		scheme      string
		args, paths []string
	}{
		{"http", nil, sockJSPaths},
		{"https", []string{"-cert", id.certFile, "-key", id.keyFile}, sockJSPaths[:1]}, // which makes it HTTP/2
	} {
		_, url := serverWith(t, tt.scheme, slices.Concat(tt.args, []string{"-static", dir, "-sockjs-url", "/sockjs.min.js"})...)
		_, other := serverWith(t, tt.scheme, slices.Concat(tt.args, []string{"-static", dir})...)
		const page = "/sockjs.html"
		site := strings.Replace(other, "127.0.0.1", "localhost", 1)
		for _, path := range tt.paths {
			t.Run(tt.scheme+path, func(t *testing.T) {
				table := map[string]func(*process){"table": func(p *process) {
					for l := p.line(t); l != ""; l = p.line(t) {
						t.Log(l)
					}
				}}
				script(t, table, "node", "js/sockjs_browser.mjs", url+path, url+page, other+page, site+page)
			})
		}
	}
}
