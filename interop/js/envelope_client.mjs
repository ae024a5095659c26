// A client of the envelope sub-protocol on npm's ws and @msgpack/msgpack, made from
// subprotocol/envelope/SPEC.md alone. Its two forms differ in encode, decode and where
// a body stands.

import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";
import { assert, next } from "./report.mjs";

export const forms = {
  json: {
    name: "v1.json.weft",
    contentType: "application/json",
    encode: (m) => JSON.stringify(m),
    decode: (data) => JSON.parse(data.toString()),
    /** The fields of a body that is a value, in the codec that belongs to the form. */
    value: (v) => ({ body: v }),
  },
  msgpack: {
    name: "v1.msgpack.weft",
    contentType: "application/msgpack",
    encode: (m) => encode(m),
    decode,
    value: (v) => ({ contentType: "application/msgpack", body: encode(v) }),
  },
};

/** The bytes of a body, wherever they stand. */
export function bytesOf(m) {
  if (m.body instanceof Uint8Array) return Buffer.from(m.body);
  if ("body" in m) return Buffer.from(JSON.stringify(m.body));
  if ("base64" in m) return Buffer.from(m.base64, "base64");
  return Buffer.from(m.text ?? "");
}

/** What a codec of the server made of a body. */
export const valueOf = (m) => m.contentType === "application/msgpack" ? decode(m.body) : JSON.parse(bytesOf(m));

export class Client {
  #queue = [];
  #wake = () => {};
  #receipts = 0;

  /** Opens a WebSocket. The envelopes begin with connect. */
  static async open(url, form, options) {
    const c = new Client();
    c.form = forms[form];
    c.ws = new WebSocket(url, c.form.name, options);
    c.over = new Promise((resolve) => c.ws.on("close", (code, reason) => {
      resolve({ code, reason: reason.toString() });
      c.#push({ type: "closed", code });
    }));
    await next(c.ws, "open");
    assert.equal(c.ws.protocol, c.form.name);
    c.ws.on("error", () => {}); // close follows
    c.ws.on("message", (data, isBinary) => {
      assert.equal(isBinary, form === "msgpack", "type of the message");
      const m = c.form.decode(data);
      for (const [name, v] of Object.entries(m)) {
        if (v === null && (name !== "body" || isBinary)) delete m[name]; // null is a body in JSON
      }
      c.#push(m);
    });
    return c;
  }

  static async connect(url, form, fields = {}) {
    const c = await Client.open(url, form);
    c.put({ type: "connect", version: "1", ...fields });
    c.connected = await c.takeType("connected");
    return c;
  }

  #push(m) {
    this.#queue.push(m);
    this.#wake();
  }

  put(m) {
    this.ws.send(this.form.encode(m));
  }

  /** The next envelope; { type: "closed", code } is the end. */
  async take() {
    while (this.#queue.length === 0) await new Promise((resolve) => { this.#wake = resolve; });
    return this.#queue.shift();
  }

  async takeType(type) {
    const m = await this.take();
    assert.equal(m.type, type, JSON.stringify(m));
    return m;
  }

  /** Sends a request with a receipt and returns its answer, which must be the next envelope. */
  async ask(m) {
    const receipt = `r${++this.#receipts}`;
    this.put({ ...m, receipt });
    const answer = await this.take();
    assert.equal(answer.receipt, receipt, JSON.stringify(answer));
    return answer;
  }

  /** ask for what is answered with nothing but a receipt. */
  async done(m) {
    const answer = await this.ask(m);
    assert.equal(answer.type, "receipt", JSON.stringify(answer));
  }

  /** ask for what is refused; the session must go on. */
  async refused(code, m) {
    const answer = await this.ask(m);
    assert.equal(answer.type, "error", JSON.stringify(answer));
    assert.equal(answer.code, code, answer.message);
    assert.ok(answer.message, "an error without a message");
    assert.notEqual(answer.fatal, true);
    await this.alive();
    return answer;
  }

  /** Sends what has no receipt that could be read, and wants an error without one. */
  async refusedAlone(code, data) {
    this.ws.send(data);
    const answer = await this.takeType("error");
    assert.equal(answer.code, code, answer.message);
    assert.equal(answer.receipt, undefined);
    assert.notEqual(answer.fatal, true);
    await this.alive();
  }

  /** Wants a fatal error and then the close status. */
  async fatal(code, status) {
    const m = await this.takeType("error");
    assert.equal(m.code, code, m.message);
    assert.equal(m.fatal, true);
    assert.equal((await this.takeType("closed")).code, status);
  }

  async alive() {
    const answer = await this.ask({ type: "send", destination: "/app/add", ...this.form.value({ a: 40, b: 2 }) });
    assert.equal(answer.type, "reply", JSON.stringify(answer));
    assert.deepEqual(valueOf(answer), { sum: 42 });
  }

  async end() {
    this.put({ type: "disconnect" });
    assert.equal((await this.takeType("closed")).code, 1000);
  }
}
