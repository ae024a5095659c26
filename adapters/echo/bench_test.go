package echo_test

import (
	"testing"

	labstack "github.com/labstack/echo/v5"

	"github.com/weftws/weft/adapters/echo"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

// BenchmarkServed compares an endpoint under echo, without further middleware, with the
// same endpoint under net/http alone. Messages should cost the same.
func BenchmarkServed(b *testing.B) {
	for _, st := range handlertest.Stacks() {
		if st.Name != "gobwas/raw/none" && st.Name != "gorilla/raw/none" {
			continue
		}
		served := in(st, func(r *labstack.Echo, ep *handler.Endpoint) { r.GET("/test", echo.Handler(ep)) })
		for _, st := range []handlertest.Stack{st, served} {
			b.Run(st.Carrier, func(b *testing.B) { handlertest.Benchmark(b, st) })
		}
	}
}
