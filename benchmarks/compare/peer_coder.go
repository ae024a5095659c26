package main

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
)

// The README's server, and Conn.Read and Conn.Write for whole messages.
var coderBare = row{
	Name: "coder", Library: "github.com/coder/websocket", Kind: "echo", Framing: "websocket", TLS: true,
	URL:   "https://github.com/coder/websocket/blob/v1.8.15/README.md#server",
	Limit: "64 KiB (32 KiB by default)",
	Note:  "publishes in a loop of writes: a client that doesn't read holds up the others",
	start: startCoder,
}

func startCoder(s site) (*server, error) {
	var all conns[*websocket.Conn]
	ctx := context.Background()
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // nothing is left to do with it
		c.SetReadLimit(64 << 10)
		all.add(c)
		defer all.remove(c)
		for {
			typ, data, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := c.Write(ctx, typ, data); err != nil {
				return
			}
		}
	})
	return &server{addr: addr, publish: func() error {
		all.each(func(c *websocket.Conn) { _ = c.Write(ctx, websocket.MessageText, message) })
		return nil
	}}, err
}
