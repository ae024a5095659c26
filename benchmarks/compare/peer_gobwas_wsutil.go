package main

import (
	"net"
	"net/http"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// The first example of the library's README, with its limit; for fan-out a compiled
// frame, and a lock, since a helper writes a frame in two pieces.
var gobwasWsutil = row{
	Name: "gobwas-wsutil", Library: "github.com/gobwas/ws", Kind: "echo", Framing: "websocket", TLS: true,
	URL:  "https://github.com/gobwas/ws/blob/v1.5.0/README.md#usage",
	UTF8: true, Limit: "1 MiB",
	Note:  "publishes in a loop of writes: a client that doesn't read holds up the others",
	start: startWsutil,
}

type wsutilConn struct {
	mu sync.Mutex
	net.Conn
}

func startWsutil(s site) (*server, error) {
	wsutil.SetMaxMessageSize(1 << 20)
	var all conns[*wsutilConn]
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		nc, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		c := &wsutilConn{Conn: nc}
		all.add(c)
		go func() {
			defer c.Close()
			defer all.remove(c)
			for {
				data, op, err := wsutil.ReadClientData(c)
				if err != nil {
					return
				}
				c.mu.Lock()
				err = wsutil.WriteServerMessage(c, op, data)
				c.mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	})
	return &server{addr: addr, publish: func() error {
		f, err := ws.CompileFrame(ws.NewTextFrame(message))
		all.each(func(c *wsutilConn) { c.mu.Lock(); defer c.mu.Unlock(); _, _ = c.Write(f) })
		return err
	}}, err
}
