// A page in a headless Chromium uses sockjs-client over each of its transports, and the client of
// the chat example, from the server's own origin, from another port, and from another site.
//
//	node sockjs_browser.mjs SERVER PAGE...
//
// SERVER is the folder of the test services, PAGE is sockjs.html on a server of each origin.

import { launch } from "./browser.mjs";
import { assert, run } from "./report.mjs";

const [server, ...pages] = process.argv.slice(2);
const secure = server.startsWith("https:");
const transports = {
  "sockjs-client": [
    "websocket", "xhr-streaming", "eventsource", "iframe-eventsource", "htmlfile", "iframe-htmlfile",
    "xhr-polling", "iframe-xhr-polling", "jsonp-polling",
  ],
  "the chat's": ["websocket", "xhr-streaming", "xhr-polling"],
};
const services = { echo: "echo", goAway: "close", large: "amplify", both: "broadcast" };

const { browser, close } = await launch({ ignoreHTTPSErrors: true });

/** What this origin is to the server's. */
function relation(url) {
  const a = new URL(server), b = new URL(url);
  if (a.origin === b.origin) return "same origin";
  return a.hostname === b.hostname ? "another port" : "another site";
}

const all = {};
const failures = [];
const seen = {}; // how many cases were good, by transport and origin
for (const url of pages) {
  const from = relation(url);
  const page = await browser.newPage();
  const protocols = new Set(); // of the server's responses, streams too
  const network = await browser.newCDPSession(page);
  await network.send("Network.enable");
  network.on("Network.responseReceived", ({ response }) => {
    if (response.url.startsWith(server)) protocols.add(response.protocol);
  });
  page.on("pageerror", (e) => failures.push(`${from}: ${e.message}`));
  const on = (client, transport, name, f) => {
    const row = client === "sockjs-client" ? transport : `${client} ${transport}`;
    (seen[row] ??= {})[from] = 0;
    all[`${from}, ${row}, ${name}`] = async () => {
      // A fresh page: polls that JSONP leaves behind would take the browser's six connections.
      await page.goto(url);
      protocols.clear();
      await page.getByRole("status").filter({ hasText: "ready" }).waitFor();
      await f();
      assert.deepEqual([...protocols], [secure ? "h2" : "http/1.1"]);
      seen[row][from]++;
    };
  };
  for (const client of Object.keys(transports)) {
    for (const transport of transports[client]) {
      if (transport === "htmlfile" && from !== "same origin") continue; // sockjs-client has it there alone
      for (const [name, service] of Object.entries(services)) {
        on(client, transport, name, () => page.evaluate(
          ([client, name, url, transport]) => window.cases[name](window.clients[client], url, transport),
          [client, name, `${server}/${service}`, transport],
        ));
      }
    }
    if (from === "same origin") {
      on(client, "any", "with a cookie", async () => {
        await browser.clearCookies();
        await page.evaluate(
          ([client, url]) => window.cases.echo(window.clients[client], url, "xhr-streaming"),
          [client, `${server}/cookie_needed_echo`],
        );
        assert.deepEqual((await browser.cookies(server)).map((c) => c.name), ["JSESSIONID"]);
      });
    }
    on(client, "any", "without a WebSocket", async () => {
      const got = await page.evaluate(([client, url]) => new Promise((resolve, reject) => {
        const sock = new window.clients[client](url);
        sock.onopen = () => { resolve(sock.transport); sock.close(); };
        sock.onclose = (e) => reject(new Error(e.reason));
      }), [client, `${server}/disabled_websocket_echo`]);
      assert.equal(got, "xhr-streaming");
    });
  }
}
all["no page threw"] = async () => assert.deepEqual(failures, []);
all["a table"] = async () => {
  const origins = pages.map(relation);
  const row = (first, cells) => console.log(first.padEnd(26) + cells.map((c) => `${c}`.padEnd(14)).join("").trimEnd());
  console.log("table");
  row("good cases", origins);
  for (const [transport, counts] of Object.entries(seen)) row(transport, origins.map((o) => counts[o] ?? "-"));
  console.log("");
};
await run(all);

await close();
