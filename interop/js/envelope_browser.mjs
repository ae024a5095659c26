// Two tabs of a headless Chromium use subprotocol/envelope/client.js against
// interop/server.
//
//	node envelope_browser.mjs http://127.0.0.1:8080/envelope.html?gobwas

import { launch } from "./browser.mjs";
import { assert, run } from "./report.mjs";

const url = process.argv[2];
const { browser, close } = await launch();
browser.setDefaultTimeout(15000);

const complaints = [];

const status = (page, text) => page.getByRole("status").filter({ hasText: text }).waitFor();

async function tab() {
  const page = await browser.newPage();
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(m.text()));
  await page.goto(url);
  await status(page, "connected");
  return page;
}

/** Waits until the page's list has exactly these messages. */
async function sees(page, ...want) {
  const items = page.getByRole("list", { name: "Messages" }).getByRole("listitem");
  await items.nth(want.length - 1).waitFor();
  assert.deepEqual((await items.allTextContents()).map((t) => JSON.parse(t)), want);
}

const [a, b] = [await tab(), await tab()];

await run({
  "a request is answered": async () => {
    const got = await a.evaluate(async () => [
      await client.request("/app/add", { a: 1, b: 2 }),
      await client.request("/app/echo", { text: "Grüße 🧵", list: [null, 1.5] }),
      await Promise.all([1, 2, 3].map((n) => client.request("/app/echo", n))),
    ]);
    assert.deepEqual(got, [{ sum: 3 }, { text: "Grüße 🧵", list: [null, 1.5] }, [1, 2, 3]]);
  },
  "a request that fails": async () => {
    const codes = await a.evaluate(() => Promise.all([
      client.request("/app/nowhere"), client.request("/app/add", { a: 1 }), client.request("/app/add", "x"), client.request("/topic/other", 1),
    ].map((p) => p.then(() => "done", (e) => e.code))));
    assert.deepEqual(codes, ["not-found", "invalid", "bad-body", "done"]);
  },
  "two tabs get each other's messages": async () => {
    await a.evaluate(() => client.send("/topic/tabs", { from: "a" }));
    await sees(a, { from: "a" });
    await sees(b, { from: "a" });
    await b.evaluate(() => client.send("/topic/tabs", { from: "b", text: "Grüße 🧵" }));
    for (const page of [a, b]) await sees(page, { from: "a" }, { from: "b", text: "Grüße 🧵" });
  },
  "a subscription ends": async () => {
    await b.evaluate(() => stop());
    await a.evaluate(() => client.request("/topic/tabs", 3).then(() => client.request("/topic/tabs", 4)));
    await b.evaluate(() => client.request("/app/echo", 0)); // behind all that was delivered
    await sees(a, { from: "a" }, { from: "b", text: "Grüße 🧵" }, 3, 4);
    // What was published before the server had the unsubscribe is not held against it.
    const items = await b.getByRole("list", { name: "Messages" }).getByRole("listitem").allTextContents();
    assert.ok(!items.includes("4"), `still subscribed: ${items}`);
  },
  "a subscription that is refused": async () => {
    const code = await a.evaluate(() => new Promise((resolve) => client.subscribe("/nowhere", (_, e) => resolve(e.code))));
    assert.equal(code, "not-found");
  },
  "credentials": async () => {
    const got = await a.evaluate(async () => {
      const c = await connect({ header: [["token", "token of ada"]] });
      const { user } = await c.request("/app/whoami");
      c.close();
      const refused = await connect({ header: [["token", "forged"]] }).then(() => "taken", (e) => e.code);
      return [user, refused];
    });
    assert.deepEqual(got, ["ada", 1008]);
  },
  "heartbeats keep a silent tab, both ways": async () => {
    const code = await a.evaluate(async () => {
      let over = 0;
      const c = await connect({ every: 1000, onclose: (e) => { over = e.code; } });
      await new Promise((resolve) => setTimeout(resolve, 4500)); // twice what ends a silent session
      const before = over;
      await c.request("/app/echo", 1);
      c.close();
      return before;
    });
    assert.equal(code, 0);
  },
  "closing": async () => {
    for (const page of [a, b]) {
      await page.evaluate(() => client.close());
      await status(page, "closed 1000");
    }
  },
  "nothing was written to the console": async () => assert.deepEqual(complaints, []),
});

await close();
