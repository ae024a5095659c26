// sockjs-client in node against the test services of interop/server.
//
//	node sockjs.mjs http://127.0.0.1:8080/gobwas/sockjs [TRANSPORT...]
//
// TRANSPORT are those that get through to the server, by default all, the best one first.

import SockJS from "sockjs-client";
import { run } from "./report.mjs";
import * as cases from "./sockjs_cases.mjs";

const [url, ...through] = process.argv.slice(2);
const transports = through.length ? through : ["websocket", "xhr-streaming", "eventsource", "xhr-polling"];
const all = {};
for (const transport of transports) {
  for (const [name, service] of Object.entries({ echo: "echo", goAway: "close", large: "amplify", both: "broadcast" })) {
    all[`${transport}, ${name}`] = () => cases[name](SockJS, `${url}/${service}`, transport);
  }
}
const finds = (service, want) => async () => {
  const sock = new SockJS(`${url}/${service}`);
  await new Promise((resolve, reject) => {
    sock.onopen = resolve;
    sock.onclose = (e) => reject(new Error(`${e.code} ${e.reason}`));
  });
  const { transport } = sock;
  sock.close();
  if (transport !== want) throw new Error(`over ${transport}`);
};
all["ticker"] = () => cases.ticks(SockJS, `${url}/ticker`, transports[0]);
all["the best one is found"] = finds("echo", transports[0]);
all["without a WebSocket"] = finds("disabled_websocket_echo", transports.find((t) => t !== "websocket"));
await run(all);
process.exit(); // for the timers that sockjs-client leaves behind
