package main

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The server inside this process, with the WebSocket listener that its page describes
// and no other; publications come from a client inside the process.
var natsRow = row{
	Name: "nats", Library: "github.com/nats-io/nats-server/v2", Kind: "pubsub", Framing: "websocket", TLS: true,
	URL:   "https://docs.nats.io/running-a-nats-service/configuration/websocket/websocket_conf",
	Limit: "1 MiB", Envelope: len("MSG bench 1 128\r\n\r\n"),
	Hello: []frame{{"binary", []byte("CONNECT {\"verbose\":false}\r\nSUB bench 1\r\nPING\r\n")}},
	Ready: "PONG\r\n",
	Note:  "fan-out only; several deliveries may share a WebSocket message; ends a client that answers no PING with PONG for 6 min",
	start: startNATS,
}

func startNATS(s site) (*server, error) {
	// It would not say that the port is taken.
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	at := ln.Addr().(*net.TCPAddr)
	ln.Close()
	if strings.HasSuffix(s.addr, ":0") {
		at.Port = -1 // any, nobody else's meanwhile
	}
	srv, err := natsserver.NewServer(&natsserver.Options{
		DontListen: true, NoLog: true, NoSigs: true,
		DisableShortFirstPing: true, // it would fall among the first deliveries, 2 s after the hello
		Websocket:             natsserver.WebsocketOpts{Host: at.IP.String(), Port: at.Port, NoTLS: s.tls == nil, TLSConfig: s.tls},
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("not ready after 10 s")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(srv.WebsocketURL())
	return &server{addr: u.Host, publish: func() error { return nc.Publish("bench", message) }}, err
}
