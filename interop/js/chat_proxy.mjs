// Two people in tabs of a headless Chromium talk over the chat example's SockJS, through a
// proxy that lets TRANSPORT through and nothing better.
//
//	node chat_proxy.mjs http://chat.example:8080/ TRANSPORT PICTURE
//
// chat.example is this machine. PICTURE begins the names of the pictures that are taken.

import { launch } from "./browser.mjs";
import { assert, run } from "./report.mjs";

const [url, transport, picture] = process.argv.slice(2);
const { browser, close } = await launch({
  viewport: { width: 1280, height: 760 },
  args: ["--host-resolver-rules=MAP chat.example 127.0.0.1"],
});
browser.setDefaultTimeout(15000);

const complaints = [];

async function join(name, endpoint) {
  const page = await browser.newPage();
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => {
    const expected = transport !== "websocket" && m.text().includes("WebSocket"); // the first attempt
    if (["error", "warning"].includes(m.type()) && !expected) complaints.push(m.text());
  });
  await page.goto(url);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel(endpoint).check();
  await page.getByRole("button", { name: "Join" }).click();
  await connected(page);
  return page;
}

const connected = (page) => page.getByRole("status").filter({ hasText: "connected as" }).waitFor();
const sees = (page, text) => page.getByRole("log").getByText(text, { exact: true }).waitFor();
const shown = (page) => page.locator("#transport").textContent();

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

let ann, bob;
await run({
  "two join": async () => {
    ann = await join("Ann", "SockJS, JSON envelope");
    bob = await join("Bob", "SockJS, STOMP");
    await sees(ann, "Bob joined.");
    await ann.getByText("Here now (2)").waitFor();
  },
  "each page shows its transport": async () => {
    for (const page of [ann, bob]) {
      assert.equal(await shown(page), transport);
      assert.ok(await page.locator("#transport").isVisible());
    }
  },
  "they talk": async () => {
    for (const [page, text] of [[ann, "Hello Bob, by JSON: Grüße, \u{1f9f5}"], [bob, "Hello Ann, by STOMP: a\\b c:d"]]) {
      await say(page, text);
      for (const p of [ann, bob]) await sees(p, text);
    }
  },
  "in order, however fast": async () => {
    const lines = Array.from({ length: 10 }, (_, i) => `line ${i}`);
    for (const line of lines) await say(bob, line);
    await sees(ann, lines.at(-1));
    assert.deepEqual((await ann.locator("#log .what").allTextContents()).slice(-lines.length), lines);
  },
  "the round trip is measured": async () => {
    await ann.bringToFront();
    await ann.locator("#rtt").filter({ hasText: /^\d+\.\d ms$/ }).waitFor();
  },
  "what it looks like": async () => {
    await ann.screenshot({ path: `${picture}.png` });
    await ann.setViewportSize({ width: 360, height: 740 });
    assert.equal(await ann.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "the page scrolls sideways");
    assert.ok(await ann.locator("#transport").isVisible());
    await ann.screenshot({ path: `${picture}-narrow.png` });
  },
  "away and back": async () => {
    await bob.bringToFront();
    await bob.getByRole("button", { name: "Disconnect" }).click();
    await sees(ann, "Bob left.");
    await bob.getByRole("button", { name: "Reconnect" }).click();
    await connected(bob);
    assert.equal(await shown(bob), transport);
    await say(ann, "Welcome back");
    await sees(bob, "Welcome back");
  },
  "who closes the tab has left": async () => {
    await bob.close();
    await ann.getByText("Bob left.").nth(1).waitFor();
  },
  "no error on any page": async () => assert.deepEqual(complaints, []),
});
await close();
