package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// engines and forms are all ways to reach the envelope endpoint of interop/server.
var (
	engines = []string{"gobwas", "gorilla"}
	forms   = []string{"json", "msgpack"}
)

// serverWith starts interop/server with more arguments and returns its URL.
func serverWith(t *testing.T, scheme string, args ...string) (*process, string) {
	t.Helper()
	p := start(t, build(t, "./server"), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	return p, scheme + "://" + p.address(t)
}

// eachEnvelope runs f for each engine and form.
func eachEnvelope(t *testing.T, f func(t *testing.T, path, form string)) {
	t.Helper()
	for _, engine := range engines {
		for _, form := range forms {
			t.Run(engine+" "+form, func(t *testing.T) {
				t.Parallel()
				f(t, "/"+engine+"/envelope", form)
			})
		}
	}
}

// npm's ws speaks envelopes, by itself and with a peer in Python that uses the other
// form.
func TestInteropEnvelopeNPM(t *testing.T) {
	foreign(t)
	t.Parallel()
	eachEnvelope(t, func(t *testing.T, path, form string) {
		_, url := server(t, path)
		other := map[string]string{"json": "msgpack", "msgpack": "json"}[form]
		peer := start(t, python, "py/envelope.py", url, other, "peer", "/topic/python")
		require.Equal(t, "ready", peer.line(t))
		script(t, nil, "node", "js/envelope.mjs", url, form, "/topic/python")
	})
}

// python3-websockets speaks envelopes.
func TestInteropEnvelopePython(t *testing.T) {
	foreign(t)
	t.Parallel()
	eachEnvelope(t, func(t *testing.T, path, form string) {
		_, url := server(t, path)
		script(t, nil, python, "py/envelope.py", url, form)
	})
}

// Two tabs of a browser use client.js of the sub-protocol's folder, on a page of the
// server's own origin.
func TestInteropEnvelopeBrowser(t *testing.T) {
	foreign(t)
	t.Parallel()
	dir := t.TempDir()
	for _, from := range []string{"fixtures/envelope.html", "../subprotocol/envelope/client.js"} {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600))
	}
	_, url := serverWith(t, "http", "-static", dir)
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			script(t, nil, "node", "js/envelope_browser.mjs", fmt.Sprintf("%s/envelope.html?%s", url, engine))
		})
	}
}
