package prometheus_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftws/weft/adapters/prometheus"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport/pipe"
)

// An endpoint is watched, and the page that Prometheus scrapes says what it has done.
func Example() {
	m := prometheus.New(&prometheus.Options{Class: prometheus.ByPrefix("/app/rooms/", "/topic/")})
	registry := prom.NewRegistry()
	registry.MustRegister(m)

	mux, t := handler.NewMux(), pipe.New(nil)
	mux.Route("SEND /app/rooms/{room}/say", handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }))
	ep := m.Endpoint("chat", t, mux, handler.WithSubProtocols(envelope.NewJSON(nil)))
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	ctx := context.Background()
	c, err := client.Dial(ctx, "pipe://localhost/", t, envelope.NewJSON(nil), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, room := range []string{"1", "2", "3"} {
		err := c.SendReceipt(ctx, &subprotocol.Message{Destination: "/app/rooms/" + room + "/say", Body: []byte(`"hello"`)})
		if err != nil {
			fmt.Println(err)
		}
	}
	_ = c.Close(ctx)
	_ = ep.Shutdown(ctx)

	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, _ := io.ReadAll(w.Body)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "weft_received_messages_total") && strings.Contains(line, "SEND") {
			fmt.Print(line)
		}
	}
	// Output:
	// weft_received_messages_total{class="/app/rooms/",endpoint="chat",kind="SEND",result="ok",subprotocol="v1.json.weft",transport="pipe"} 3
}
