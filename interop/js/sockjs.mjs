// sockjs-client in node against the test services of interop/server.
//
//	node sockjs.mjs http://127.0.0.1:8080/gobwas/sockjs

import SockJS from "sockjs-client";
import { run } from "./report.mjs";
import * as cases from "./sockjs_cases.mjs";

const url = process.argv[2];
const all = {};
for (const transport of ["websocket", "xhr-streaming", "eventsource", "xhr-polling"]) {
  for (const [name, service] of Object.entries({ echo: "echo", goAway: "close", large: "amplify", both: "broadcast" })) {
    all[`${transport}, ${name}`] = () => cases[name](SockJS, `${url}/${service}`, transport);
  }
}
all["without a WebSocket"] = async () => {
  const sock = new SockJS(`${url}/disabled_websocket_echo`);
  await new Promise((resolve, reject) => { sock.onopen = resolve; sock.onclose = reject; });
  const { transport } = sock;
  sock.close();
  if (transport !== "xhr-streaming") throw new Error(`over ${transport}`);
};
await run(all);
process.exit(); // for the timers that sockjs-client leaves behind
