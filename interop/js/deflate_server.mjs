// A server on npm's ws with permessage-deflate for weft's dialers to talk to. It
// prints "listening on ADDRESS" when it is ready, for each connection "answer HEADER",
// and at its end "closed CODE READ WRITTEN", the bytes on the wire. The query is the
// options of the extension, as JSON. It sends back what comes, on /fragments in three
// pieces.

import http from "node:http";
import { WebSocketServer } from "ws";

const listener = http.createServer();

listener.on("upgrade", (req, socket, head) => {
  const url = new URL(req.url, "http://localhost");
  const options = JSON.parse(decodeURIComponent(url.search.slice(1)));
  const server = new WebSocketServer({
    noServer: true, maxPayload: 32 << 20, perMessageDeflate: options && { threshold: 0, ...options },
  });
  server.on("headers", (lines) => {
    const line = lines.find((l) => /^sec-websocket-extensions:/i.test(l)) ?? "";
    console.log(`answer ${line.slice(line.indexOf(":") + 1).trim()}`);
  });
  server.on("wsClientError", () => console.log("answer refused"));
  server.handleUpgrade(req, socket, head, (ws) => {
    ws.on("error", () => {});
    ws.on("close", (code) => console.log(`closed ${code} ${socket.bytesRead} ${socket.bytesWritten}`));
    const pieces = url.pathname === "/fragments" ? 3 : 1;
    ws.on("message", (data, binary) => {
      const size = Math.ceil(data.length / pieces);
      for (let i = 0; i < pieces; i++) {
        ws.send(data.subarray(i * size, (i + 1) * size), { binary, fin: i === pieces - 1 });
      }
    });
  });
});
listener.listen(0, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${listener.address().port}`));

// The parent that goes away takes the server along.
process.stdin.on("end", () => process.exit(0)).resume();
