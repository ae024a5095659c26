package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStatic asks with raw requests: a client of net/http would clean the paths.
func TestStatic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"outside.txt":          "secret",
		"pages/index.html":     "front",
		"pages/client.js":      "script",
		"pages/sub/index.html": "sub",
		"pages/bare/file.txt":  "file",
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o750))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink("../outside.txt", filepath.Join(dir, "pages", "link.txt")))
	require.NoError(t, os.Symlink("..", filepath.Join(dir, "pages", "up")))
	root, err := os.OpenRoot(filepath.Join(dir, "pages"))
	require.NoError(t, err)
	defer root.Close()
	mux := http.NewServeMux()
	mux.Handle("/", static(root))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	for path, want := range map[string]string{
		"/":                                  "front",
		"/client.js":                         "script",
		"/sub/":                              "sub",
		"/bare/file.txt":                     "file",
		"/sub":                               "", // moved to /sub/
		"/bare":                              "",
		"/bare/":                             "",
		"/none":                              "",
		"/link.txt":                          "",
		"/up/":                               "",
		"/up/outside.txt":                    "",
		"/../outside.txt":                    "",
		"/sub/../../outside.txt":             "",
		"/%2e%2e/outside.txt":                "",
		"/..%2foutside.txt":                  "",
		"/sub/%2e%2e%2f%2e%2e%2foutside.txt": "",
		"/..%5coutside.txt":                  "",
		"//outside.txt":                      "",
		"/%00":                               "",
		"/client.js%00":                      "",
		"/client.js/":                        "",
	} {
		status, body := ask(t, srv.Listener.Addr().String(), path)
		if want == "" {
			require.NotEqual(t, http.StatusOK, status, path)
			require.NotContains(t, body, "secret", path)
			require.NotContains(t, body, "file.txt", path)
			continue
		}
		require.Equal(t, http.StatusOK, status, path)
		require.Equal(t, want, body, path)
	}
}

func ask(t *testing.T, addr, path string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}
