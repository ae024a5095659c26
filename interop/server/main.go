// Command server is what test suites from outside talk to. It listens on loopback
// only, prints "listening on ADDRESS" when it is ready, and ends on SIGINT or
// SIGTERM, after its sessions were closed with status 1001.
//
//	/gobwas/echo   sends back every text and binary message of at most 16 MiB
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport/gobwas"
)

// maxMessage is the largest message that suites send and want back, in bytes.
const maxMessage = 16 << 20

func main() {
	log.SetFlags(0)
	log.SetPrefix("server: ")
	addr := flag.String("addr", "127.0.0.1:9001", "loopback address to listen on, port 0 for any")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is no loopback address", addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}

	ep := handler.NewEndpoint(
		gobwas.New(&gobwas.Options{MaxMessageSize: maxMessage}),
		handler.HandlerFunc(echo),
		handler.WithSubProtocols(raw.New(nil)),
	)
	mux := http.NewServeMux()
	mux.Handle("/gobwas/echo", ep)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	fmt.Println("listening on", ln.Addr())

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(srv.Shutdown(end), ep.Shutdown(end))
}

func echo(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	r.Message.Kind = subprotocol.KindReply
	_, err := r.Reply(r.Message)
	return err
}
