// A server on npm's ws for weft's dialer to talk to. It prints "listening on
// ADDRESS" when it is ready, and "closed CODE REASON" for each connection that
// ended. With the files of a certificate and its key it speaks TLS. What it does
// depends on the path:
//
//	/echo                    sends back what comes
//	/fragments               the same, in pieces of at most 5 bytes, with a ping in between
//	/close?code=C&reason=R   closes as soon as something comes
//	/ping                    pings, and sends "pong DATA" for the pong
//	/refuse                  answers the handshake with 403 and a text

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { WebSocketServer } from "ws";

const [cert, key] = process.argv.slice(2).map((f) => readFileSync(f));
const listener = cert ? https.createServer({ cert, key }) : http.createServer();

const server = new WebSocketServer({
  server: listener,
  maxPayload: 32 << 20,
  handleProtocols: (offered) => (offered.has("second") ? "second" : false),
  verifyClient: ({ req }, done) => done(!req.url.startsWith("/refuse"), 403, "not today"),
});

const behaviour = {
  "/echo"(ws) {
    ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
  },
  "/fragments"(ws) {
    ws.on("message", (data, binary) => {
      for (let i = 0; i < data.length; i += 5) {
        if (i > 0) ws.ping("between");
        ws.send(data.subarray(i, i + 5), { binary, fin: i + 5 >= data.length });
      }
    });
  },
  "/close"(ws, query) {
    const code = query.get("code");
    ws.on("message", () => (code === null ? ws.close() : ws.close(Number(code), query.get("reason") ?? "")));
  },
  "/ping"(ws) {
    ws.on("pong", (data) => ws.send(`pong ${data}`));
    ws.on("message", (data) => ws.ping(data));
  },
};

server.on("connection", (ws, req) => {
  const url = new URL(req.url, "http://localhost");
  ws.on("error", () => {});
  ws.on("close", (code, reason) => console.log(`closed ${code} ${reason}`));
  behaviour[url.pathname]?.(ws, url.searchParams);
});
listener.listen(0, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${listener.address().port}`));

// The parent that goes away takes the server along.
process.stdin.on("end", () => process.exit(0)).resume();
