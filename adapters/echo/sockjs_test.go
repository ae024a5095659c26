package echo_test

import (
	"log/slog"
	"net/http"
	"testing"

	labstack "github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/weftws/weft/adapters/echo"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

// TestSockJS: in a group with a parameter, behind middleware that knows who asks.
func TestSockJS(t *testing.T) {
	t.Parallel()
	handlertest.RunSockJS(t, func(ep *handler.Endpoint) http.Handler {
		r := labstack.New()
		r.Logger = slog.New(slog.DiscardHandler)
		r.Use(middleware.Recover(), middleware.RequestLogger())
		group := r.Group("/of/:tenant", func(next labstack.HandlerFunc) labstack.HandlerFunc {
			return func(c *labstack.Context) error {
				c.Set("user", c.Param("tenant"))
				return next(c)
			}
		})
		echo.Mount(group, "/sockjs", ep)
		return r
	})
}
