package interop

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Tabs of a real browser talk to each other over the endpoints of the chat example. What they
// look like is in artifacts/ afterwards.
func TestInteropChat(t *testing.T) {
	foreign(t)
	t.Parallel()
	artifacts, err := filepath.Abs("artifacts")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(artifacts, 0o755))

	first, page := chat(t, "127.0.0.1:0")
	script(t, map[string]func(*process){
		"restart": func(browser *process) {
			require.NoError(t, first.stop())
			chat(t, page.Host)
			_, err := fmt.Fprintln(browser.stdin, "restarted")
			require.NoError(t, err)
		},
	}, "node", "js/chat.mjs", page.String(), artifacts)
}

// chat starts the chat example and returns the address of its page.
func chat(t *testing.T, addr string, args ...string) (*process, *url.URL) {
	t.Helper()
	p := start(t, build(t, "../examples/chat"), append([]string{"-addr", addr}, args...)...)
	for _, word := range strings.Fields(p.line(t)) {
		if u, err := url.Parse(word); err == nil && u.Scheme == "http" {
			return p, u
		}
	}
	require.FailNow(t, "the chat prints no address")
	return nil, nil
}

// The chat's page has just enough msgpack of its own.
func TestInteropChatMsgpack(t *testing.T) {
	foreign(t)
	t.Parallel()
	script(t, nil, "node", "js/chat_msgpack.mjs", "../examples/chat/page/msgpack.js")
}

// The page of adapters/inspect, while robots talk and hostile clients try to get into it. What it
// looks like is in artifacts/ afterwards.
func TestInteropInspect(t *testing.T) {
	foreign(t)
	t.Parallel()
	artifacts, err := filepath.Abs("artifacts")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(artifacts, 0o755))

	p := start(t, build(t, "../adapters/inspect/example"), "-port", "0")
	page, ok := strings.CutPrefix(p.line(t), "Open ")
	require.True(t, ok)
	script(t, map[string]func(*process){
		"stop": func(browser *process) {
			require.NoError(t, p.stop())
			_, err := fmt.Fprintln(browser.stdin, "stopped")
			require.NoError(t, err)
		},
	}, "node", "js/inspect.mjs", page, artifacts)
}
