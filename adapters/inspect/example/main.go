// Command example serves rooms, has robots talk in them, and shows what goes on at /inspect/.
// It listens on loopback alone.
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

	"github.com/weftws/weft/adapters/inspect"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

var engines = []string{"gobwas", "gorilla"}

func main() {
	log.SetFlags(0)
	port := flag.Int("port", 8080, "on 127.0.0.1, 0 for any")
	robots := flag.Int("robots", 12, "that talk")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *port, *robots, func(url string) { fmt.Println("Open", url+"/inspect/") }); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, port, robots int, ready func(url string)) error {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	ins := inspect.New(nil)
	endpoints := []*handler.Endpoint{
		rooms(ins.Transport(gobwas.New(&gobwas.Options{MaxMessageSize: 2 << 20, PingInterval: 5 * time.Second}))),
		rooms(ins.Transport(gorilla.New(&gorilla.Options{PingInterval: 5 * time.Second}))),
	}
	mux := http.NewServeMux()
	for i, name := range engines {
		ins.Add(name, endpoints[i])
		mux.Handle("/ws/"+name, endpoints[i])
	}
	mux.Handle("/inspect/", http.StripPrefix("/inspect", ins)) // and here one's own log-in around it

	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	srv.RegisterOnShutdown(ins.Close)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	talk, hush := context.WithCancel(ctx)
	defer hush()
	over := talkAll(talk, ln.Addr().String(), robots)
	ready("http://" + ln.Addr().String())
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	hush()
	<-over
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	errs := []error{err, srv.Shutdown(end)}
	for _, e := range endpoints {
		errs = append(errs, e.Shutdown(end))
	}
	if err := errors.Join(errs...); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// said is what is said in a room.
type said struct {
	From string `json:"from"`
	Room string `json:"room"`
	Text string `json:"text"`
}

type named struct {
	Name string `json:"name"`
}

// rooms is what the endpoints do: everybody is let in under the name that they give, may
// take another one, and talk.
func rooms(t transport.Transport) *handler.Endpoint {
	topics := broadcast.New(nil)
	auth := middleware.NewAuthenticator(func(_ context.Context, c middleware.Credentials) (middleware.Identity, error) {
		return middleware.Identity{User: c.User}, nil
	}, &middleware.AuthOptions{ConnectLater: true})
	mux := handler.NewMux()
	mux.Use(middleware.Recover, auth.Authenticate)
	mux.Route("SUBSCRIBE /topic/{room}", topics)
	mux.Route("SEND /app/{room}/say", handler.Func(func(_ context.Context, r handler.Request, s said) (said, error) {
		s.From, s.Room = r.Session.User(), r.PathValue("room")
		return s, nil
	}, handler.WithSendTo(topics, "/topic/{room}")))
	mux.Route("SEND /app/name", handler.Func(func(_ context.Context, r handler.Request, n named) (named, error) {
		r.Session.SetUser(n.Name)
		return n, nil
	}))
	return handler.NewEndpoint(t, mux,
		handler.WithSubProtocols(envelope.NewJSON(nil), envelope.NewMsgpack(nil), stomp.New(nil)),
		handler.WithCodecs(jsoncodec.New(nil), msgpackcodec.New(nil)),
		handler.WithOverflow(handler.DropOldest()), handler.WithMaxFrame(2<<20))
}
