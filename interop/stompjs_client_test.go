package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// stompPaths are endpoints of one broker. /gobwas/stomp is another name of the first.
var stompPaths = []string{"/stomp", "/gorilla/stomp"}

var stompVersions = []string{"1.0", "1.1", "1.2"}

// @stomp/stompjs speaks each version, with itself on another endpoint of the same broker.
func TestInteropStompJS(t *testing.T) {
	foreign(t)
	t.Parallel()
	run := func(url string, args ...string) {
		for i, path := range stompPaths {
			other := stompPaths[(i+1)%len(stompPaths)]
			t.Run(fmt.Sprint(path, args), func(t *testing.T) {
				t.Parallel()
				script(t, nil, "node", append([]string{"js/stompjs.mjs", url + path, url + other}, args...)...)
			})
		}
	}
	_, url := serverWith(t, "ws")
	for _, version := range stompVersions {
		run(url, version)
	}
	run(url, "1.2", "binary")
	run(url, "1.2", "split")
	_, compressed := serverWith(t, "ws", "-compress", "-takeover")
	run(compressed, "1.2", "compressed")
}

// @stomp/stompjs comes back with its subscriptions, whoever was away.
func TestInteropStompJSReconnect(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, path := range stompPaths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			bin := build(t, "./server")
			first := start(t, bin, "-addr", "127.0.0.1:0")
			addr := first.address(t)
			script(t, map[string]func(*process){
				"restart": func(client *process) {
					require.NoError(t, first.stop())
					second := start(t, bin, "-addr", addr)
					require.Equal(t, addr, second.address(t))
					_, err := fmt.Fprintln(client.stdin, second.cmd.Process.Pid)
					require.NoError(t, err)
				},
			}, "node", "js/stompjs_reconnect.mjs", "ws://"+addr+path, fmt.Sprint(first.cmd.Process.Pid))
		})
	}
}

// Two tabs of a browser use @stomp/stompjs, on a page of the server's own origin.
func TestInteropStompJSBrowser(t *testing.T) {
	foreign(t)
	t.Parallel()
	dir := t.TempDir()
	for _, from := range []string{
		"fixtures/stomp.html", "js/stompjs_peer.mjs", "node_modules/@stomp/stompjs/bundles/stomp.umd.min.js",
	} {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600))
	}
	for _, path := range stompPaths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			_, url := serverWith(t, "http", "-static", dir)
			script(t, nil, "node", "js/stompjs_browser.mjs", fmt.Sprintf("%s/stomp.html?%s", url, path[1:]))
		})
	}
}

// webstomp-client speaks each version.
func TestInteropWebstomp(t *testing.T) {
	foreign(t)
	t.Parallel()
	for _, path := range []string{"/gobwas/stomp", "/gorilla/stomp"} {
		for _, args := range [][]string{{"1.0"}, {"1.1"}, {"1.2"}, {"1.2", "binary"}} {
			t.Run(fmt.Sprint(path, args), func(t *testing.T) {
				t.Parallel()
				_, url := server(t, path)
				script(t, nil, "node", append([]string{"js/webstomp.mjs", url}, args...)...)
			})
		}
	}
}
