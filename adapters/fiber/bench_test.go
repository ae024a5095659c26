package fiber_test

import (
	"testing"

	gofiber "github.com/gofiber/fiber/v3"

	"github.com/weftws/weft/adapters/fiber"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

// BenchmarkServed compares an endpoint in an app without further middleware with the same
// endpoint under net/http: messages should cost the same where fasthttp keeps no connection.
func BenchmarkServed(b *testing.B) {
	for _, st := range handlertest.Stacks() {
		if st.Name != "gobwas/raw/none" && st.Name != "gorilla/raw/none" {
			continue
		}
		mount := func(app *gofiber.App, ep *handler.Endpoint) { app.Get("/test", fiber.Handler(ep, nil)) }
		for _, st := range []handlertest.Stack{st, in(st, true, mount), in(st, false, mount)} {
			b.Run(st.Carrier, func(b *testing.B) { handlertest.Benchmark(b, st) })
		}
	}
}
