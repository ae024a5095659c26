package echo_test

import (
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"testing"

	labstack "github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"go.uber.org/goleak"

	"github.com/weftws/weft/adapters/echo"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve has net/http serve h.
func serve(h http.Handler, ln net.Listener) (stop func() error, err error) {
	hs := &http.Server{Handler: h, ReadHeaderTimeout: handlertest.Timeout, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(ln) }()
	return func() error {
		hs.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}

// in is the row under an Echo that mount has filled.
func in(st handlertest.Stack, mount func(r *labstack.Echo, ep *handler.Endpoint)) handlertest.Stack {
	return st.Served("echo", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
		r := labstack.New()
		r.Logger = slog.New(slog.DiscardHandler)
		mount(r, ep)
		return serve(r, ln)
	})
}

// engines runs f on one row of each engine, plain.
func engines(t *testing.T, f func(t *testing.T, st handlertest.Stack)) {
	for _, st := range handlertest.Stacks() {
		if st.Name == "gobwas/raw/none" || st.Name == "gorilla/raw/none" {
			t.Run(st.Carrier, func(t *testing.T) {
				t.Parallel()
				f(t, st)
			})
		}
	}
}

// TestStacks: the table of stacks, behind the middleware that everybody has.
func TestStacks(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if !st.HTTP || st.Format != "raw/none" && st.Format != "json/json" && st.Format != "stomp/json" {
			continue
		}
		served := in(st, func(r *labstack.Echo, ep *handler.Endpoint) {
			r.Use(middleware.RequestLogger(), middleware.Recover())
			r.GET("/test", echo.Handler(ep))
		})
		t.Run(served.Name, func(t *testing.T) {
			t.Parallel()
			handlertest.Run(t, served)
		})
	}
}
