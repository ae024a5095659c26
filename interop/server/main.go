// Command server is what test suites from outside talk to. It listens on loopback
// only, prints "listening on ADDRESS" when it is ready, and ends on SIGINT or
// SIGTERM, after its sessions were closed with status 1001.
//
// For each of the engines gobwas and gorilla there are
//
//	/gobwas/echo       sends back every text and binary message of at most 16 MiB
//	/gobwas/envelope   speaks both envelopes, JSON and msgpack
//
// On the second one a client finds
//
//	CONNECT            with a header token of "token of NAME" it is NAME, without one
//	                   nobody; any other token is refused
//	SEND /app/echo     answers with the same body and content type
//	SEND /app/add      answers {a, b}, whole numbers from -1000000 to 1000000, with {sum}
//	SEND /app/whoami   answers with {user}
//	SEND /topic/...    publishes to those who are subscribed to exactly that
//
// With -compress both engines accept permessage-deflate, for messages of any size,
// and with -takeover gobwas refers to earlier messages. With -static pages of a
// folder are served from everywhere else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

// maxMessage is the largest message that suites send and want back, in bytes.
const maxMessage = 16 << 20

// flags are what the command line says.
type flags struct {
	addr, static       string
	compress, takeover bool
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("server: ")
	var f flags
	flag.StringVar(&f.addr, "addr", "127.0.0.1:9001", "loopback address to listen on, port 0 for any")
	flag.StringVar(&f.static, "static", "", "folder to serve pages from, from the origin of the endpoints")
	flag.BoolVar(&f.compress, "compress", false, "accept permessage-deflate")
	flag.BoolVar(&f.takeover, "takeover", false, "with -compress: let gobwas take contexts over")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, f flags) error {
	host, _, err := net.SplitHostPort(f.addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is no loopback address", f.addr)
	}
	if f.takeover && !f.compress {
		return errors.New("-takeover is nothing without -compress")
	}
	mux := http.NewServeMux()
	if f.static != "" {
		root, err := os.OpenRoot(f.static)
		if err != nil {
			return err
		}
		defer root.Close()
		mux.Handle("/", static(root))
	}
	var endpoints []*handler.Endpoint
	for _, t := range f.engines() {
		e := newEcho(t)
		mux.Handle("/"+t.Name()+"/echo", e)
		v := newEnvelope(t)
		mux.Handle("/"+t.Name()+"/envelope", v)
		endpoints = append(endpoints, e, v)
	}
	ln, err := net.Listen("tcp", f.addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	fmt.Println("listening on", ln.Addr())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return shutdown(srv, endpoints)
}

// engines are the transports, each under its name.
func (f flags) engines() []transport.Transport {
	ws, gws := &gobwas.Options{MaxMessageSize: maxMessage}, &gorilla.Options{MaxMessageSize: maxMessage}
	if f.compress {
		ws.Compression = &gobwas.Compression{Threshold: -1, ContextTakeover: f.takeover}
		gws.Compression = &gorilla.Compression{Threshold: -1}
	}
	return []transport.Transport{gobwas.New(ws), gorilla.New(gws)}
}

// shutdown ends all sessions at the same time.
func shutdown(srv *http.Server, endpoints []*handler.Endpoint) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ended := make(chan error, len(endpoints))
	for _, ep := range endpoints {
		go func() { ended <- ep.Shutdown(ctx) }()
	}
	err := srv.Shutdown(ctx)
	for range endpoints {
		err = errors.Join(err, <-ended)
	}
	return err
}

func newEcho(t transport.Transport) *handler.Endpoint {
	return handler.NewEndpoint(t, handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil)))
}

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}
