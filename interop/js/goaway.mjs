// A client of npm's ws that waits until the weft server shuts down.
//
//	node goaway.mjs ws://127.0.0.1:8080/gobwas/echo
//
// On the line "ready" the Go test sends the server SIGTERM.

import WebSocket from "ws";
import { assert, next, run } from "./report.mjs";

await run({
  "a server that ends says 1001": async () => {
    const ws = new WebSocket(process.argv[2]);
    await next(ws, "open");
    const over = next(ws, "close");
    console.log("ready");
    const [code] = await over;
    assert.equal(code, 1001);
  },
});
