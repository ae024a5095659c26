package main

import (
	"net/http"

	"github.com/lxzan/gws"
)

// The README's quick start has the defaults, its best practice a goroutine for each
// message. The deadline there is left out: it ends clients that send no pings.
var (
	gwsBare = row{
		Name: "gws", Library: "github.com/lxzan/gws", Kind: "echo", Framing: "websocket", TLS: true,
		URL:   "https://github.com/lxzan/gws/blob/v1.8.9/README.md#quick-start",
		Limit: "16 MiB",
		Note:  "its queues for broadcasts have no bound",
		start: func(s site) (*server, error) { return startGWS(s, nil) },
	}
	gwsParallel = row{
		Name: "gws-parallel", Library: "github.com/lxzan/gws", Kind: "echo", Framing: "websocket", TLS: true,
		URL:   "https://github.com/lxzan/gws/blob/v1.8.9/README.md#best-practice",
		Limit: "16 MiB",
		Note:  "its queues for broadcasts have no bound; messages of one connection may change their order",
		start: func(s site) (*server, error) {
			return startGWS(s, &gws.ServerOption{ParallelEnabled: true, Recovery: gws.Recovery})
		},
	}
)

type gwsHandler struct {
	gws.BuiltinEventHandler
	all conns[*gws.Conn]
}

func (h *gwsHandler) OnOpen(c *gws.Conn)           { h.all.add(c) }
func (h *gwsHandler) OnClose(c *gws.Conn, _ error) { h.all.remove(c) }
func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close() //nolint:errcheck // it returns a buffer
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func startGWS(s site, o *gws.ServerOption) (*server, error) {
	h := &gwsHandler{}
	upgrader := gws.NewUpgrader(h, o)
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	})
	return &server{addr: addr, publish: func() error {
		b := gws.NewBroadcaster(gws.OpcodeText, message)
		defer b.Close() //nolint:errcheck // as above
		h.all.each(func(c *gws.Conn) { _ = b.Broadcast(c) })
		return nil
	}}, err
}
