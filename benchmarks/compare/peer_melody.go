package main

import (
	"net/http"

	"github.com/olahol/melody"
)

// The README's chat, which answers the sender alone here.
var melodyRow = row{
	Name: "melody", Library: "github.com/olahol/melody", Kind: "echo", Framing: "websocket", TLS: true,
	URL:   "https://github.com/olahol/melody/blob/v1.1.4/README.md",
	Limit: "64 KiB (512 B by default)",
	Note:  "drops what exceeds 256 queued messages of a connection, silently; ends a client that answers no ping for 60 s",
	start: startMelody,
}

func startMelody(s site) (*server, error) {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10
	m.HandleMessage(func(c *melody.Session, data []byte) { _ = c.Write(data) })
	m.HandleMessageBinary(func(c *melody.Session, data []byte) { _ = c.WriteBinary(data) })
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) { _ = m.HandleRequest(w, r) })
	return &server{addr: addr, publish: func() error { return m.Broadcast(message) }}, err
}
