// Command server is what test suites from outside talk to. It listens on loopback
// only, prints "listening on ADDRESS" when it is ready (and then "STOMP on ADDRESS" for
// -stomp-tcp), and ends on SIGINT or SIGTERM, after its sessions were closed with
// status 1001.
//
// For each of the engines gobwas and gorilla there are
//
//	/gobwas/echo       sends back every text and binary message of at most 16 MiB
//	/gobwas/envelope   speaks both envelopes, JSON and msgpack
//	/gobwas/stomp      speaks STOMP 1.0, 1.1 and 1.2, as do /stomp and, with -stomp-tcp,
//	                   a TCP port
//
// On the envelope's a client finds
//
//	CONNECT            with a header token of "token of NAME" it is NAME, without one
//	                   nobody; any other token is refused
//	SEND /app/echo     answers with the same body and content type
//	SEND /app/add      answers {a, b}, whole numbers from -1000000 to 1000000, with {sum}
//	SEND /app/whoami   answers with {user}
//	SEND /topic/...    publishes to those who are subscribed to exactly that
//
// All STOMP endpoints have one broker, with topics below /topic/ and /exchange/ and
// queues below /queue/; other destinations are refused. The login is guest, the passcode
// guest, and the virtual host whatever the client calls it. SUBSCRIBE and SEND are as
// package handler/broker says.
//
// SockJS is below /gobwas/sockjs and /gorilla/sockjs, and at the root with the engine
// of -sockjs-engine. Pages of every origin may use all but the last:
//
//	/echo                      sends text back; a streaming response has 4096 bytes
//	/disabled_websocket_echo   sends text back, and has no WebSocket
//	/cookie_needed_echo        sends text back, and sets the cookie JSESSIONID
//	/close                     closes at once, with 3000 "Go away!"
//	/amplify                   answers a number n with 2^n letters
//	/broadcast                 sends text to all
//	/ticker                    sends "tick!" each second
//	/sockjs-stomp              speaks STOMP, to the same broker
//
// The page for iframes gets its script from -sockjs-url. With -sockjs-key, which has at least
// 32 characters, servers of one key answer for each other's sessions; a server's name
// there is the address that it listens on.
//
// With -compress both engines accept permessage-deflate, for messages of any size,
// and with -takeover gobwas refers to earlier messages. With -static pages of a
// folder are served from everywhere else. With -cert and -key all of it is over TLS, with
// HTTP/1.1 or HTTP/2.
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
	"github.com/weftws/weft/transport/tcp"
)

// maxMessage is the largest message that suites send and want back, in bytes.
const maxMessage = 16 << 20

// flags are what the command line says.
type flags struct {
	addr, static       string
	cert, key          string
	stompTCP           string
	compress, takeover bool
	sockJSURL          string
	sockJSEngine       string
	sockJSKey          string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("server: ")
	var f flags
	flag.StringVar(&f.addr, "addr", "127.0.0.1:9001", "loopback address to listen on, port 0 for any")
	flag.StringVar(&f.static, "static", "", "folder to serve pages from, from the origin of the endpoints")
	flag.StringVar(&f.cert, "cert", "", "`file` with a certificate for TLS, none by default")
	flag.StringVar(&f.key, "key", "", "`file` with its key")
	flag.StringVar(&f.stompTCP, "stomp-tcp", "", "loopback `address` to listen on for STOMP over TCP, none by default")
	flag.BoolVar(&f.compress, "compress", false, "accept permessage-deflate")
	flag.BoolVar(&f.takeover, "takeover", false, "with -compress: let gobwas take contexts over")
	flag.StringVar(&f.sockJSURL, "sockjs-url", "", "where the page for iframes gets sockjs-client from, none by default")
	flag.StringVar(&f.sockJSEngine, "sockjs-engine", "gobwas", "which `engine`, gobwas or gorilla, SockJS has at the root")
	flag.StringVar(&f.sockJSKey, "sockjs-key", "", "secret of the servers that answer for each other's SockJS sessions, none by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, f flags) error {
	if err := checkLoopback(f.addr); err != nil {
		return err
	}
	if f.stompTCP != "" {
		if err := checkLoopback(f.stompTCP); err != nil {
			return err
		}
	}
	if f.sockJSEngine != "gobwas" && f.sockJSEngine != "gorilla" {
		return fmt.Errorf("there is no engine %q", f.sockJSEngine)
	}
	if n := len(f.sockJSKey); n > 0 && n < 32 {
		return errors.New("-sockjs-key must have at least 32 characters")
	}
	if f.takeover && !f.compress {
		return errors.New("-takeover is nothing without -compress")
	}
	if (f.cert == "") != (f.key == "") {
		return errors.New("-cert and -key need each other")
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
	ln, err := net.Listen("tcp", f.addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	b := newBroker()
	defer b.Close()
	var endpoints []*handler.Endpoint
	front := http.Handler(mux)
	for i, t := range f.engines() {
		e := newEcho(t)
		mux.Handle("/"+t.Name()+"/echo", e)
		v := newEnvelope(t)
		mux.Handle("/"+t.Name()+"/envelope", v)
		s := newSTOMP(t, b)
		mux.Handle("/"+t.Name()+"/stomp", s)
		if i == 0 {
			mux.Handle("/stomp", s)
		}
		endpoints = append(endpoints, e, v, s)
		var more []*handler.Endpoint
		front, more = f.sockJS(t, b, f.cluster(ln.Addr()), front)
		endpoints = append(endpoints, more...)
	}
	srv := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() {
		if f.cert != "" {
			failed <- srv.ServeTLS(ln, f.cert, f.key)
		} else {
			failed <- srv.Serve(ln)
		}
	}()
	fmt.Println("listening on", ln.Addr())
	if f.stompTCP != "" {
		s := newSTOMP(tcp.New(nil), b)
		endpoints = append(endpoints, s)
		end, err := serveTCP(f.stompTCP, s, failed)
		if err != nil {
			return err
		}
		defer end()
	}

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return shutdown(srv, endpoints)
}

func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s is no loopback address", addr)
	}
	return nil
}

// serveTCP serves e on addr until the function that it returns is called, which waits
// for the end.
func serveTCP(addr string, e *handler.Endpoint, failed chan<- error) (end func(), err error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	fmt.Println("STOMP on", ln.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := e.Serve(ctx, ln); err != nil {
			failed <- err
		}
	}()
	return func() { cancel(); <-over }, nil
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
