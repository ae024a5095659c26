// Frames that no library would send, by hand, against a weft server that echoes.
//
//	node raw.mjs ws://127.0.0.1:8080/gobwas/echo

import { createHash, randomBytes } from "node:crypto";
import net from "node:net";
import { assert, run } from "./report.mjs";

const url = new URL(process.argv[2]);
const [text, binary, close, ping, pong] = [1, 2, 8, 9, 10];

/** A connection whose bytes are read in pieces of chosen length. */
class Peer {
  constructor() {
    this.data = Buffer.alloc(0);
    this.over = false;
    this.wake = () => {};
    this.socket = net.connect(Number(url.port), url.hostname);
    this.socket.on("data", (d) => { this.data = Buffer.concat([this.data, d]); this.wake(); });
    this.socket.on("close", () => { this.over = true; this.wake(); });
    this.socket.on("error", () => {});
  }

  async until(ready) {
    for (;;) {
      const got = ready();
      if (got !== undefined) return got;
      if (this.over) throw new Error(`connection ended with ${this.data.length} bytes left over`);
      await new Promise((resolve) => { this.wake = resolve; });
    }
  }

  take(n) {
    return this.until(() => {
      if (this.data.length < n) return undefined;
      const got = this.data.subarray(0, n);
      this.data = this.data.subarray(n);
      return got;
    });
  }

  async ended() {
    while (!this.over) await new Promise((resolve) => { this.wake = resolve; });
    assert.equal(this.data.length, 0, "bytes after the close frame");
  }

  /** Sends a request and returns the status and the header of the answer. */
  async request(fields) {
    this.socket.write([`GET ${url.pathname} HTTP/1.1`, `Host: ${url.host}`, ...fields, "", ""].join("\r\n"));
    return this.answer();
  }

  async answer() {
    const length = await this.until(() => {
      const i = this.data.indexOf("\r\n\r\n");
      return i < 0 ? undefined : i + 4;
    });
    const head = (await this.take(length)).toString();
    return { status: Number(head.split(" ")[1]), head };
  }

  async frame() {
    const [first, second] = await this.take(2);
    assert.equal(second & 0x80, 0, "a server must not mask");
    let length = second & 0x7f;
    if (length === 126) length = (await this.take(2)).readUInt16BE();
    else if (length === 127) length = Number((await this.take(8)).readBigUInt64BE());
    return { fin: (first & 0x80) !== 0, opcode: first & 0x0f, body: await this.take(length) };
  }

  /** Wants a close frame with code next, and then the end of the connection. */
  async closes(code) {
    const f = await this.frame();
    assert.equal(f.opcode, close, "opcode");
    assert.equal(f.body.length === 0 ? 1005 : f.body.readUInt16BE(), code, `close code, reason ${f.body.subarray(2)}`);
    await this.ended();
  }
}

const key = randomBytes(16).toString("base64");
const upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${key}`];

async function open() {
  const p = new Peer();
  const { status, head } = await p.request(upgrade);
  assert.equal(status, 101, head);
  const want = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  assert.ok(head.toLowerCase().includes(`sec-websocket-accept: ${want}`.toLowerCase()), head);
  return p;
}

/** One frame as a client sends it, with whatever is to be wrong about it. */
function frame(opcode, body = "", { fin = true, rsv = 0, mask = true, length } = {}) {
  body = Buffer.from(body);
  const n = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | rsv | opcode];
  const bit = mask ? 0x80 : 0;
  if (typeof n === "bigint" || n > 65535) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64BE(BigInt(n));
    head.push(bit | 127, ...b);
  } else if (n > 125) head.push(bit | 126, n >> 8, n & 255);
  else head.push(bit | n);
  if (!mask) return Buffer.concat([Buffer.from(head), body]);
  const m = randomBytes(4);
  return Buffer.concat([Buffer.from(head), m, body.map((b, i) => b ^ m[i % 4])]);
}

function closeBody(code, reason = "") {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(code);
  return Buffer.concat([b, Buffer.from(reason)]);
}

/** Sends the frames and wants the server to close with code. */
const wrong = (code, ...frames) => async () => {
  const p = await open();
  p.socket.write(Buffer.concat(frames));
  await p.closes(code);
};

/** Sends a request that must not become a connection. */
const refused = (want, fields) => async () => {
  const p = new Peer();
  const { status } = await p.request(fields);
  assert.ok(want.includes(status), `status ${status}`);
  p.socket.destroy();
};

await run({
  "reserved bit 1": wrong(1002, frame(text, "x", { rsv: 0x40 })),
  "reserved bit 2": wrong(1002, frame(text, "x", { rsv: 0x20 })),
  "reserved bit 3 on a ping": wrong(1002, frame(ping, "x", { rsv: 0x10 })),
  "reserved opcode 3": wrong(1002, frame(3, "x")),
  "reserved opcode 7": wrong(1002, frame(7)),
  "reserved opcode 11": wrong(1002, frame(11, "x")),
  "reserved opcode 15": wrong(1002, frame(15)),
  "no mask": wrong(1002, frame(text, "x", { mask: false })),
  "no mask on a ping": wrong(1002, frame(ping, "x", { mask: false })),
  "ping in fragments": wrong(1002, frame(ping, "x", { fin: false })),
  "close in fragments": wrong(1002, frame(close, closeBody(1000), { fin: false })),
  "ping of 126 bytes": wrong(1002, frame(ping, "x".repeat(126))),
  "close of 126 bytes": wrong(1002, frame(close, closeBody(1000, "x".repeat(124)))),
  "continuation of nothing": wrong(1002, frame(0, "x")),
  "continuation after a whole message": async () => {
    const p = await open();
    p.socket.write(Buffer.concat([frame(text, "whole"), frame(0, "x")]));
    assert.equal((await p.frame()).body.toString(), "whole");
    await p.closes(1002);
  },
  "a message inside another": wrong(1002, frame(text, "a", { fin: false }), frame(text, "b")),
  "length with the highest bit": wrong(1002, frame(binary, "", { length: 1n << 63n })),
  "length of 2^40": wrong(1009, frame(binary, "", { length: 1n << 40n })),
  "invalid UTF-8": wrong(1007, frame(text, [0xc3, 0x28])),
  "UTF-8 that ends too soon": wrong(1007, frame(text, [0xe2, 0x82])),
  "a surrogate in UTF-8": wrong(1007, frame(text, [0xed, 0xa0, 0x80])),
  "invalid UTF-8 fails before the message is whole": wrong(1007, frame(text, [0xff], { fin: false })),
  "invalid UTF-8 fails before the frame is whole": wrong(1007, frame(text, [0xff, 0xfe, 0xfd, 0xfc], { length: 100000 })),
  "close with one byte": wrong(1002, frame(close, [3])),
  "close code 999": wrong(1002, frame(close, closeBody(999))),
  "close code 1004": wrong(1002, frame(close, closeBody(1004))),
  "close code 1005": wrong(1002, frame(close, closeBody(1005))),
  "close code 1006": wrong(1002, frame(close, closeBody(1006))),
  "close code 1015": wrong(1002, frame(close, closeBody(1015))),
  "close code 2999": wrong(1002, frame(close, closeBody(2999))),
  "close code 5000": wrong(1002, frame(close, closeBody(5000))),
  "close reason that is not UTF-8": wrong(1007, frame(close, Buffer.concat([closeBody(1000), Buffer.from([0xff])]))),
  "close code 1000 is answered": wrong(1000, frame(close, closeBody(1000, "bye"))),
  "close without a code is answered": wrong(1005, frame(close)),
  "nothing counts after a close": wrong(1000, frame(close, closeBody(1000)), frame(text, "late"), frame(3)),
  "byte by byte": async () => {
    const p = await open();
    p.socket.setNoDelay(true);
    for (const b of Buffer.concat([frame(text, "slow"), frame(ping, "p"), frame(close, closeBody(1000))])) {
      await new Promise((resolve) => p.socket.write(Buffer.from([b]), resolve));
    }
    assert.equal((await p.frame()).body.toString(), "slow");
    const f = await p.frame();
    assert.deepEqual([f.opcode, f.body.toString()], [pong, "p"]);
    await p.closes(1000);
  },
  "frames behind the request in one packet": async () => {
    const p = new Peer();
    const head = Buffer.from([`GET ${url.pathname} HTTP/1.1`, `Host: ${url.host}`, ...upgrade, "", ""].join("\r\n"));
    p.socket.write(Buffer.concat([head, frame(text, "early"), frame(close, closeBody(1000))]));
    assert.equal((await p.answer()).status, 101);
    assert.equal((await p.frame()).body.toString(), "early");
    await p.closes(1000);
  },
  "half a frame and then the end": async () => {
    const p = await open();
    p.socket.end(frame(text, "never whole").subarray(0, 9));
    while (!p.over) await new Promise((resolve) => { p.wake = resolve; });
  },
  "no upgrade": refused([400, 426], []),
  "version 8": refused([400, 426], upgrade.map((f) => f.replace("Version: 13", "Version: 8"))),
  "no key": refused([400], upgrade.filter((f) => !f.includes("-Key"))),
  "a key of the wrong length": refused([400], upgrade.map((f) => f.replace(key, "c2hvcnQ="))),
  "a header that is too large": refused([400, 413, 431], [...upgrade, `X-Long: ${"x".repeat(2 << 20)}`]),
});
