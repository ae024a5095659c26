package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for addr, want := range map[string]string{
		"0.0.0.0:8080":         "not on this machine alone",
		":8080":                "not on this machine alone",
		"192.0.2.1:80":         "not on this machine alone",
		"[::]:80":              "not on this machine alone",
		"example.com:80":       "not on this machine alone",
		"8080":                 "is no address",
		"":                     "is no address",
		"127.0.0.1:http-but-x": "cannot listen",
	} {
		_, err := listen(addr)
		require.ErrorContains(t, err, want, "%q", addr)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err = listen(taken.Addr().String())
	require.ErrorContains(t, err, "is taken")
}

// The page may load its own files and nothing else, and they are all there.
func TestPage(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(newSite(newStacks(slog.New(slog.DiscardHandler)), ""))
	t.Cleanup(srv.Close)
	want := map[string]struct{ kind, text string }{
		"/":            {"text/html", `<script src="chat.js" type="module">`},
		"/chat.js":     {"text/javascript", `from "./tap.js"`},
		"/client.js":   {"text/javascript", `"v1.json.weft"`},
		"/msgpack.js":  {"text/javascript", `"v1.msgpack.weft"`},
		"/stomp.js":    {"text/javascript", `"v12.stomp"`},
		"/lines.js":    {"text/javascript", "new WebSocket(url)"},
		"/sockjs.js":   {"text/javascript", `"xhr-streaming"`},
		"/tap.js":      {"text/javascript", "extends Socket"},
		"/show.js":     {"text/javascript", "textContent"},
		"/chat.css":    {"text/css", ":focus-visible"},
		"/icon.svg":    {"image/svg+xml", "<svg"},
		"/stacks.json": {"application/json", `"name":"gorilla/msgpack"`},
	}
	entries, err := files.ReadDir("page")
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != "index.html" {
			require.Contains(t, want, "/"+e.Name())
		}
	}
	// The clients show an address of their reader's in a comment.
	own := strings.NewReplacer("http://www.w3.org/2000/svg", "", "wss://example.com/ws", "", "https://example.com/sockjs", "")
	for path, want := range want {
		res, err := srv.Client().Get(srv.URL + path)
		require.NoError(t, err)
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, path)
		require.Contains(t, res.Header.Get("Content-Type"), want.kind)
		require.Contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'none'")
		require.Contains(t, body.String(), want.text)
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "wss://e"} {
			require.NotContains(t, own.Replace(body.String()), never, path)
		}
	}
}

// The page's client is the one of subprotocol/envelope, letter for letter.
func TestClientIsACopy(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../../subprotocol/envelope/client.js")
	require.NoError(t, err)
	got, err := files.ReadFile("page/client.js")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "cp subprotocol/envelope/client.js examples/chat/page/")
}

func TestOnlyLocalHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200,
		"evil.example:8080": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		newSite(nil, "").ServeHTTP(w, r)
		require.Equal(t, want, w.Code, host)
	}
}

// Behind a proxy the chat has one name more, also for SockJS, where pages of others are
// refused as they are everywhere.
func TestHostOfProxy(t *testing.T) {
	t.Parallel()
	site := newSite(newStacks(slog.New(slog.DiscardHandler)), "chat.example")
	for _, path := range []string{"/", "/sockjs/json/info"} {
		for host, want := range map[string]int{
			"chat.example": 200, "CHAT.example:8443": 200, "127.0.0.1": 200, "evil.example": 421, "evil.chat.example": 421,
		} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			site.ServeHTTP(w, r)
			require.Equal(t, want, w.Code, host+path)
		}
	}
	for origin, want := range map[string]int{
		"https://chat.example": 204, "https://evil.example": 403, "https://evil.chat.example": 403, "null": 403,
	} {
		r := httptest.NewRequest(http.MethodOptions, "/sockjs/json/info", nil)
		r.Host = "chat.example"
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, origin)
	}
}

// Pages on all stacks of a running program meet in one room. The end of the program
// sends everyone home with 1001 and is no error.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	urls, ended := make(chan string, 1), make(chan error, 1)
	l := slog.New(slog.DiscardHandler)
	go func() { ended <- run(ctx, "127.0.0.1:0", "", l, func(url string) { urls <- url }) }()
	url := <-urls
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/$`, url)
	url = strings.TrimSuffix(strings.Replace(url, "http", "ws", 1), "/")
	address := func(s stack) string {
		if s.Socket == "sockjs" {
			return url + s.Path + "/websocket" // without SockJS's frames
		}
		return url + s.Path
	}

	var pages []*page
	stacks := newStacks(l)
	for _, s := range stacks {
		i := slices.IndexFunc(forms, func(f form) bool { return f.name == s.Client })
		p := newPage(t, forms[i])
		p.open(gobwas.New(nil), address(s))
		require.Equal(t, s.Name, p.enter("Page", "lobby").People[len(pages)].Via)
		pages = append(pages, p)
	}
	for i, from := range pages {
		from.say(stacks[i].Title)
		for _, to := range pages {
			g := to.event()
			for g.Type == "joined" {
				g = to.event()
			}
			require.Equal(t, stacks[i].Title, g.Text)
			require.Equal(t, stacks[i].Name, g.Via)
		}
	}

	for _, s := range stacks {
		// Another site's page is refused, in words.
		_, err := gobwas.New(nil).Dial(t.Context(), address(s),
			&transport.DialConfig{Header: http.Header{"Origin": {"http://elsewhere.example"}}},
			func(transport.Conn) transport.Receiver { return pages[0] })
		refusal, ok := errors.AsType[*transport.Refusal](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, http.StatusForbidden, refusal.Status)
	}

	interrupt()
	for _, p := range pages {
		require.Equal(t, transport.StatusGoingAway, transport.CloseStatus(<-p.over))
	}
	require.NoError(t, <-ended)
}
