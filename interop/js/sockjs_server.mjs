// A server on npm's sockjs for weft's dialer to talk to. It prints "listening on ADDRESS"
// when it is ready. /echo has every transport, /no_websocket all but WebSocket; on both
// a session
//
//	answers "texts" with the texts of sockjs_cases.mjs, as JSON of ASCII alone
//	closes with 4999 if what comes next are not these texts, in order
//	sends them back
//	closes at "close CODE REASON"
//
// and is reported at its end: "closed PATH".

import http from "node:http";
import sockjs from "sockjs";
import { texts } from "./sockjs_cases.mjs";

const ascii = JSON.stringify(texts).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

const listener = http.createServer();
for (const [prefix, websocket] of [["/echo", true], ["/no_websocket", false]]) {
  const service = sockjs.createServer({ prefix, websocket, log: () => {} });
  service.on("connection", (conn) => {
    let expected;
    conn.on("close", () => console.log(`closed ${prefix}`));
    conn.on("data", (data) => {
      const close = /^close (\d+) (.*)$/.exec(data);
      if (data === "texts") {
        expected = texts[Symbol.iterator]();
        conn.write(ascii);
      } else if (close) {
        conn.close(Number(close[1]), close[2]);
      } else if (data === expected.next().value) {
        conn.write(data);
      } else {
        conn.close(4999, `this is no such text: ${JSON.stringify(data)}`.slice(0, 100));
      }
    });
  });
  service.installHandlers(listener);
}
listener.listen(0, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${listener.address().port}`));

// The parent that goes away takes the server along.
process.stdin.on("end", () => process.exit(0)).resume();
