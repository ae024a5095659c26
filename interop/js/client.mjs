// The client of npm's ws against a weft server that echoes.
//
//	node client.mjs ws://127.0.0.1:8080/gobwas/echo

import { randomBytes } from "node:crypto";
import WebSocket from "ws";
import { assert, next, run } from "./report.mjs";

const url = process.argv[2];
const limit = 16 << 20; // bytes of one message that the server takes
const none = 1005; // what ws reports for a close frame without a code

async function open(options) {
  const ws = new WebSocket(url, options);
  await next(ws, "open");
  return ws;
}

async function closed(ws) {
  const [code, reason] = await next(ws, "close");
  return { code, reason: reason.toString() };
}

async function end(ws) {
  const over = closed(ws);
  ws.close(1000, "over");
  assert.equal((await over).code, 1000);
}

/** Sends data and wants the same back, as the same type. */
async function echo(ws, data) {
  const answer = next(ws, "message");
  ws.send(data);
  const [got, isBinary] = await answer;
  assert.equal(isBinary, typeof data !== "string", "type of the answer");
  const want = Buffer.from(data);
  assert.equal(got.length, want.length, "length of the answer");
  assert.ok(want.equals(got), "the answer differs");
}

async function echoOnce(data) {
  const ws = await open();
  await echo(ws, data);
  await end(ws);
}

/** Closes with the arguments and wants that code back. */
async function closing(args, want) {
  const ws = await open();
  await echo(ws, "before");
  const over = closed(ws);
  ws.close(...args);
  assert.equal((await over).code, want);
}

await run({
  "text": () => echoOnce("hello"),
  "text beyond ASCII": () => echoOnce("Grüße, 世界 🧵"),
  "empty text": () => echoOnce(""),
  "binary": () => echoOnce(Buffer.from([0, 1, 2, 253, 254, 255])),
  "empty binary": () => echoOnce(Buffer.alloc(0)),
  "lengths around the forms of the header": async () => {
    const ws = await open();
    for (const n of [1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537]) {
      await echo(ws, randomBytes(n));
      await echo(ws, "x".repeat(n));
    }
    await end(ws);
  },
  "1 MiB text": () => echoOnce("ü".repeat(1 << 19)),
  "1 MiB binary": () => echoOnce(randomBytes(1 << 20)),
  "16 MiB binary, the limit": () => echoOnce(randomBytes(limit)),
  "16 MiB text, the limit": () => echoOnce("t".repeat(limit)),
  "one byte over the limit": async () => {
    const ws = await open();
    const over = closed(ws);
    ws.on("error", () => {}); // the socket may be reset while ws still writes
    ws.send(Buffer.alloc(limit + 1));
    assert.equal((await over).code, 1009);
  },
  "fragments over the limit together": async () => {
    const ws = await open();
    const over = closed(ws);
    ws.on("error", () => {});
    for (let i = 0; i < 16; i++) ws.send(Buffer.alloc(1 << 20), { fin: false });
    ws.send(Buffer.alloc(1), { fin: true });
    assert.equal((await over).code, 1009);
  },
  "a thousand messages in order": async () => {
    const ws = await open();
    const got = [];
    const all = new Promise((resolve) => ws.on("message", (m) => got.push(m.toString()) === 1000 && resolve()));
    for (let i = 0; i < 1000; i++) ws.send(`message ${i}`);
    await all;
    got.forEach((m, i) => assert.equal(m, `message ${i}`));
    await end(ws);
  },
  "fragments": async () => {
    const ws = await open();
    for (const binary of [false, true]) {
      const answer = next(ws, "message");
      ws.send("one ", { fin: false, binary });
      ws.send("", { fin: false, binary });
      ws.send("two ", { fin: false, binary });
      ws.send("three", { fin: true, binary });
      const [got, isBinary] = await answer;
      assert.equal(got.toString(), "one two three");
      assert.equal(isBinary, binary);
    }
    await end(ws);
  },
  "a character split over fragments": async () => {
    const ws = await open();
    const bytes = Buffer.from("🧵");
    const answer = next(ws, "message");
    for (let i = 0; i < 4; i++) ws.send(bytes.subarray(i, i + 1), { fin: i === 3, binary: false });
    assert.equal((await answer)[0].toString(), "🧵");
    await end(ws);
  },
  "ping between fragments": async () => {
    const ws = await open();
    const answer = next(ws, "message");
    const pong = next(ws, "pong");
    ws.send("be", { fin: false });
    ws.ping("now");
    assert.equal((await pong)[0].toString(), "now"); // before the message is whole
    ws.send("fore", { fin: true });
    assert.equal((await answer)[0].toString(), "before");
    await end(ws);
  },
  "ping with and without data": async () => {
    const ws = await open();
    for (const data of ["", "x", "y".repeat(125)]) {
      const pong = next(ws, "pong");
      ws.ping(data);
      assert.equal((await pong)[0].toString(), data);
    }
    await end(ws);
  },
  "a pong that nobody asked for": async () => {
    const ws = await open();
    ws.pong("unasked");
    await echo(ws, "still here");
    await end(ws);
  },
  "close 1000": () => closing([1000, "bye"], 1000),
  "close 1001": () => closing([1001], 1001),
  "close 3000": () => closing([3000, "library"], 3000),
  "close 4999 with the longest reason": () => closing([4999, "r".repeat(123)], 4999),
  "close with a reason beyond ASCII": () => closing([4000, "Tschüß 👋"], 4000),
  "close without a code": () => closing([], none),
  "a close right behind messages": async () => {
    const ws = await open();
    const got = [];
    ws.on("message", (m) => got.push(m.toString()));
    for (let i = 0; i < 50; i++) ws.send(`${i}`);
    const over = closed(ws);
    ws.close(1000);
    assert.equal((await over).code, 1000);
    // Who has closed is owed no more answers; those that come are the first ones.
    got.forEach((m, i) => assert.equal(m, `${i}`));
  },
  "compression is offered and declined": async () => {
    const ws = await open({ perMessageDeflate: true });
    assert.equal(ws.extensions, "");
    await echo(ws, "plain");
    await end(ws);
  },
  "a foreign origin is refused with 403 and a reason": async () => {
    const ws = new WebSocket(url, { origin: "http://elsewhere.example" });
    const [, res] = await next(ws, "unexpected-response");
    let body = "";
    for await (const chunk of res) body += chunk;
    assert.equal(res.statusCode, 403);
    assert.match(body, /elsewhere\.example/);
  },
  "the server's own origin passes": async () => {
    const ws = await open({ origin: `${new URL(url).protocol.replace("ws", "http")}//${new URL(url).host}` });
    await echo(ws, "at home");
    await end(ws);
  },
  "an unknown sub-protocol is refused with 400": async () => {
    const ws = new WebSocket(url, ["unheard-of"]);
    const [, res] = await next(ws, "unexpected-response");
    res.resume();
    assert.equal(res.statusCode, 400);
  },
  "a client that vanishes harms nobody": async () => {
    const stays = await open();
    const goes = await open();
    goes.send("x".repeat(1000), { fin: false });
    const over = closed(goes);
    goes.terminate();
    await over;
    await echo(stays, "still here");
    await end(stays);
  },
  "fifty clients at once": async () => {
    await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      const ws = await open();
      for (let j = 0; j < 20; j++) await echo(ws, `client ${i}, message ${j}`);
      await end(ws);
    }));
  },
});
