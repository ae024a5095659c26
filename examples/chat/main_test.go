package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
)

const patience = 30 * time.Second

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
	srv := httptest.NewServer(newMux(http.NotFoundHandler()))
	t.Cleanup(srv.Close)
	for path, want := range map[string]struct{ kind, text string }{
		"/":         {"text/html", `<script src="chat.js" defer>`},
		"/chat.js":  {"text/javascript", "new WebSocket("},
		"/chat.css": {"text/css", ":focus-visible"},
		"/icon.svg": {"image/svg+xml", "<svg"},
	} {
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
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://"} {
			require.NotContains(t, strings.ReplaceAll(body.String(), "http://www.w3.org/2000/svg", ""), never, path)
		}
	}
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
		newMux(http.NotFoundHandler()).ServeHTTP(w, r)
		require.Equal(t, want, w.Code, host)
	}
}

// visitor waits for the end of a connection.
type visitor struct{ over chan error }

func (v visitor) Receive(transport.Message) {}
func (v visitor) Writable()                 {}
func (v visitor) Closed(err error)          { v.over <- err }

// The end of the program sends everyone home with 1001 and is no error.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	urls, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", func(url string) { urls <- url }) }()
	url := <-urls
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/$`, url)

	dialing, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v := visitor{make(chan error, 1)}
	_, err := gobwas.New(nil).Dial(dialing, strings.Replace(url, "http", "ws", 1)+"ws", nil,
		func(transport.Conn) transport.Receiver { return v })
	require.NoError(t, err)

	// Another site's page is refused, in words.
	_, err = gobwas.New(nil).Dial(dialing, strings.Replace(url, "http", "ws", 1)+"ws",
		&transport.DialConfig{Header: http.Header{"Origin": {"http://elsewhere.example"}}},
		func(transport.Conn) transport.Receiver { return v })
	refusal, ok := errors.AsType[*transport.Refusal](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusForbidden, refusal.Status)

	interrupt()
	require.Equal(t, transport.StatusGoingAway, transport.CloseStatus(<-v.over))
	require.NoError(t, <-ended)
}
