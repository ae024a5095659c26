// People in tabs of a headless Chromium talk over the chat example, each by another
// endpoint.
//
//	node chat.mjs http://127.0.0.1:8080/ ARTIFACTS
//
// On the line "restart" the Go test ends the server, starts it again on the same
// port, and answers with a line of its own.

import path from "node:path";
import readline from "node:readline";
import { launch } from "./browser.mjs";
import { assert, next, run } from "./report.mjs";

const [url, artifacts] = process.argv.slice(2);
const answers = readline.createInterface({ input: process.stdin });
const phone = { width: 360, height: 740 };

const { browser, close } = await launch({ viewport: { width: 1280, height: 760 } });
browser.setDefaultTimeout(10000);

const complaints = []; // what the pages wrote to their consoles
let restarting = false;

async function tab() {
  const page = await browser.newPage();
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => {
    const expected = restarting && m.text().includes("WebSocket");
    if (["error", "warning"].includes(m.type()) && !expected) complaints.push(m.text());
  });
  page.on("dialog", (d) => { complaints.push(`dialog: ${d.message()}`); d.dismiss(); });
  await page.goto(url);
  return page;
}

const connected = (page) => page.getByRole("status").filter({ hasText: "connected as" }).waitFor();

/** Joins with the keyboard alone: the name field has the focus. */
async function join(page, name, downs) {
  await page.bringToFront();
  await page.getByRole("radio").first().waitFor();
  await page.keyboard.type(name);
  await page.keyboard.press("Tab"); // to the room
  await page.keyboard.press("Tab"); // to the endpoints
  for (let i = 0; i < downs; i++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await connected(page);
}

/** Says something with the keyboard alone: the message field has the focus. */
async function say(page, text) {
  await page.bringToFront();
  await page.getByLabel("Message", { exact: true }).focus();
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

const log = (page) => page.getByRole("log", { name: "Messages" });
const sees = (page, text) => log(page).getByText(text, { exact: true }).first().waitFor();
const shot = (page, name) => page.screenshot({ path: path.join(artifacts, name) });
const frames = (page) => page.getByRole("list", { name: "Frames" });
const frame = (page, text) => frames(page).getByRole("listitem").filter({ hasText: text });
const toggle = (page) => page.getByRole("button", { name: /^Frames/ });
const open = async (page) => {
  if ((await toggle(page).getAttribute("aria-expanded")) !== "true") await toggle(page).click();
};

async function roundTrip(page) {
  await page.bringToFront(); // a page in the background does not measure
  const text = page.locator("#rtt").filter({ hasText: /^\d+\.\d ms$/ });
  await text.waitFor();
  return parseFloat(await text.textContent());
}

async function fits(page) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "the page scrolls sideways");
  const out = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, select")]
      .filter((e) => e.checkVisibility() && !e.closest("[hidden]"))
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5)
      .map((e) => e.textContent || e.id));
  assert.deepEqual(out, [], "out of sight");
}

/** Everything that takes input says what it is. */
async function labelled(page) {
  const silent = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, [role], [tabindex]")]
      .filter((e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel || e.hasAttribute("aria-labelledby") || e.role === "alert"))
      .map((e) => e.outerHTML));
  assert.deepEqual(silent, []);
}

const ann = await tab();
const bob = await tab();
const eve = await tab();
const sol = await tab();
const markup = `<img src=x onerror="alert(1)"><b>not bold</b>`;

try {
  await run({
    "the page before anyone joined": async () => {
      await ann.bringToFront();
      await ann.getByRole("heading", { name: "Join a room" }).waitFor();
      await ann.getByRole("group", { name: "Endpoint" }).waitFor();
      assert.equal(await ann.getByRole("radio").count(), 9);
      assert.equal(await ann.evaluate(() => document.activeElement.id), "name");
      await labelled(ann);
      await shot(ann, "chat-join.png");
      await bob.bringToFront();
      await bob.setViewportSize(phone);
      await bob.emulateMedia({ colorScheme: "dark" });
      await fits(bob);
      await shot(bob, "chat-join-dark-narrow.png");
    },
    "four join by four endpoints": async () => {
      await join(ann, "Ann", 0);
      await join(bob, "Bob", 1);
      await join(eve, "Eve", 2);
      await join(sol, "Sol", 5);
      await sees(ann, "Bob joined.");
      await ann.getByText("Here now (4)").waitFor();
      await bob.getByText("Bob (you)").waitFor();
      for (const [page, name] of [[ann, "gobwas/json"], [bob, "gorilla/msgpack"], [eve, "gobwas/raw"], [sol, "gobwas/stomp"]]) {
        assert.equal(await page.locator("#endpoint").textContent(), name);
        await ann.getByRole("complementary").getByText(name).waitFor();
      }
    },
    "each sees the others' messages": async () => {
      await say(ann, "Hello Bob, can you read this?");
      await sees(bob, "Hello Bob, can you read this?");
      await say(bob, "Loud and clear, by msgpack: Grüße, čau, γεια");
      await say(eve, "And I have no envelope at all.");
      await say(sol, "STOMP here: a\\b \u{1f9f5} c:d");
      for (const page of [ann, bob, eve, sol]) {
        await sees(page, "Loud and clear, by msgpack: Grüße, čau, γεια");
        await sees(page, "And I have no envelope at all.");
        await sees(page, "STOMP here: a\\b \u{1f9f5} c:d");
      }
    },
    "markup is shown as text": async () => {
      await say(bob, markup);
      for (const page of [ann, eve, sol]) {
        await sees(page, markup);
        assert.equal(await log(page).locator("img, b b, .what b").count(), 0);
      }
      assert.equal(await frames(ann).locator("img, b").count(), 0);
    },
    "the round trip is measured": async () => {
      for (const page of [ann, bob, eve, sol]) {
        const ms = await roundTrip(page);
        assert.ok(ms > 0 && ms < 5000, `${ms}`);
      }
    },
    "frames of text": async () => {
      await ann.bringToFront();
      await frame(ann, /sent · text .*"type":"connect"/).waitFor();
      await frame(ann, /sent · text .*"type":"send","destination":"\/app\/rooms\/lobby\/say","body":\{"text":"Hello Bob, can you read this\?"\}/).waitFor();
      await frame(ann, /received · text .*"type":"deliver".*Loud and clear/).first().waitFor();
      await frame(ann, "open /ws/gobwas/json, v1.json.weft").waitFor();
      assert.equal(await frame(ann, "/app/ping").first().isVisible(), false);
      await ann.getByRole("checkbox", { name: "Pings too" }).check();
      assert.equal(await frame(ann, "/app/ping").first().isVisible(), true);
      await ann.getByRole("checkbox", { name: "Pings too" }).uncheck();
    },
    "frames of bytes": async () => {
      await bob.bringToFront();
      await open(bob);
      await frame(bob, /sent · binary .*a4 74 79 70 65 a7 63 6f 6e 6e 65 63 74/).waitFor(); // type: connect
      await frame(bob, /received · binary .*·type·deliver.*Hello·Bob/).first().waitFor();
      await fits(bob);
      await shot(bob, "chat-bob-dark-narrow-frames.png");
      await toggle(bob).click();
    },
    "frames of lines": async () => {
      await eve.bringToFront();
      await open(eve);
      await frame(eve, `SEND /app/rooms/lobby/say {"text":"And I have no envelope at all."}`).waitFor();
      await frame(eve, /received · text .*\{"type":"present"/).waitFor();
    },
    "frames of STOMP": async () => {
      await sol.bringToFront();
      await open(sol);
      await frame(sol, "open /ws/gobwas/stomp, v12.stomp").waitFor();
      await frame(sol, /sent · text .*CONNECT\naccept-version:1\.2\n/).waitFor();
      await frame(sol, /received · text .*CONNECTED\n(.*\n)*version:1\.2\n/).waitFor();
      await frame(sol, /sent · text .*SEND\ndestination:\/app\/rooms\/lobby\/say\n(.*\n)+\n\{"text":"STOMP here.*\^@/).waitFor();
      await frame(sol, /received · text .*MESSAGE\n(.*\n)+\n\{"type":"said".*Hello Bob/).first().waitFor();
      assert.equal(await frame(sol, /RECEIPT\nreceipt-id:\/app\/ping/).first().isVisible(), false);
      await shot(sol, "chat-stomp-frames.png");
    },
    "frames of STOMP are escaped": async () => {
      const back = await sol.evaluate(async () => {
        const { decode, encode } = await import("/stomp.js");
        const odd = { "a:b": "c\\d", "e\nf": "g\rh:", i: "" };
        const frame = encode("SEND", odd, "{\n\n}");
        return { frame, twice: decode("MESSAGE\nx:1\nx:2\n\n\0"), ...decode(frame), odd };
      });
      assert.equal(back.frame, "SEND\na\\cb:c\\\\d\ne\\nf:g\\rh\\c\ni:\n\n{\n\n}\0");
      assert.deepEqual(back.headers, back.odd);
      assert.equal(back.body, "{\n\n}");
      assert.deepEqual(back.twice.headers, { x: "1" });
    },
    "mistakes are explained": async () => {
      for (const page of [ann, bob, eve]) {
        await page.bringToFront();
        await open(page);
        const alert = page.locator("#say-problem");
        for (const [button, text] of [
          ["Empty text", /There was nothing in that message\. \(invalid\)/],
          ["Unknown destination", /nothing here handles SEND to "\/app\/nowhere" \(not-found\)/],
          ["Wrong type", /\(bad-body\)/],
        ]) {
          await page.getByRole("button", { name: button }).click();
          await alert.filter({ hasText: text }).waitFor();
        }
      }
      // STOMP's errors end the connection, and the page comes back by itself.
      await sol.bringToFront();
      for (const [button, text] of [
        ["Unknown destination", /nothing here handles SEND to "\/app\/nowhere" \(not-found\)/],
        ["Empty text", /There was nothing in that message\. \(invalid\)/],
      ]) {
        await sol.getByRole("button", { name: button }).click();
        await sol.locator("#say-problem").filter({ hasText: text }).waitFor();
        await sol.getByRole("status").filter({ hasText: "connection lost" }).waitFor();
        await connected(sol);
      }
      await frame(sol, /received · text .*ERROR\n/).first().waitFor();
      await shot(sol, "chat-stomp-mistake.png");
      await sees(ann, "Sol left.");
      await shot(ann, "chat-mistake.png");
      await say(ann, ""); // also by hand
      await ann.locator("#say-problem").filter({ hasText: "(invalid)" }).waitFor();
      await say(ann, "That is how it is meant to be.");
      await sees(bob, "That is how it is meant to be.");
      assert.equal(await ann.locator("#say-problem").textContent(), "");
    },
    "a tab with a taken name gets another one, and the history": async () => {
      const other = await tab();
      await join(other, "Ann", 6);
      assert.equal(await other.locator("#endpoint").textContent(), "gorilla/stomp");
      await sees(other, "Hello Bob, can you read this?");
      await sees(other, "You are Ann (2).");
      await sees(ann, "Ann (2) joined.");
      await other.close();
      await sees(ann, "Ann (2) left.");
    },
    "over SockJS, where WebSocket gets through": async () => {
      for (const [downs, name, person] of [[7, "sockjs/json", "Kim"], [8, "sockjs/stomp", "Lee"]]) {
        const other = await tab();
        await join(other, person, downs);
        assert.equal(await other.locator("#endpoint").textContent(), name);
        assert.equal(await other.locator("#transport").textContent(), "websocket");
        await ann.getByRole("complementary").getByText(name).waitFor();
        await say(other, `Hello by ${name}: "\u{1f9f5}"`);
        await sees(ann, `Hello by ${name}: "\u{1f9f5}"`);
        await sees(other, `Hello by ${name}: "\u{1f9f5}"`);
        await open(other);
        await frame(other, `open /${name}, websocket`).waitFor();
        await other.close();
        await sees(ann, `${person} left.`);
      }
    },
    "another room is another room": async () => {
      const other = await tab();
      await other.getByRole("combobox", { name: "Room" }).fill("loom");
      await other.getByLabel("Your name").fill("Zoe");
      await other.getByLabel("gorilla, JSON envelope").check();
      await other.getByRole("button", { name: "Join" }).click();
      await connected(other);
      await other.getByText("Here now (1)").waitFor();
      await say(other, "Is anybody here?");
      await sees(other, "Is anybody here?");
      assert.equal(await log(ann).getByText("Is anybody here?").count(), 0);
      await other.getByRole("button", { name: "Leave" }).click();
      await other.getByRole("heading", { name: "Join a room" }).waitFor();
      await other.close();
    },
    "what it looks like": async () => {
      await ann.bringToFront();
      await labelled(ann);
      await fits(ann);
      await shot(ann, "chat-ann.png");
      await ann.emulateMedia({ colorScheme: "dark" });
      await shot(ann, "chat-ann-dark.png");
      await ann.emulateMedia({ colorScheme: "light" });
      await ann.setViewportSize({ width: 900, height: 700 });
      await fits(ann);
      await shot(ann, "chat-ann-medium.png");
      await ann.setViewportSize({ width: 1280, height: 760 });
      await bob.bringToFront();
      await toggle(bob).click();
      await fits(bob);
      await shot(bob, "chat-bob-dark-narrow.png");
      await bob.emulateMedia({ colorScheme: "light" });
      await shot(bob, "chat-bob-narrow.png");
    },
    "the longest message, and not a letter more": async () => {
      await ann.bringToFront();
      await ann.getByLabel("Message", { exact: true }).focus();
      await ann.keyboard.insertText("w".repeat(600));
      await ann.keyboard.press("Enter");
      await sees(bob, "w".repeat(500));
      await fits(bob);
      const end = await bob.evaluate(() => {
        const log = document.getElementById("log");
        return log.scrollHeight - log.scrollTop - log.clientHeight;
      });
      assert.ok(end < 2, `the newest line is out of sight by ${end}`);
    },
    "disconnected by hand, and back": async () => {
      await bob.bringToFront();
      await bob.getByRole("button", { name: "Disconnect" }).click();
      await bob.getByRole("status").filter({ hasText: /^disconnected$/ }).waitFor();
      await sees(ann, "Bob left.");
      assert.equal(await bob.getByRole("button", { name: "Send" }).isEnabled(), false);
      await bob.getByRole("button", { name: "Reconnect" }).click();
      await connected(bob);
      await ann.getByText("Here now (4)").waitFor();
    },
    "the tabs come back after the server did": async () => {
      restarting = true;
      const answer = next(answers, "line");
      console.log("restart");
      await answer;
      for (const page of [ann, bob, eve, sol]) {
        await page.getByText("Here now (4)").waitFor({ timeout: 19000 });
        await connected(page);
      }
      await say(ann, "Back again");
      await sees(bob, "Back again");
      await sees(eve, "Back again");
      await sees(sol, "Back again");
      restarting = false;
    },
    "who closes the tab has left": async () => {
      await bob.close();
      await sees(ann, "Bob left.");
      await ann.getByText("Here now (3)").waitFor();
    },
    "the list of frames is bounded": async () => {
      await ann.evaluate(async () => {
        const { tap } = await import("/tap.js");
        const ws = new (tap(WebSocket, () => {}))(`ws://${location.host}/ws/gobwas/raw`);
        await new Promise((resolve) => { ws.onopen = resolve; });
        for (let i = 0; i < 200; i++) ws.send("x".repeat(100));
      });
      assert.equal(await frames(ann).locator("li").count(), 100);
    },
    "no error on any page": async () => assert.deepEqual(complaints, []),
  });
} finally {
  answers.close();
  await close();
}
