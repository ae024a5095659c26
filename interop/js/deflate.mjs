// npm's ws with permessage-deflate against a weft server that echoes.
//
//	node deflate.mjs ws://127.0.0.1:8080/gobwas/echo gobwas|takeover|gorilla

import { randomBytes } from "node:crypto";
import WebSocket from "ws";
import { assert, next, run } from "./report.mjs";

const [url, kind] = process.argv.slice(2);
const keeps = kind === "takeover"; // the server takes contexts over

/** What the tables of the packages say is answered to what ws offers for o. */
function answerTo(o) {
  if (kind === "gorilla") {
    return o.serverMaxWindowBits ? undefined : "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
  }
  return [
    "permessage-deflate",
    !keeps || o.serverNoContextTakeover ? "server_no_context_takeover" : [],
    !keeps || o.clientNoContextTakeover ? "client_no_context_takeover" : [],
    o.serverMaxWindowBits ? `server_max_window_bits=${o.serverMaxWindowBits}` : [],
    typeof o.clientMaxWindowBits === "number" ? `client_max_window_bits=${o.clientMaxWindowBits}` : [],
  ].flat().join("; ");
}

/** Opens a connection that offers o, and wants the answer of the table. */
async function open(o) {
  const ws = new WebSocket(url, { perMessageDeflate: { threshold: 0, ...o } });
  const upgraded = next(ws, "upgrade");
  const opened = next(ws, "open");
  const [res] = await upgraded;
  await opened;
  assert.equal(res.headers["sec-websocket-extensions"], answerTo(o));
  assert.equal(ws.extensions, answerTo(o) ? "permessage-deflate" : "");
  return { ws, deflates: Boolean(answerTo(o)), socket: ws._socket };
}

async function end({ ws }) {
  const over = next(ws, "close");
  ws.close(1000, "over");
  assert.equal((await over)[0], 1000);
}

/** Sends data, in pieces if there are more, wants it back, and returns the bytes on the wire. */
async function echo({ ws, socket }, data, pieces = 1, compress = true) {
  const [read, written] = [socket.bytesRead, socket.bytesWritten];
  const answer = next(ws, "message");
  const binary = typeof data !== "string";
  const bytes = Buffer.from(data);
  const size = Math.ceil(bytes.length / pieces);
  for (let i = 0; i < pieces; i++) {
    ws.send(bytes.subarray(i * size, (i + 1) * size), { binary, compress, fin: i === pieces - 1 });
  }
  const [got, isBinary] = await answer;
  assert.equal(isBinary, binary, "type of the answer");
  assert.equal(got.length, bytes.length, "length of the answer");
  assert.ok(bytes.equals(got), "the answer differs");
  return { read: socket.bytesRead - read, written: socket.bytesWritten - written };
}

const sizes = [0, 1, 2, 125, 126, 127, 511, 512, 513, 4096, 65535, 65536, 65537, 1 << 20];
const sentence = "The quick brown fox jumps over the lazy dog. Falsches Üben von Xylophonmusik. 🧵 ";

/** Text of n bytes that compresses well. */
function prose(n) {
  const b = Buffer.alloc(n, sentence);
  let end = n; // no character may be cut
  while (end > 0 && (Buffer.from(sentence)[end % Buffer.byteLength(sentence)] & 0xc0) === 0x80) end--;
  return b.fill("x", end).toString();
}

const bits = (name, ...values) => values.map((n) => ({ [name]: n }));
const offers = [
  {},
  { clientMaxWindowBits: false },
  { serverNoContextTakeover: true },
  { clientNoContextTakeover: true },
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  ...bits("clientMaxWindowBits", 9, 10, 12, 15),
  ...bits("serverMaxWindowBits", 8, 9, 10, 12, 15),
  { serverMaxWindowBits: 10, clientMaxWindowBits: 12, serverNoContextTakeover: true },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 9, clientNoContextTakeover: true },
];

const cases = {
  "compression is not offered": async () => {
    const ws = new WebSocket(url, { perMessageDeflate: false });
    await next(ws, "open");
    assert.equal(ws.extensions, "");
    await echo({ ws, socket: ws._socket }, "plain");
    await end({ ws });
  },
  "invalid UTF-8 after it is inflated": async () => {
    const { ws } = await open({});
    const over = next(ws, "close");
    ws.send(Buffer.alloc(5000, 0xff), { binary: false });
    assert.equal((await over)[0], 1007);
  },
  "a bomb": async () => {
    const { ws } = await open({});
    ws.on("error", () => {});
    const over = next(ws, "close");
    ws.send(Buffer.alloc(17 << 20)); // a thousandth on the wire
    assert.equal((await over)[0], 1009);
  },
};

for (const o of offers) {
  const name = JSON.stringify(o);
  cases[`${name}: texts and binaries`] = async () => {
    const c = await open(o);
    for (const n of sizes) {
      for (const data of [prose(n), randomBytes(n), Buffer.alloc(n)]) await echo(c, data);
    }
    await end(c);
  };
  cases[`${name}: what goes over the wire`] = async () => {
    const c = await open(o);
    const { read, written } = await echo(c, prose(1 << 20));
    // The smallest windows find less.
    for (const n of [read, written]) {
      assert.ok(c.deflates ? n < 1 << 19 : n > 1 << 20, `1 MiB of prose takes ${n} bytes`);
    }
    // Rows that compress by a half at first, and to next to nothing when the context
    // has them. They lie within what zlib looks back in a window of 512 bytes.
    const rows = JSON.stringify(Array.from({ length: 13 }, () => ({ id: randomBytes(4).toString("hex") })));
    await echo(c, rows);
    const again = await echo(c, rows);
    if (c.deflates && keeps) {
      assert.equal(again.read < 60, !o.serverNoContextTakeover, `rows again take ${again.read} bytes`);
      assert.equal(again.written < 60, !o.clientNoContextTakeover, `rows again take ${again.written} bytes`);
    } else for (const n of [again.read, again.written]) assert.ok(n > 100, `rows again take ${n} bytes`);
    await end(c);
  };
  cases[`${name}: fragments`] = async () => {
    const c = await open(o);
    for (const data of [prose(100000), randomBytes(70000), prose(10)]) {
      for (const pieces of [2, 3, 10]) await echo(c, data, pieces);
    }
    await end(c);
  };
  cases[`${name}: compressed and not, in turn`] = async () => {
    const c = await open(o);
    for (let i = 0; i < 20; i++) await echo(c, prose(3000 + i), 1 + i % 3, i % 2 === 0);
    await end(c);
  };
  cases[`${name}: a hundred at once, in order`] = async () => {
    const c = await open(o);
    const got = [];
    const all = new Promise((resolve, reject) => {
      c.ws.on("message", (m) => got.push(m.toString()) === 100 && resolve());
      c.ws.once("close", (code) => reject(new Error(`closed ${code}`)));
    });
    const text = (i) => `${i} ${sentence.repeat(i % 12)}`;
    for (let i = 0; i < 100; i++) c.ws.send(text(i));
    await all;
    c.ws.removeAllListeners("close");
    got.forEach((m, i) => assert.equal(m, text(i)));
    await end(c);
  };
}

await run(cases);
