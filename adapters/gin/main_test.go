package gin_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	gingonic "github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/weftws/weft/adapters/gin"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

func TestMain(m *testing.M) {
	gingonic.SetMode(gingonic.TestMode)
	goleak.VerifyTestMain(m)
}

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

// in is the row under an engine that mount has filled.
func in(st handlertest.Stack, mount func(r *gingonic.Engine, ep *handler.Endpoint)) handlertest.Stack {
	return st.Served("gin", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
		r := gingonic.New()
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
		served := in(st, func(r *gingonic.Engine, ep *handler.Endpoint) {
			r.Use(gingonic.LoggerWithWriter(io.Discard), gingonic.Recovery())
			r.GET("/test", gin.Handler(ep))
		})
		t.Run(served.Name, func(t *testing.T) {
			t.Parallel()
			handlertest.Run(t, served)
		})
	}
}
