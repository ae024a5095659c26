// npm's ws and @msgpack/msgpack against the envelope endpoint of interop/server.
//
//	node envelope.mjs ws://127.0.0.1:8080/gobwas/envelope json|msgpack PEER
//
// PEER is the destination on which py/envelope.py answers, on /topic/answers.

import { encode } from "@msgpack/msgpack";
import WebSocket from "ws";
import { bytesOf, Client, forms, valueOf } from "./envelope_client.mjs";
import { assert, next, run } from "./report.mjs";

const [url, form, peer] = process.argv.slice(2);
const { value, contentType } = forms[form];
const both = ["v1.json.weft", "v1.msgpack.weft"];

const connect = (fields) => Client.connect(url, form, fields);
const send = (destination, fields) => ({ type: "send", destination, ...fields });
const topic = (() => { let n = 0; return () => `/topic/${form}/${++n}`; })(); // of this case alone

/** A body of bytes, of a content type that says nothing about them. */
const bytes = (b) => form === "json"
  ? { contentType: "application/octet-stream", base64: Buffer.from(b).toString("base64") }
  : { contentType: "application/octet-stream", body: Buffer.from(b) };

async function subscriber(destination, subscription = "s") {
  const c = await connect();
  await c.done({ type: "subscribe", subscription, destination });
  return c;
}

async function delivered(c, want) {
  const m = await c.takeType("deliver");
  assert.deepEqual(valueOf(m), want);
  return m;
}

async function user(c) {
  return valueOf(await c.ask(send("/app/whoami"))).user;
}

const cases = {
  "connect, connected, disconnect": async () => {
    const c = await connect();
    assert.equal(c.connected.version, "1");
    assert.deepEqual(c.connected.heartbeat, [100, 100]);
    assert.match(c.connected.id, /^\S{16,}$/);
    assert.equal(c.connected.header, undefined);
    await c.alive();
    await c.end();
  },
  "disconnect with a receipt": async () => {
    const c = await connect();
    c.put(send("/app/echo", { receipt: "first", ...value("before") }));
    c.put({ type: "disconnect", receipt: "bye" });
    assert.equal((await c.takeType("reply")).receipt, "first");
    assert.equal((await c.takeType("receipt")).receipt, "bye");
    assert.equal((await c.takeType("closed")).code, 1000);
  },
  "a close frame without disconnect": async () => {
    const c = await connect();
    c.ws.close(3000, "enough");
    assert.equal((await c.takeType("closed")).code, 3000);
  },
  "the client's order decides between the forms": async () => {
    for (const names of [both, both.toReversed(), ["x", ...both]]) {
      const ws = new WebSocket(url, names);
      await next(ws, "open");
      assert.equal(ws.protocol, names.find((n) => both.includes(n)));
      const over = next(ws, "close");
      ws.close(1000);
      await over;
    }
  },
  "nothing but connect may come first": async () => {
    const c = await Client.open(url, form);
    c.put(send("/app/echo", value(1)));
    await c.fatal("not-connected", 1002);
  },
  "a heartbeat may come before connect": async () => {
    const c = await Client.open(url, form);
    c.put({ type: "heartbeat" });
    c.put({ type: "connect" });
    await c.takeType("connected");
    await c.end();
  },

  "heartbeats come as agreed": async () => {
    const c = await connect({ heartbeat: [0, 150] });
    for (let i = 0; i < 4; i++) assert.deepEqual(await c.take(), { type: "heartbeat" });
    await c.end();
  },
  "a client that is silent is closed": async () => {
    const c = await connect({ heartbeat: [150, 0] });
    const m = await c.take();
    if (m.type === "error") {
      assert.equal(m.fatal, true);
      assert.equal((await c.takeType("closed")).code, 1008);
    } else assert.equal(m.code, 1008, JSON.stringify(m));
  },
  "a client that keeps its promise stays": async () => {
    const c = await connect({ heartbeat: [1000, 200] });
    const beat = setInterval(() => c.put({ type: "heartbeat" }), 250);
    for (let i = 0; i < 12; i++) await c.takeType("heartbeat"); // 2.4 s, more than twice the promise
    clearInterval(beat);
    await c.end();
  },
  "a heartbeat that asks for an answer": async () => {
    const c = await connect();
    c.put({ type: "heartbeat", answer: true });
    assert.deepEqual(await c.take(), { type: "heartbeat" });
    await c.end();
  },

  "publish and subscribe": async () => {
    const destination = topic();
    const [a, b] = [await subscriber(destination, "of a"), await subscriber(destination, "of b")];
    const other = await subscriber(topic());
    await b.done({ type: "subscribe", subscription: "again", destination });
    const c = await connect();
    for (let i = 0; i < 100; i++) c.put(send(destination, value({ i, text: "Grüße 🧵" })));
    await c.done(send(destination, { header: [["x", "1"], ["x", "2"]], ...value("last") }));
    for (let i = 0; i <= 100; i++) {
      const want = i < 100 ? { i, text: "Grüße 🧵" } : "last";
      const ofA = await delivered(a, want);
      assert.equal(ofA.subscription, "of a");
      assert.equal(ofA.destination, destination);
      if (i === 100) assert.deepEqual(ofA.header, [["x", "1"], ["x", "2"]]);
      const names = [(await delivered(b, want)).subscription, (await delivered(b, want)).subscription];
      assert.deepEqual(names.sort(), ["again", "of b"]);
    }
    await b.done({ type: "unsubscribe", subscription: "again" });
    await c.done(send(destination, value("after")));
    assert.equal((await delivered(b, "after")).subscription, "of b");
    await delivered(a, "after");
    await other.alive(); // and has got nothing before
    await Promise.all([a, b, c, other].map((x) => x.end()));
  },
  "a publisher hears itself": async () => {
    const destination = topic();
    const c = await subscriber(destination);
    c.put(send(destination, value("me")));
    await delivered(c, "me");
    await c.end();
  },
  "from one form to the other": async () => {
    const destination = topic();
    const here = await subscriber(destination);
    const there = await Client.connect(url, form === "json" ? "msgpack" : "json");
    await there.done({ type: "subscribe", subscription: "t", destination });
    for (const [fields, want] of [
      [value({ a: [1, "ü"] }), form === "json" ? Buffer.from('{"a":[1,"ü"]}') : Buffer.from(encode({ a: [1, "ü"] }))],
      [bytes([0, 255, 128]), Buffer.from([0, 255, 128])],
      [bytes([]), Buffer.alloc(0)],
    ]) {
      here.put(send(destination, fields));
      for (const c of [here, there]) {
        const m = await c.takeType("deliver");
        assert.ok(bytesOf(m).equals(want), JSON.stringify(m));
        assert.equal(m.contentType, fields.contentType);
      }
    }
    await here.end();
    await there.end();
  },
  "a subscription twice, and one that there is not": async () => {
    const c = await subscriber(topic());
    const e = await c.refused("subscription-exists", { type: "subscribe", subscription: "s", destination: topic() });
    assert.equal(e.subscription, "s");
    await c.refused("no-subscription", { type: "unsubscribe", subscription: "none" });
    await c.refused("not-found", { type: "subscribe", subscription: "t", destination: "/nowhere" });
    await c.done({ type: "subscribe", subscription: "t", destination: topic() }); // the name is free
    await c.refused("no-acks", { type: "subscribe", subscription: "u", ack: "client", destination: topic() });
    await c.end();
  },

  "request and reply": async () => {
    const c = await connect();
    for (const v of [null, true, 0, -1.5, "text", [], {}, { nested: [{ a: null }, "ü\u2028"] }]) {
      const m = await c.ask(send("/app/echo", value(v)));
      assert.equal(m.type, "reply");
      assert.deepEqual(valueOf(m), v);
    }
    for (const n of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
      const m = await c.ask(send("/app/echo", bytes(Buffer.alloc(n, 0xfe))));
      assert.equal(m.contentType, "application/octet-stream");
      assert.ok(bytesOf(m).equals(Buffer.alloc(n, 0xfe)), `${n} bytes`);
    }
    await c.end();
  },
  "answers come in order": async () => {
    const c = await connect();
    for (let i = 0; i < 200; i++) c.put(send(i % 3 ? "/app/echo" : "/nowhere", { receipt: `${i}`, ...value(i) }));
    for (let i = 0; i < 200; i++) {
      const m = await c.takeType(i % 3 ? "reply" : "error");
      assert.equal(m.receipt, `${i}`);
    }
    await c.end();
  },
  "a request without a receipt": async () => {
    const c = await connect();
    c.put(send("/app/echo", value("to nobody in particular")));
    const m = await c.takeType("reply");
    assert.equal(m.receipt, undefined);
    c.put(send(topic(), value("no answer")));
    c.put(send("/nowhere"));
    assert.equal((await c.takeType("error")).receipt, undefined);
    await c.end();
  },

  "unknown destination": async () => {
    const c = await connect();
    await c.refused("not-found", send("/app/nowhere"));
    await c.refused("not-found", send("app/echo"));
    await c.end();
  },
  "a body that does not decode": async () => {
    const c = await connect();
    const broken = form === "json" ? { text: "{" } : { contentType, body: new Uint8Array([0xc1]) };
    await c.refused("bad-body", send("/app/add", broken));
    const e = await c.refused("bad-body", send("/app/add", value({ a: "one", b: 2 })));
    if (form === "json") assert.match(e.message, /"a"/);
    await c.end();
  },
  "a body that is not valid": async () => {
    const c = await connect();
    assert.match((await c.refused("invalid", send("/app/add", value({ a: 1 })))).message, /a and b are needed/);
    await c.refused("invalid", send("/app/add", value({ a: 1, b: 1000001 })));
    await c.end();
  },
  "a content type that there is no codec for": async () => {
    const c = await connect();
    const e = await c.refused("unsupported-content-type", send("/app/add", { ...bytes([1]), contentType: "text/xml" }));
    assert.match(e.message, /application\/json.*application\/msgpack/);
    await c.end();
  },
  "malformed fields": async () => {
    const c = await connect();
    for (const [code, m] of [
      ["missing-field", { type: "send" }],
      ["missing-field", { type: "send", destination: "" }],
      ["missing-field", { type: "subscribe", destination: "/topic/a" }],
      ["unknown-field", send("/app/echo", { colour: "red" })],
      ["forbidden-field", send("/app/echo", { subscription: "s" })],
      ["bad-field", send(12)],
      ["bad-field", { type: "subscribe", subscription: "s", destination: "/topic/a", ack: "perhaps" }],
      ["bad-field", { type: "connect", heartbeat: [1] }],
      ["bad-field", { type: "connect", heartbeat: [-1, 0] }],
      ["bad-field", send("/app/echo", { header: [["only"]] })],
      ["wrong-side", { type: "deliver" }],
      ["unknown-type", { type: "shout" }],
      ["limit", send(`/${"x".repeat(2000)}`)],
    ]) {
      if (["connect", "deliver"].includes(m.type)) { // which have no receipt
        await c.refusedAlone(code, forms[form].encode(m));
      } else await c.refused(code, m);
    }
    await c.end();
  },
  "a field that stands twice": async () => {
    const c = await connect();
    await c.refusedAlone("repeated-field", form === "json"
      ? '{"type":"heartbeat","type":"heartbeat"}'
      : Buffer.concat([Buffer.from([0x82]), ...[1, 2].map(() => Buffer.concat([encode("type"), encode("heartbeat")]))]));
    await c.end();
  },
  "what is no envelope ends the session": async () => {
    const wrong = form === "json"
      ? ["{", "[]", "1", '{"type":"heartbeat"}x', ""]
      : [[0xc1], [0x90], [0x01], [0x81, 0xa4], [...encode({ type: "heartbeat" }), 0], []].map((b) => Buffer.from(b));
    for (const data of wrong) {
      const c = await connect();
      c.ws.send(data);
      await c.fatal("malformed", 1002);
    }
  },
  "the other type of message ends the session": async () => {
    const c = await connect();
    const m = { type: "heartbeat" };
    c.ws.send(form === "json" ? Buffer.from(JSON.stringify(m)) : JSON.stringify(m));
    await c.fatal("message-type", 1003);
  },
  "a message over the transport's limit": async () => {
    const c = await connect();
    c.put(send("/app/echo", bytes(Buffer.alloc(17 << 20))));
    assert.equal((await c.takeType("closed")).code, 1009);
  },

  "a transaction that is committed": async () => {
    const destination = topic();
    const reader = await subscriber(destination);
    const c = await connect();
    await c.done({ type: "begin", transaction: "t" });
    for (let i = 0; i < 3; i++) c.put(send(destination, { receipt: `${i}`, transaction: "t", ...value(i) }));
    await c.done(send(destination, value("outside")));
    await delivered(reader, "outside");
    c.put({ type: "commit", transaction: "t", receipt: "all" });
    for (const receipt of ["0", "1", "2", "all"]) assert.equal((await c.takeType("receipt")).receipt, receipt);
    for (let i = 0; i < 3; i++) await delivered(reader, i);
    await c.refused("no-transaction", { type: "commit", transaction: "t" });
    await c.end();
    await reader.end();
  },
  "a transaction that is aborted": async () => {
    const destination = topic();
    const reader = await subscriber(destination);
    const c = await connect();
    await c.done({ type: "begin", transaction: "t" });
    c.put(send(destination, { transaction: "t", ...value("never") }));
    await c.done({ type: "abort", transaction: "t" });
    await c.done(send(destination, value("after")));
    await delivered(reader, "after");
    await c.end();
    await reader.end();
  },
  "a transaction of which a part fails does nothing": async () => {
    const destination = topic();
    const reader = await subscriber(destination);
    const c = await connect();
    await c.done({ type: "begin", transaction: "t" });
    c.put(send(destination, { receipt: "good", transaction: "t", ...value("never") }));
    c.put(send("/app/add", { receipt: "bad", transaction: "t", ...value({ a: 1 }) }));
    c.put({ type: "commit", transaction: "t", receipt: "all" });
    const answers = new Map();
    while (answers.size < 3) {
      const m = await c.take();
      assert.ok(!answers.has(m.receipt), "answered twice");
      answers.set(m.receipt, m);
    }
    assert.deepEqual(["good", "bad", "all"].map((r) => answers.get(r).type), ["error", "error", "error"]);
    assert.equal(answers.get("bad").code, "invalid");
    await c.done(send(destination, value("after")));
    await delivered(reader, "after");
    await c.end();
    await reader.end();
  },
  "a transaction ends with its session": async () => {
    const destination = topic();
    const reader = await subscriber(destination);
    const c = await connect();
    await c.done({ type: "begin", transaction: "t" });
    c.put(send(destination, { transaction: "t", ...value("never") }));
    await c.end();
    reader.put(send(destination, value("after")));
    await delivered(reader, "after");
    await reader.end();
  },

  "credentials at connect, and fresh ones": async () => {
    const c = await connect({ header: [["token", "token of ada"]] });
    assert.deepEqual(c.connected.header, [["user-name", "ada"]]);
    assert.equal(await user(c), "ada");
    c.put({ type: "connect", header: [["token", "token of grace"]] });
    const again = await c.takeType("connected");
    assert.equal(again.id, c.connected.id);
    assert.deepEqual(again.header, [["user-name", "grace"]]);
    assert.equal(await user(c), "grace");
    c.put({ type: "connect", header: [["token", "forged"]] });
    const e = await c.takeType("error");
    assert.equal(e.code, "unauthorized");
    assert.notEqual(e.fatal, true);
    assert.equal(await user(c), "grace");
    await c.end();
  },
  "credentials that are refused at connect": async () => {
    const c = await Client.open(url, form);
    c.put({ type: "connect", header: [["token", "forged"]] });
    await c.fatal("unauthorized", 1008);
  },

  "fifty clients at once": async () => {
    const destination = topic();
    const all = await Promise.all(Array.from({ length: 50 }, () => subscriber(destination)));
    await all[0].alive();
    for (const c of all) c.put(send(destination, value("x")));
    await Promise.all(all.map(async (c) => {
      for (let i = 0; i < all.length; i++) await delivered(c, "x");
      await c.end();
    }));
  },
  "with python": async () => {
    const c = await subscriber("/topic/answers");
    for (const text of ["hello", "Grüße 🧵", "x".repeat(70000)]) {
      const body = JSON.stringify({ text });
      c.put(send(peer, { contentType: "application/json", body: form === "json" ? { text } : Buffer.from(body) }));
      const m = await c.takeType("deliver");
      assert.equal(m.contentType, "application/json");
      assert.deepEqual(JSON.parse(bytesOf(m)), { heard: text });
    }
    await c.end();
  },
};

await run(cases);
