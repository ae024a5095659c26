// A page in a headless Chromium uses sockjs-client over each of its transports, from the server's
// own origin, from another port, and from another site.
//
//	node sockjs_browser.mjs SERVER PAGE...
//
// SERVER is the folder of the test services, PAGE is sockjs.html on a server of each origin.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";
import { assert, run } from "./report.mjs";

const [server, ...pages] = process.argv.slice(2);
const transports = [
  "websocket", "xhr-streaming", "eventsource", "iframe-eventsource", "htmlfile", "iframe-htmlfile",
  "xhr-polling", "iframe-xhr-polling", "jsonp-polling",
];
const services = { echo: "echo", goAway: "close", large: "amplify", both: "broadcast" };

const profile = await mkdtemp(path.join(tmpdir(), "weft-sockjs-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

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
  page.on("pageerror", (e) => failures.push(`${from}: ${e.message}`));
  const on = (transport, name, f) => {
    (seen[transport] ??= {})[from] = 0;
    all[`${from}, ${transport}, ${name}`] = async () => {
      // A fresh page: polls that JSONP leaves behind would take the browser's six connections.
      await page.goto(url);
      await page.getByRole("status").filter({ hasText: "ready" }).waitFor();
      await f();
      seen[transport][from]++;
    };
  };
  for (const transport of transports) {
    if (transport === "htmlfile" && from !== "same origin") continue; // sockjs-client has it there alone
    for (const [name, service] of Object.entries(services)) {
      on(transport, name, () => page.evaluate(
        ([name, url, transport]) => window.cases[name](SockJS, url, transport),
        [name, `${server}/${service}`, transport],
      ));
    }
  }
  on("any", "without a WebSocket", async () => {
    const got = await page.evaluate((url) => new Promise((resolve, reject) => {
      const sock = new SockJS(url);
      sock.onopen = () => { resolve(sock.transport); sock.close(); };
      sock.onclose = (e) => reject(new Error(e.reason));
    }), `${server}/disabled_websocket_echo`);
    assert.equal(got, "xhr-streaming");
  });
}
all["no page threw"] = async () => assert.deepEqual(failures, []);
all["a table"] = async () => {
  const origins = pages.map(relation);
  const row = (first, cells) => console.log(first.padEnd(20) + cells.map((c) => `${c}`.padEnd(14)).join("").trimEnd());
  console.log("table");
  row("good cases", origins);
  for (const [transport, counts] of Object.entries(seen)) row(transport, origins.map((o) => counts[o] ?? "-"));
  console.log("");
};
await run(all);

await browser.close();
await rm(profile, { recursive: true, force: true });
