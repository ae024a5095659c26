package main

// sockJSRow is a row for one transport of a server that has them all.
func sockJSRow(transport string) row {
	r := row{
		Name: "node-sockjs/" + transport, Library: "sockjs", Kind: "echo", Framing: "websocket", SockJS: transport,
		URL:      "https://github.com/sockjs/sockjs-node/blob/v0.3.24/README.md#sockjs-node-server",
		UTF8:     transport == "websocket",
		Limit:    "none",
		Envelope: len(`a["\"\""]`) - 2, // the quotes of the message are its own
		Note:     "JavaScript, in node; its stats are empty; its queues have no bound",
	}
	if transport != "websocket" {
		r.Framing = "http"
		r.Envelope++ // a line end
	}
	return inNode(r, "sockjs.mjs")
}
