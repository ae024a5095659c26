// A headless Chromium reads the page of adapters/inspect, while robots and hostile clients
// talk.
//
//	node inspect.mjs http://127.0.0.1:8080/inspect/ ARTIFACTS
//
// On the line "stop" the Go test ends the server, and answers with a line of its own.

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";
import WebSocket from "ws";
import { assert, next, run } from "./report.mjs";

const [url, artifacts] = process.argv.slice(2);
const robots = 12;
const profile = await mkdtemp(path.join(tmpdir(), "weft-inspect-"));
const answers = readline.createInterface({ input: process.stdin });
const phone = { width: 360, height: 740 };

const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1280, height: 800 },
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
browser.setDefaultTimeout(10000);

const complaints = []; // what the page wrote to its console
let stopping = false;
const page = await browser.newPage();
page.on("pageerror", (e) => complaints.push(e.message));
page.on("dialog", (d) => { complaints.push(`dialog: ${d.message()}`); d.dismiss(); });
page.on("console", (m) => {
  // A session that was closed is asked for once more, and 1006 is no good status.
  const expected = stopping || /status of 40[04] /.test(m.text());
  if (["error", "warning"].includes(m.type()) && !expected) complaints.push(m.text());
});

/** A client of JSON envelopes, under a name of its own. */
async function join(name) {
  const ws = new WebSocket(url.replace(/^http(.*)inspect\/$/, "ws$1ws/gobwas"), ["v1.json.weft"], { maxPayload: 1 << 26 });
  ws.on("error", (e) => complaints.push(e.message));
  await once(ws, "open");
  ws.say = (envelope) => ws.send(JSON.stringify(envelope));
  const waiting = new Map(); // by receipt
  ws.on("message", (m) => {
    const answer = JSON.parse(m);
    waiting.get(answer.receipt)?.(answer);
  });
  ws.request = async (envelope) => {
    const receipt = String(waiting.size);
    const answer = new Promise((resolve) => { waiting.set(receipt, resolve); });
    ws.say({ ...envelope, receipt });
    const { type, message } = await answer;
    assert.notEqual(type, "error", message);
  };
  ws.say({ type: "connect", header: [["login", "x"], ["passcode", "first-passcode"]] });
  await ws.request({ type: "send", destination: "/app/name", body: { name } });
  return ws;
}

const shot = (name, options) => page.screenshot({ path: path.join(artifacts, `inspect-${name}.png`), ...options });
const rows = page.locator("#rows tr");
const row = (text) => rows.filter({ hasText: text });
const search = page.getByRole("searchbox", { name: "Find" });
const frames = page.getByRole("list", { name: "Frames" }).getByRole("listitem");
const frame = (text) => frames.filter({ hasText: text }).first();
const heading = (name) => page.getByRole("columnheader", { name }).getByRole("button");

async function find(text, n) {
  await search.fill(text);
  await page.waitForFunction((n) => document.querySelectorAll("#rows tr").length === n, n);
}

async function watch(text) {
  await row(text).getByRole("button", { name: /^Watch/ }).click();
  await page.getByText("as they pass").waitFor();
}

async function fits() {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "the page scrolls sideways");
  const out = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, select, td, svg")]
      .filter((e) => e.checkVisibility())
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5)
      .map((e) => e.textContent || e.id));
  assert.deepEqual(out, [], "out of sight");
}

const looks = {
  "light": { colorScheme: "light", size: { width: 1280, height: 800 } },
  "dark": { colorScheme: "dark", size: { width: 1280, height: 800 } },
  "narrow": { colorScheme: "light", size: phone },
  "narrow-dark": { colorScheme: "dark", size: phone },
};

async function inAllLooks(name) {
  for (const [look, { colorScheme, size }] of Object.entries(looks)) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(size);
    await fits();
    await shot(`${name}-${look}`, { fullPage: size === phone });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(looks.light.size);
}

const hostile = {
  markup: `<img src=x onerror="alert(1)"><b>bold</b>`,
  quotes: `"><script>alert(2)</script>`,
  turned: "\u202egnp.exe\u0000\u200b",
  tall: `Z${"\u0300\u0301\u0316".repeat(40)}`,
  long: "M".repeat(1 << 20),
};

try {
  await run({
    "the page and who is there": async () => {
      await page.goto(url);
      await page.getByRole("status").filter({ hasText: "live" }).waitFor();
      await page.waitForFunction((n) => document.querySelectorAll("#rows tr").length === n, robots);
      assert.equal(await page.locator("#count").textContent(), String(robots));
      const ada = rows.filter({ hasText: /^ada[A-Z2-7]{26}/ });
      for (const text of ["gobwas", "v1.json.weft", "/ws/gobwas", "127.0.0.1"]) await ada.getByText(text).first().waitFor();
      await ada.getByText(/^\d+(\.\d+)? ms$/).waitFor(); // the round trip, after the first ping
    },
    "the charts move": async () => {
      await page.getByRole("img", { name: /^Sessions: 12 now/ }).waitFor();
      await page.getByRole("img", { name: /^Messages in \/ s: [1-9]/ }).waitFor();
      await page.getByRole("img", { name: /^Bytes out \/ s: [\d.]+ KiB now/ }).waitFor();
      await page.waitForFunction(() => document.querySelector("svg polyline").getAttribute("points").split(" ").length > 3);
    },
    "one endpoint alone": async () => {
      await page.getByRole("combobox", { name: "Endpoint" }).selectOption("gorilla");
      await page.waitForFunction(() => document.querySelectorAll("#rows tr").length === 6);
      await page.getByRole("img", { name: /^Sessions: 6 now/ }).waitFor();
      await page.getByRole("combobox", { name: "Endpoint" }).selectOption("");
      await page.waitForFunction((n) => document.querySelectorAll("#rows tr").length === n, robots);
    },
    "sorted with the keyboard": async () => {
      for (const [want, arrow] of [["ada", "ascending"], ["hana", "descending"]]) {
        await heading("User").focus();
        await page.keyboard.press("Enter");
        await rows.first().filter({ hasText: want }).waitFor();
        assert.equal(await page.getByRole("columnheader", { name: "User" }).getAttribute("aria-sort"), arrow);
      }
      assert.equal(await heading("User").evaluate((e) => e === document.activeElement), true, "the focus is lost");
    },
    "found": async () => {
      await find("STOMP", 4);
      await page.getByText("4 found, of 12").waitFor();
      await find("nobody of that name", 0);
      await page.getByText("There is no such session.").waitFor();
      await find("", robots);
    },
    "what it looks like": async () => {
      await page.waitForTimeout(15000); // a picture wants charts that have something in them
      await inAllLooks("sessions");
    },
    "hostile names are text": async () => {
      for (const name of Object.values(hostile)) await join(name);
      await find("v1.json", 4 + Object.keys(hostile).length);
      await row(hostile.markup).waitFor();
      await row(hostile.quotes).waitFor();
      await row("\\u{202e}gnp.exe\\u{0}\\u{200b}").waitFor();
      await row("MMMM").waitFor();
      assert.equal(await page.locator("#rows :is(img, b, script)").count(), 0);
      assert.ok((await page.content()).length < 200000, "the page holds what is long");
      assert.doesNotMatch(await page.locator("#rows").textContent(), /[\u0000\u200b\u202e]/);
      await inAllLooks("hostile");
      const tallest = await page.evaluate(() => Math.max(...[...document.querySelectorAll("#rows tr")].map((e) => e.offsetHeight)));
      assert.ok(tallest < 100, `a row is ${tallest} px high`);
      await find("", robots + Object.keys(hostile).length);
    },
    "frames as they pass, without credentials": async () => {
      const ws = await join("mallory");
      await find("mallory", 1);
      await watch("mallory");
      await ws.request({ type: "subscribe", subscription: "1", destination: "/topic/cellar" });
      ws.say({ type: "connect", header: [["login", "mallory"], ["passcode", "very-secret-1"], ["x-api-key", "very-secret-2"]] });
      await ws.request({ type: "send", destination: "/app/cellar/say", header: [["authorization", "Bearer very-secret-3"]], body: { text: hostile.markup, password: "very-secret-4" } });
      ws.say({ type: "send", destination: "/app/cellar/say", contentType: "text/plain", text: "very-secret-5" });
      await frame(/"type":"connect","header":\[\["login","mallory"\],\["passcode",•••\],\["x-api-key",•••\]\]/).waitFor();
      await frame(/^in.*"authorization",•••.*<img src=x onerror=\\"alert\(1\)\\"><b>bold<\/b>","password":•••/).waitFor();
      await frame(/^out.*"type":"deliver","subscription":"1".*<b>bold/).waitFor();
      await frame(/"text":\(text, 13 bytes\)/).waitFor();
      await frame(/masked/).waitFor();
      await page.locator("#subscriptions").getByText("/topic/cellar").waitFor();
      assert.equal((await page.content()).includes("very-secret"), false);
      assert.equal(await page.locator("#frames :is(img, pre b, script)").count(), 0);
      await shot("frames");
    },
    "frames of STOMP and of msgpack": async () => {
      await find("ben", 2);
      await watch("ben-2");
      await find("ben", 2);
      await search.fill("v12.stomp");
      await page.waitForFunction(() => document.querySelectorAll("#rows tr").length === 4);
      await rows.first().getByRole("button", { name: /^Watch/ }).click();
      await frame(/STOMP.*SEND\n(.*\n)*authorization:•••\n/).waitFor();
      await frame(/STOMP.*MESSAGE\n(.*\n)*\n\{"from":"/).waitFor();
      await inAllLooks("stomp");
      await search.fill("v1.msgpack");
      await page.waitForFunction(() => [...document.querySelectorAll("#rows tr")].every((tr) => tr.textContent.includes("msgpack")));
      await rows.first().getByRole("button", { name: /^Watch/ }).click();
      await frame(/binary.*msgpack.*"type":"send".*\["authorization",•••\].*"body":\{"from":"","room":"","text":"/).waitFor();
      assert.equal((await page.content()).includes("no-secrets"), false);
    },
    "frames are held, cleared and bounded": async () => {
      await page.getByRole("button", { name: "Hold" }).click();
      await page.getByRole("button", { name: "Clear" }).click();
      await page.waitForTimeout(2500); // robots say something every two seconds
      assert.equal(await frames.count(), 0);
      await page.getByRole("button", { name: "Hold" }).click();
      await frames.first().waitFor();
      const ws = await join("flood");
      await find("flood", 1);
      await watch("flood");
      for (let i = 0; i < 2000; i++) ws.say({ type: "heartbeat", answer: true });
      await page.waitForFunction(() => document.querySelectorAll("#frames li").length === 200);
      ws.close();
      await frame("The session has ended").waitFor();
      assert.equal(await frames.count(), 200);
    },
    "a client that does not read": async () => {
      const slow = await join("tortoise");
      await slow.request({ type: "subscribe", subscription: "1", destination: "/topic/road" });
      slow.pause();
      const fast = await join("hare");
      await find("tortoise", 1);
      await heading("Queued").click();
      for (let i = 0; i < 200; i++) fast.say({ type: "send", destination: "/app/road/say", body: { text: "run".repeat(20000) } });
      await row("tortoise").getByText(/^[\d.]+ [KM]iB\d+ msg$/).waitFor();
      await search.fill("");
      await rows.first().filter({ hasText: "tortoise" }).waitFor();
      await page.locator(".chart").filter({ hasText: "Queued" }).getByText(/[KM]iB/).waitFor();
      await shot("queued");
      slow.terminate();
      fast.terminate();
    },
    "a session is closed": async () => {
      const ws = await join("guest");
      const closed = next(ws, "close");
      await find("guest", 1);
      await watch("guest");
      await page.getByRole("button", { name: "Close session…" }).click();
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByRole("button", { name: "Close session…" }).click();
      await page.getByLabel("Status").fill("1006");
      await page.getByRole("button", { name: "Close it" }).click();
      await page.getByRole("alert").filter({ hasText: "close code 1006 may not be sent" }).waitFor();
      await page.getByLabel("Status").fill("4001");
      await page.getByLabel("Reason").fill("closing time");
      await shot("closing");
      await page.getByRole("button", { name: "Close it" }).click();
      const [code, reason] = await closed;
      assert.equal(code, 4001);
      assert.equal(String(reason), "closing time");
      await frame("The session has ended").waitFor();
      await page.getByText("There is no such session.").waitFor();
      await page.getByRole("button", { name: "Done" }).click();
      assert.equal(await page.locator("#detail").isVisible(), false);
    },
    "another site gets nothing": async () => {
      const server = http.createServer((_, res) => res.setHeader("Content-Type", "text/html").end(`<iframe src="${url}"></iframe>`));
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const other = await browser.newPage();
      try {
        await other.goto(`http://localhost:${server.address().port}/`);
        const got = await other.evaluate(async (url) => {
          const all = [];
          for (const [path, init] of [["", {}], ["sessions", {}], ["sessions", { headers: { "X-Weft-Inspect": "x" } }], ["close", { method: "POST", body: "{}" }]]) {
            all.push(await fetch(url + path, init).then((r) => r.text(), (e) => e.name));
          }
          const opaque = await fetch(`${url}figures`, { mode: "no-cors" }).then((r) => r.type, (e) => e.name);
          return [...all, opaque];
        }, url);
        assert.deepEqual(got, Array(5).fill("TypeError"));
        const inside = await other.frames()[1].evaluate(() => document.title).catch(() => "");
        assert.notEqual(inside, "weft inspect", "the page is in a frame");
      } finally {
        await other.close();
        server.close();
      }
    },
    "everything says what it is": async () => {
      const silent = await page.evaluate(() =>
        [...document.querySelectorAll("button, input, select, dialog, table, [role=img], [tabindex]")]
          .filter((e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel || e.hasAttribute("aria-labelledby")))
          .map((e) => e.outerHTML));
      assert.deepEqual(silent, []);
    },
    "no error on the page": async () => assert.deepEqual(complaints, []),
    "the server ends though the page is open": async () => {
      stopping = true;
      await find("", robots + Object.keys(hostile).length + 1);
      const answer = next(answers, "line");
      console.log("stop");
      await answer;
      await page.getByRole("status").filter({ hasText: /the server (has ended|can't be reached)/ }).waitFor();
    },
  });
} finally {
  answers.close();
  await browser.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(); // clients are still connected, or try to be
}
