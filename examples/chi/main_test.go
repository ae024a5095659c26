package main

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5/middleware"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

func TestMain(m *testing.M) {
	quiet := log.New(io.Discard, "", 0)
	middleware.DefaultLogger = middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: quiet})
	goleak.VerifyTestMain(m)
}

// under is the row in the program's router, which wrap may stand in front of.
func under(st handlertest.Stack, wrap func(http.Handler) http.Handler) handlertest.Stack {
	return st.Served("chi", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
		hs := &http.Server{
			Handler:           wrap(router("/test", ep, http.NotFoundHandler())),
			ReadHeaderTimeout: handlertest.Timeout, ErrorLog: log.New(io.Discard, "", 0),
		}
		done := make(chan error, 1)
		go func() { done <- hs.Serve(ln) }()
		return func() error {
			hs.Close()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}, nil
	})
}

func alone(h http.Handler) http.Handler { return h }

// TestStacks: the table of stacks behind the program's middleware.
func TestStacks(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if !st.HTTP || st.Format != "raw/none" && st.Format != "json/json" && st.Format != "stomp/json" {
			continue
		}
		served := under(st, alone)
		t.Run(served.Name, func(t *testing.T) {
			t.Parallel()
			handlertest.Run(t, served)
		})
	}
}

// Middleware of net/http that keeps the connection to itself is named to the client, with
// what it lacks.
func TestNoHijack(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if st.Name != "gobwas/raw/none" && st.Name != "gorilla/raw/none" {
			continue
		}
		s := under(st, func(h http.Handler) http.Handler { return http.TimeoutHandler(h, handlertest.Timeout, "late") }).
			Start(t, handler.HandlerFunc(handlertest.Echo))
		_, err := s.DialWith(nil)
		var refusal *transport.Refusal
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, http.StatusInternalServerError, refusal.Status)
		require.Contains(t, refusal.Text, "Unwrap")
		require.EqualValues(t, 1, s.Endpoint.Stats().Aborted)
	}
}

func TestSockJS(t *testing.T) {
	t.Parallel()
	ep := handler.NewEndpoint(sockjs.New(gobwas.New(nil), &sockjs.Options{CloseTimeout: 50 * time.Millisecond}),
		handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil)))
	server := httptest.NewServer(router("/ws", http.NotFoundHandler(), ep))
	defer server.Close()
	defer func() { require.NoError(t, ep.Shutdown(t.Context())) }()
	for _, tt := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "", "", 200, "Welcome to SockJS!\n"},
		{"GET", "/", "", 200, "Welcome to SockJS!\n"},
		{"GET", "/unknown", "", 404, "not found"},
		{"POST", "/000/abc/xhr", "", 200, "o\n"},
		{"POST", "/000/abc/xhr_send", `["hello"]`, 204, ""},
		{"POST", "/000/abc/xhr", "", 200, "a[\"hello\"]\n"},
	} {
		u, err := url.Parse(server.URL + "/sockjs" + tt.path)
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(&http.Request{ // follows no redirect
			Method: tt.method, URL: u, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(tt.body)),
		})
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, tt.status, resp.StatusCode, tt.path)
		require.Equal(t, tt.answer, string(body), tt.path)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
