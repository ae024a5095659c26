package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
)

// message is what publish sends: 128 bytes, a JSON string, so that it is the same for
// rows whose envelope is JSON. marker occurs in it once, and in nothing else that a
// row sends by itself.
var message = []byte(`"` + marker + strings.Repeat("weft ", 25) + `"`)

const marker = "#"

// A row is one server that can be measured.
type row struct {
	Name    string `json:"name"`
	Library string `json:"library"`
	Version string `json:"version"`
	// Kind is echo, messages come back unchanged; pubsub, a protocol of its own; or
	// broker, which is that and too heavy for more than fan-out and queues.
	Kind        string `json:"kind"`
	URL         string `json:"url"` // the page that the set-up follows
	Framing     string `json:"framing"`
	SubProtocol string `json:"subprotocol"`
	SockJS      string `json:"sockjs"` // the transport of SockJS that is measured, below /sockjs
	UTF8        bool   `json:"utf8"`   // text that isn't UTF-8 is refused
	Limit       string `json:"limit"`  // of a message from a client
	Compression string `json:"compression"`
	Envelope    int    `json:"envelope"` // bytes of WebSocket payload that a delivery adds to the message
	// Hello is what a client sends after the handshake, and Ready is in the answer
	// that says that it is subscribed from now on ("": nothing to wait for).
	Hello []frame `json:"hello"`
	Ready string  `json:"ready"`
	// Marker occurs once in each delivery. Rows that put several deliveries into one
	// WebSocket message are counted by it.
	Marker      string `json:"marker"`
	Echo        *echo  `json:"echo"`
	Queue       *queue `json:"queue"`
	TLS         bool   `json:"tls"`
	Unavailable string `json:"unavailable"` // why this row can't be started here
	Note        string `json:"note"`

	start func(site) (*server, error)
}

// A frame is a WebSocket message; in JSON its data is base64.
type frame struct {
	Type string `json:"type"` // text or binary
	Data []byte `json:"data"`
}

// echo tells how a row with a protocol of its own is made to echo.
type echo struct {
	Type string `json:"type"`
	// Request is sent with the body put in at the offset At. The body must not need
	// escaping: printable ASCII without quotes and backslashes.
	Request []byte `json:"request"`
	At      int    `json:"at"`
	// Answer is how many bytes the answer has besides the body.
	Answer int `json:"answer"`
}

// queue tells how a row with queues is spoken to, in STOMP 1.2: what begins a
// connection, and a destination.
type queue struct {
	Connect     []byte `json:"connect"`
	Destination string `json:"destination"`
}

// A server is a row that was started. It serves until the process ends.
type server struct {
	addr    string
	publish func() error // sends message to all connections
	pid     int          // of the process that serves, 0 for this one
	stop    func()       // nil if nothing is left behind
}

// rows returns all rows, floors first.
func rows() []row {
	all := []row{
		tcp, epoll, gobwasHand, gobwasWsutil, gorillaBare, coderBare, gwsBare, gwsParallel,
		melodyRow, centrifugeRow, natsRow, nodeRow(),
		sockJSRow("websocket"), sockJSRow("xhr-streaming"), sockJSRow("xhr-polling"), rabbitmqRow(),
	}
	for i := range all {
		r := &all[i]
		r.Compression, r.Marker = "off", marker
		if r.Version == "" {
			r.Version = version(r.Library)
		}
		if r.Hello == nil {
			r.Hello = []frame{} // [] in JSON, not null
		}
	}
	return all
}

func find(name string) (row, error) {
	all := rows()
	names := make([]string, len(all))
	for i, r := range all {
		if r.Name == name {
			return r, nil
		}
		names[i] = r.Name
	}
	return row{}, fmt.Errorf("no row %q; rows: %s", name, strings.Join(names, ", "))
}

// version returns the version of a module that is built in.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

// A site is where a row is to serve.
type site struct {
	addr string
	tls  *tls.Config // nil: plain
}

func (s site) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", s.addr)
	if err == nil && s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	return ln, err
}

// serveHTTP serves h at /ws and returns the address.
func (s site) serveHTTP(h http.HandlerFunc) (string, error) {
	ln, err := s.listen()
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", h)
	go func() { _ = http.Serve(ln, mux) }()
	return ln.Addr().String(), nil
}

// serve calls handle in a goroutine for each connection, and closes it afterwards.
func (s site) serve(handle func(net.Conn)) (string, error) {
	ln, err := s.listen()
	if err != nil {
		return "", err
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				handle(nc)
			}()
		}
	}()
	return ln.Addr().String(), nil
}

// conns is the set of connections of a library that keeps none itself.
type conns[C comparable] struct {
	mu  sync.Mutex
	all map[C]struct{}
}

func (c *conns[C]) add(conn C) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[C]struct{}{}
	}
	c.all[conn] = struct{}{}
}

func (c *conns[C]) remove(conn C) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, conn)
}

// each calls f for every connection. Errors of writes are left to the reader of the
// connection, which sees it end.
func (c *conns[C]) each(f func(C)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		f(conn)
	}
}
