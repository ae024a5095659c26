package gin_test

import (
	"net/http"
	"testing"

	gingonic "github.com/gin-gonic/gin"

	"github.com/weftws/weft/adapters/gin"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
)

// TestSockJS: in a group with a parameter, behind middleware that knows who asks.
func TestSockJS(t *testing.T) {
	t.Parallel()
	handlertest.RunSockJS(t, func(ep *handler.Endpoint) http.Handler {
		r := gingonic.New()
		r.Use(gingonic.Recovery())
		group := r.Group("/of/:tenant", func(c *gingonic.Context) { c.Set("user", c.Param("tenant")) })
		gin.Mount(group, "/sockjs", ep)
		return r
	})
}
