package main

import (
	"net/http"

	"github.com/centrifugal/centrifuge"
)

// The README's tutorial, without its log lines. An echo is an RPC, the one exchange of
// its protocol that answers the sender alone.
var centrifugeRow = row{
	Name: "centrifuge", Library: "github.com/centrifugal/centrifuge", Kind: "pubsub", Framing: "websocket", TLS: true,
	URL:   "https://github.com/centrifugal/centrifuge/blob/v0.40.1/README.md#tutorial",
	Limit: "64 KiB", Envelope: len(`{"push":{"channel":"bench","pub":{"data":}}}`),
	Hello: []frame{
		{"text", []byte(`{"id":1,"connect":{}}`)},
		{"text", []byte(`{"id":2,"subscribe":{"channel":"bench"}}`)},
	},
	Ready: `"subscribe":`,
	Echo: &echo{
		Type: "text", Request: []byte(`{"id":3,"rpc":{"data":""}}`), At: len(`{"id":3,"rpc":{"data":"`),
		Answer: len(`{"id":3,"rpc":{"data":""}}`),
	},
	Note:  "JSON; several deliveries may share a WebSocket message, with a newline between; ends a client that doesn't answer {} with {} within 35 s",
	start: startCentrifuge,
}

func startCentrifuge(s site) (*server, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, cb centrifuge.SubscribeCallback) {
			cb(centrifuge.SubscribeReply{}, nil)
		})
		c.OnRPC(func(e centrifuge.RPCEvent, cb centrifuge.RPCCallback) {
			cb(centrifuge.RPCReply{Data: e.Data}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	h := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{})
	addr, err := s.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		ctx := centrifuge.SetCredentials(r.Context(), &centrifuge.Credentials{})
		h.ServeHTTP(w, r.WithContext(ctx))
	})
	return &server{addr: addr, publish: func() error { _, err := node.Publish("bench", message); return err }}, err
}
