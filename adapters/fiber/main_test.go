package fiber_test

import (
	"net"
	"testing"
	"time"

	gofiber "github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/weftws/weft/adapters/fiber"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

func TestMain(m *testing.M) {
	// fasthttp keeps a clock for the whole process, which must not be taken for a server's.
	new(fasthttp.ResponseHeader).AppendBytes(nil)
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// in is the row in an app that mount has filled. keeps is fasthttp's KeepHijackedConns.
func in(st handlertest.Stack, keeps bool, mount func(app *gofiber.App, ep *handler.Endpoint)) handlertest.Stack {
	name := map[bool]string{true: "fiber", false: "fiber-closes"}[keeps]
	return st.Served(name, func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
		app := gofiber.New()
		app.Server().KeepHijackedConns = keeps
		mount(app, ep)
		return serve(app, ln), nil
	})
}

// serve has app serve ln.
func serve(app *gofiber.App, ln net.Listener) (stop func() error) {
	app.Server().MaxIdleWorkerDuration = 10 * time.Millisecond // it sleeps that long before it ends
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln, gofiber.ListenConfig{DisableStartupMessage: true}) }()
	return func() error {
		if err := app.ShutdownWithTimeout(handlertest.Timeout); err != nil {
			return err
		}
		return <-done
	}
}

// engines runs f on one row of each engine, plain, in both modes.
func engines(t *testing.T, f func(t *testing.T, st handlertest.Stack, keeps bool)) {
	for _, st := range handlertest.Stacks() {
		if st.Name != "gobwas/raw/none" && st.Name != "gorilla/raw/none" {
			continue
		}
		for _, keeps := range []bool{true, false} {
			t.Run(st.Carrier+map[bool]string{true: "-keeps", false: "-closes"}[keeps], func(t *testing.T) {
				t.Parallel()
				f(t, st, keeps)
			})
		}
	}
}

// TestStacks: the table of stacks, and one format of it where fasthttp closes connections.
func TestStacks(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if !st.HTTP || st.Format != "raw/none" && st.Format != "json/json" && st.Format != "stomp/json" {
			continue
		}
		for _, keeps := range []bool{true, false} {
			if !keeps && st.Format != "raw/none" {
				continue
			}
			served := in(st, keeps, func(app *gofiber.App, ep *handler.Endpoint) {
				app.Use(recover.New())
				app.Get("/test", fiber.Handler(ep, nil))
			})
			t.Run(served.Name, func(t *testing.T) {
				t.Parallel()
				handlertest.Run(t, served)
			})
		}
	}
}
