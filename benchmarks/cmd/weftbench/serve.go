package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/sockjs"
)

// topic is what clients subscribe to where there are subscriptions.
const topic = "/topic/bench"

// publication is the message of the fan-out, a JSON string. Deliveries are counted by
// the marker in it, however a server packs them into frames.
var publication = []byte(`"` + marker + strings.Repeat("weft ", 25) + `"`)

const marker = "#"

// serveMain is a server process of one of weft's rows: it says where it listens, then
// does what it is told on its standard input, and ends with it.
func serveMain(args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("weftbench serve", flag.ContinueOnError)
	name := f.String("row", "", "the row to serve")
	addr := f.String("addr", "127.0.0.1:0", "the loopback address to listen on")
	secure := f.Bool("tls", false, "serve TLS, with a certificate made for this process")
	list := f.Bool("list", false, "print the rows as JSON, and end")
	profiles := f.String("profile", "", "the `folder` for a CPU profile of this process")
	if err := f.Parse(args); err != nil {
		return errUsage
	}
	if *list {
		return json.NewEncoder(out).Encode(weftRows())
	}
	chosen, err := choose("row", *name, weftRows(), (*row).name)
	if err != nil {
		return err
	}
	engine := engineOf(chosen[0])
	s, err := newWeftServer(engine, *secure)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if *profiles != "" {
		end, err := profile(*profiles, *name)
		if err != nil {
			return err
		}
		defer end()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	failed := make(chan error, 2)
	go func() { failed <- s.serve(ln) }()
	go func() { failed <- s.obey(ctx, in, out) }()
	if _, err := fmt.Fprintln(out, "listening", ln.Addr()); err != nil {
		return err
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return err
}

// profile writes a CPU profile of this process, from now until end is called.
func profile(dir, row string) (end func(), err error) {
	file := fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(row, "/", "-"), os.Getpid())
	f, err := os.Create(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			log.Print(err)
		}
	}, nil
}

// weftServer is one endpoint that has all sub-protocols; clients choose. Those of STOMP
// have a broker.
type weftServer struct {
	endpoint *handler.Endpoint
	topics   *broadcast.Broadcaster
	broker   *broker.Broker
	serve    func(net.Listener) error
}

func newWeftServer(engine string, secure bool) (*weftServer, error) {
	s := &weftServer{topics: broadcast.New(nil), broker: broker.New(nil)}
	var config *tls.Config
	if secure {
		cert, err := newCertificate()
		if err != nil {
			return nil, err
		}
		config = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	underHTTP := func(ln net.Listener) error {
		if config != nil {
			ln = transport.NewTLSListener(ln, config)
		}
		mux := http.NewServeMux()
		mux.Handle("/ws", s.endpoint)
		front := http.Handler(mux)
		if engine == "sockjs" {
			front = sockjs.Mount("/sockjs", s.endpoint, nil)
		}
		h := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
		return h.Serve(ln)
	}
	var engineOf transport.Transport
	switch engine {
	case "gobwas-bare":
		engineOf = gobwas.New(&gobwas.Options{TLS: config})
		s.serve = func(ln net.Listener) error { return s.endpoint.Serve(context.Background(), ln) }
	case "gobwas":
		engineOf, s.serve = gobwas.New(nil), underHTTP
	case "gorilla":
		engineOf, s.serve = gorilla.New(nil), underHTTP
	case "sockjs":
		engineOf, s.serve = sockjs.New(gobwas.New(nil), nil), underHTTP
	default:
		return nil, fmt.Errorf("no engine %q", engine)
	}
	protocols := []subprotocol.SubProtocol{raw.New(nil), envelope.NewJSON(nil), envelope.NewMsgpack(nil), stomp.New(nil)}
	if engine == "sockjs" {
		protocols = protocols[:1] // of which the client cannot choose
	}
	s.endpoint = handler.NewEndpoint(engineOf, handler.HandlerFunc(s.handle), handler.WithSubProtocols(protocols...))
	return s, nil
}

// handle echoes, and subscribes those who ask for it.
func (s *weftServer) handle(ctx context.Context, r handler.Request) error {
	isSTOMP := r.Session.SubProtocol() == stomp.V12
	switch r.Message.Kind {
	case subprotocol.KindSend:
		if isSTOMP && strings.HasPrefix(r.Message.Destination, "/queue/") {
			return s.broker.Handle(ctx, r)
		}
		_, err := r.Reply(&subprotocol.Message{Kind: subprotocol.KindReply, Type: r.Message.Type, Body: r.Message.Body})
		return err
	default:
		if isSTOMP {
			return s.broker.Handle(ctx, r)
		}
		return s.topics.Handle(ctx, r)
	}
}

// publish sends to all: to subscribers by their subscription, to sessions whose
// sub-protocol has none directly.
func (s *weftServer) publish(n int) error {
	for range n {
		m := &subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: publication}
		if err := s.topics.Publish(context.Background(), topic, m); err != nil {
			return err
		}
		if err := s.broker.Publish(context.Background(), topic, m); err != nil {
			return err
		}
		p := handler.NewPublication(m)
		for session := range s.endpoint.Sessions().All() {
			if !session.Features().Subscriptions {
				_, _ = session.Publish(p, "", "")
			}
		}
	}
	return nil
}

func (s *weftServer) obey(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() && ctx.Err() == nil {
		switch command, arg, _ := strings.Cut(lines.Text(), " "); command {
		case "stats":
			if err := json.NewEncoder(out).Encode(readMemory()); err != nil {
				return err
			}
		case "publish":
			var n int
			if _, err := fmt.Sscan(arg, &n); err != nil {
				return fmt.Errorf("publish %q: %w", arg, err)
			}
			if err := s.publish(n); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(out, "published"); err != nil {
				return err
			}
		default:
			return fmt.Errorf("no command %q; there are: stats, publish N", command)
		}
	}
	return lines.Err()
}

// memory is what a Go server says of itself.
type memory struct {
	Goroutines *int64 `json:"goroutines"`
	Heap       *int64 `json:"heap"`
	Stack      *int64 `json:"stack"`
	Sys        *int64 `json:"sys"`
	GC         *int64 `json:"gc"`
}

func readMemory() memory {
	debug.FreeOSMemory() // collects first
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return memory{
		Goroutines: new(int64(runtime.NumGoroutine())),
		Heap:       new(int64(ms.HeapInuse)),
		Stack:      new(int64(ms.StackInuse)),
		Sys:        new(int64(ms.Sys)),
		GC:         new(int64(ms.NumGC)),
	}
}

// newCertificate is for this process alone; the load does not check it.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
