package main

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// The loop of the library's echo example; for fan-out a prepared message, as
// PreparedMessage's page says, and a lock, since gorilla allows one writer at a time.
var gorillaBare = row{
	Name: "gorilla-bare", Library: "github.com/gorilla/websocket", Kind: "echo", Framing: "websocket", TLS: true,
	URL:   "https://github.com/gorilla/websocket/blob/v1.5.3/examples/echo/server.go",
	Limit: "none",
	Note:  "publishes in a loop of writes: a client that doesn't read holds up the others",
	start: startGorilla,
}

type gorillaConn struct {
	mu sync.Mutex
	*websocket.Conn
}

func startGorilla(s site) (*server, error) {
	var all conns[*gorillaConn]
	var upgrader websocket.Upgrader // the defaults
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close() //nolint:errcheck // nothing is left to do with it
		c := &gorillaConn{Conn: ws}
		all.add(c)
		defer all.remove(c)
		for {
			mt, data, err := c.ReadMessage()
			if err != nil {
				return
			}
			c.mu.Lock()
			err = c.WriteMessage(mt, data)
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return &server{addr: addr, publish: func() error {
		m, err := websocket.NewPreparedMessage(websocket.TextMessage, message)
		all.each(func(c *gorillaConn) {
			c.mu.Lock()
			_ = c.WritePreparedMessage(m)
			c.mu.Unlock()
		})
		return err
	}}, err
}
