// Command observed is a broker for STOMP clients over SockJS, with three adapters that watch
// one endpoint: a page at /inspect/, metrics at /metrics, and traces on standard output.
// Clients find it at http://127.0.0.1:8080/sockjs with SockJS, and at
// ws://127.0.0.1:8080/sockjs/websocket without.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftws/weft/adapters/inspect"
	"github.com/weftws/weft/adapters/otel"
	"github.com/weftws/weft/adapters/prometheus"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/sockjs"
)

type note struct {
	Text string `json:"text"`
}

func say(_ context.Context, _ handler.Request, n note) (note, error) { return n, nil }

// site is an endpoint that is watched, and all that there is to be served.
func site(spans trace.TracerProvider) (*handler.Endpoint, *inspect.Inspector, http.Handler) {
	tel := otel.New(&otel.Options{TracerProvider: spans})
	metrics := prometheus.New(nil)
	ins := inspect.New(nil)

	b := broker.New(nil)
	metrics.Broker("main", b)
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /app/say", handler.Func(say, handler.WithSendTo(tel.Publisher(b), "/topic/chat")))

	opts := append(tel.Options(), handler.WithSubProtocols(stomp.New(nil)), handler.WithCodecs(jsoncodec.New(nil)))
	ep := metrics.Endpoint("chat", ins.Transport(sockjs.New(gobwas.New(nil), nil)), tel.Handler(mux), opts...)
	ins.Add("chat", ep)

	registry := prom.NewRegistry()
	registry.MustRegister(metrics)
	pages := http.NewServeMux()
	pages.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	pages.Handle("/inspect/", http.StripPrefix("/inspect", ins))
	return ep, ins, sockjs.Mount("/sockjs", ep, pages)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out, err := stdouttrace.New()
	if err != nil {
		log.Fatal(err)
	}
	spans := sdktrace.NewTracerProvider(sdktrace.WithBatcher(out))
	ep, ins, h := site(spans)
	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: h, ReadHeaderTimeout: 10 * time.Second}
	srv.RegisterOnShutdown(ins.Close)
	go func() { log.Println(srv.ListenAndServe()) }()
	log.Println("open http://127.0.0.1:8080/inspect/ and http://127.0.0.1:8080/metrics")

	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	log.Println(ep.Shutdown(ctx), srv.Shutdown(ctx), spans.Shutdown(ctx)) // sessions, requests, spans
}
