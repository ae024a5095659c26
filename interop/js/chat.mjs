// Two people in two tabs of a headless Chromium talk over the chat example.
//
//	node chat.mjs http://127.0.0.1:8080/ ARTIFACTS
//
// On the line "restart" the Go test ends the server, starts it again on the same
// port, and answers with a line of its own.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";
import { assert, next, run } from "./report.mjs";

const [url, artifacts] = process.argv.slice(2);
const profile = await mkdtemp(path.join(tmpdir(), "weft-chat-"));
const answers = readline.createInterface({ input: process.stdin });

const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 960, height: 640 },
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
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

/** Joins with the keyboard alone: the name field has the focus. */
async function join(page, name) {
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByRole("status").filter({ hasText: "connected as" }).waitFor();
}

/** Says something with the keyboard alone: the message field has the focus. */
async function say(page, text) {
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

const log = (page) => page.getByRole("log", { name: "Messages" });
const sees = (page, text) => log(page).getByText(text, { exact: true }).first().waitFor();
const shot = (page, name) => page.screenshot({ path: path.join(artifacts, name) });

const ann = await tab();
const bob = await tab();
const markup = `<img src=x onerror="alert(1)"><b>not bold</b>`;

try {
  await run({
    "the page before anyone joined": async () => {
      await ann.getByRole("heading", { name: "Join the room" }).waitFor();
      await ann.getByLabel("Your name").waitFor();
      assert.equal(await ann.evaluate(() => document.activeElement.id), "name");
      await shot(ann, "chat-join.png");
    },
    "both join": async () => {
      await ann.bringToFront();
      await join(ann, "Ann");
      await bob.bringToFront();
      await join(bob, "Bob");
      await sees(ann, "Bob joined.");
      await ann.getByText("Here now (2)").waitFor();
      await bob.getByText("Bob (you)").waitFor();
    },
    "each sees the other's message": async () => {
      await ann.bringToFront();
      await say(ann, "Hello Bob, can you read this?");
      await bob.bringToFront();
      await sees(bob, "Hello Bob, can you read this?");
      await say(bob, "Loud and clear: Grüße, čau, γεια");
      await sees(ann, "Loud and clear: Grüße, čau, γεια");
      await sees(bob, "Loud and clear: Grüße, čau, γεια");
    },
    "markup is shown as text": async () => {
      await say(bob, markup);
      await sees(ann, markup);
      assert.equal(await log(ann).locator("img, b b, .what b").count(), 0);
    },
    "a third tab with a taken name gets another one, and the history": async () => {
      const other = await tab();
      await join(other, "Ann");
      await sees(other, "Hello Bob, can you read this?");
      await sees(other, "You are Ann (2).");
      await sees(ann, "Ann (2) joined.");
      await other.close();
      await sees(ann, "Ann (2) left.");
    },
    "what it looks like": async () => {
      await ann.bringToFront();
      await say(ann, "That is how it is meant to be.");
      await sees(bob, "That is how it is meant to be.");
      await shot(ann, "chat-ann.png");
      await bob.bringToFront();
      await shot(bob, "chat-bob.png");
      await bob.emulateMedia({ colorScheme: "dark" });
      await bob.setViewportSize({ width: 390, height: 700 });
      await shot(bob, "chat-bob-dark-narrow.png");
    },
    "the longest message, and not a letter more": async () => {
      await ann.bringToFront();
      await ann.getByLabel("Message", { exact: true }).fill("");
      await ann.keyboard.insertText("w".repeat(600));
      await ann.keyboard.press("Enter");
      await sees(bob, "w".repeat(500));
      const wide = await bob.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false, "the narrow page scrolls sideways");
      const end = await bob.evaluate(() => {
        const log = document.getElementById("log");
        return log.scrollHeight - log.scrollTop - log.clientHeight;
      });
      assert.ok(end < 2, `the newest line is out of sight by ${end}`);
    },
    "the tabs come back after the server did": async () => {
      restarting = true;
      const answer = next(answers, "line");
      console.log("restart");
      await answer;
      for (const page of [ann, bob]) {
        await page.getByText("Here now (2)").waitFor({ timeout: 19000 });
        await page.getByRole("status").filter({ hasText: "connected as" }).waitFor();
      }
      await ann.bringToFront();
      await say(ann, "Back again");
      await sees(bob, "Back again");
      restarting = false;
    },
    "who closes the tab has left": async () => {
      await bob.close();
      await sees(ann, "Bob left.");
      await ann.getByText("Here now (1)").waitFor();
    },
    "no error on any page": async () => assert.deepEqual(complaints, []),
  });
} finally {
  answers.close();
  await browser.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}
