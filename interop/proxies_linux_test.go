package interop

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy is Debian's nginx or haproxy with a configuration.
type proxy struct {
	name, program string
	settings      string
	through       []string // SockJS's transports that get through, the best one first
}

var proxies = []proxy{
	{"nginx with Upgrade", "nginx", `
		proxy_http_version 1.1;
		proxy_set_header Upgrade $http_upgrade;
		proxy_set_header Connection $connection_upgrade;`, allTransports},
	{"nginx as it comes", "nginx", ``, allTransports[1:]},
	{"nginx that holds responses back", "nginx", `
		proxy_ignore_headers X-Accel-Buffering;`, []string{"xhr-polling"}},
	{"haproxy as it comes", "haproxy", ``, allTransports},
	{"haproxy without Upgrade", "haproxy", `
		http-request del-header Upgrade`, allTransports[1:]},
}

var allTransports = []string{"websocket", "xhr-streaming", "eventsource", "xhr-polling"}

// start runs the proxy in front of a server, with all its files in a folder of the test's, and
// returns its address. The settings that all of them have are those of transport/sockjs's
// documentation.
func (p proxy) start(t *testing.T, server string) string {
	t.Helper()
	dir, addr := t.TempDir(), "127.0.0.1:"+freePorts(t, 1)[0]
	var args []string
	switch p.program {
	case "nginx":
		write(t, dir, "nginx.conf", fmt.Sprintf(`
			daemon off;
			master_process off;
			pid pid;
			events {}
			http {
				access_log off;
				client_body_temp_path body;
				proxy_temp_path proxy;
				fastcgi_temp_path fastcgi;
				uwsgi_temp_path uwsgi;
				scgi_temp_path scgi;
				map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
				server {
					listen %s;
					location / {
						proxy_pass http://%s;
						proxy_set_header Host $http_host;
						proxy_read_timeout 60s;
						%s
					}
				}
			}
		`, addr, server, p.settings))
		args = []string{"-p", dir, "-c", "nginx.conf", "-e", "stderr"}
	case "haproxy":
		write(t, dir, "haproxy.cfg", fmt.Sprintf(`
			defaults
				mode http
				timeout connect 5s
				timeout client 60s
				timeout server 60s
				timeout tunnel 1h
				option abortonclose
			listen weft
				bind %s
				%s
				server weft %s
		`, addr, p.settings, server))
		args = []string{"-db", "-f", filepath.Join(dir, "haproxy.cfg")}
	}
	d := launch(t, os.Environ(), "", "/usr/sbin/"+p.program, args...)
	t.Cleanup(func() { d.stop(t) })
	listening(t, d, addr)
	return addr
}

// Two people chat through a proxy, on a page that knows the server by the proxy's name. The
// page takes the best transport that gets through, and says which one that is.
func TestInteropProxiedChat(t *testing.T) {
	foreign(t)
	t.Parallel()
	artifacts, err := filepath.Abs("artifacts")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(artifacts, 0o755))
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			_, page := chat(t, "127.0.0.1:0", "-host", "chat.example")
			_, port, err := net.SplitHostPort(p.start(t, page.Host))
			require.NoError(t, err)
			script(t, nil, "node", "js/chat_proxy.mjs", "http://chat.example:"+port+"/", p.through[0],
				filepath.Join(artifacts, "chat-"+strings.ReplaceAll(p.name, " ", "-")))
		})
	}
}

// sockjs-client uses the transports that get through a proxy, and finds the best one.
func TestInteropProxiedSockJS(t *testing.T) {
	foreign(t)
	t.Parallel()
	_, server := serverWith(t, "http")
	u, err := url.Parse(server)
	require.NoError(t, err)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.start(t, u.Host)
			for _, path := range sockJSPaths {
				t.Run(path, func(t *testing.T) {
					script(t, nil, "node", slices.Concat([]string{"js/sockjs.mjs", "http://" + addr + path}, p.through)...)
				})
			}
		})
	}
}
