package main

func nodeRow() row {
	return inNode(row{
		Name: "node-ws", Library: "ws", Kind: "echo", Framing: "websocket", TLS: true,
		URL:  "https://github.com/websockets/ws/blob/8.23.0/README.md#simple-server",
		UTF8: true, Limit: "100 MiB",
		Note: "JavaScript, in node; its stats are empty; its queues have no bound",
	}, "ws.mjs")
}
