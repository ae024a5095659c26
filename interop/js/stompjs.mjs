// @stomp/stompjs in node against a STOMP endpoint of interop/server.
//
//	node stompjs.mjs URL OTHER VERSION [MODE]
//
// OTHER is an endpoint of the same broker that half of the clients use. With a mode of "binary" all
// frames are binary messages, with "split" stompjs spreads each frame over messages of 5 characters.

import { Client, Versions } from "@stomp/stompjs";
import WebSocket from "ws";
import { assert, run } from "./report.mjs";
import { Peer } from "./stompjs_peer.mjs";
import { bodies, queueCases } from "./stompjs_queues.mjs";

const [url, other, version, mode] = process.argv.slice(2);
const nacks = version !== "1.0";
const beats = version !== "1.0";
const individual = nacks ? "client-individual" : "client"; // which 1.0 has alone

/** A client that is not connected yet, with the types of the messages that come. */
function make(conf = {}, endpoint = url) {
  const versions = conf.stompVersions ?? new Versions([version]);
  const peer = new Peer(Client, {
    stompVersions: versions,
    forceBinaryWSFrames: mode === "binary",
    splitLargeFrames: mode === "split",
    maxWebSocketChunkSize: 5,
    webSocketFactory: () => {
      peer.ws = new WebSocket(endpoint, versions.protocolVersions());
      peer.ws.on("message", (_, isBinary) => { peer.lastType = isBinary ? "binary" : "text"; });
      const send = peer.ws.send;
      peer.ws.send = (data) => { if (!peer.mute) send.call(peer.ws, data); };
      return peer.ws;
    },
    ...conf,
  });
  return peer;
}

const connect = (conf) => make(conf).connect();
const connectOther = (conf) => make(conf, other).connect();

const name = (() => { let n = 0; return () => `${process.pid}/${++n}`; })();
const topic = () => `/topic/${name()}`; // of this case alone
const queue = () => `/queue/${name()}`;

const bytesOf = (m) => Buffer.from(m.binaryBody);

/** Waits can pass while other cases run. */
function meanwhile(f) {
  const p = f();
  p.catch(() => {});
  return () => p;
}

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Wants nothing more to come than was taken. */
async function nothingMore(peer, ...inboxes) {
  await peer.alive(); // behind whatever was on its way
  for (const i of inboxes) assert.equal(i.size, 0);
}

const texts = [
  "", " ", "\n", "\r\n", "a\nb\r\nc", "\0", "a\0b\0", "MESSAGE\n\n\0", "\u2028\u2029", "\u{1F9F5} \u{1F469}\u200D\u{1F680}",
  "Grüße", "日本語", "\ufeffafter a mark", "\u0001\u001f\u007f", "\\n\\c\\\\", "content-length:1\n\n", '{"a":"\\u0000"}',
  "e\u0301", "\uffff\ufffe", "\u{10ffff}", "<b>&amp;</b>",
].filter((s) => mode !== "split" || !/[\u{10000}-\u{10ffff}]/u.test(s)); // which stompjs splits in the middle

const quick = ["split", "compressed"].includes(mode); // a heartbeat is not
const patient = { heartbeatToleranceMultiplier: 20 }; // while the other cases keep node busy

const keeps = meanwhile(async () => {
  if (!beats || quick) return;
  const c = await connect({ heartbeatIncoming: 200, heartbeatOutgoing: 1000, ...patient });
  await sleep(2600); // more than twice what it has promised
  assert.ok(c.beats >= 6, `${c.beats} heartbeats in 2.6 s, ${c.closes.size} closes`);
  await c.alive();
  await c.end();
});

const falls = meanwhile(async () => {
  if (!beats || quick) return;
  const c = await connect({ heartbeatOutgoing: 150 });
  c.mute = true;
  assert.equal((await c.closes.take()).code, 1008);
});

const never = meanwhile(async () => {
  if (quick) return;
  const c = await connect(beats ? {} : { heartbeatIncoming: 100, heartbeatOutgoing: 100 });
  await sleep(1500);
  assert.equal(c.beats, 0);
  await c.alive();
  await c.end();
});

const cases = {
  "connect and disconnect": async () => {
    const c = await connect();
    assert.equal(c.client.connectedVersion, version);
    const { headers } = c.connected;
    assert.equal(headers.version, version);
    assert.match(headers.session, /^\S{16,}$/);
    assert.ok(headers.server);
    assert.equal(headers["user-name"], "guest");
    if (beats) assert.equal(headers["heart-beat"], "100,100");
    assert.equal(c.ws.protocol, `v${version.replace(".", "")}.stomp`);
    await c.alive();
    await c.end();
  },
  "a close frame without DISCONNECT": async () => {
    const c = await connect();
    c.ws.close(3000, "enough");
    assert.equal((await c.closes.take()).code, 3000);
  },
  "the best version that both have": async () => {
    const token = `v${version.replace(".", "")}.stomp`; // which chooses no version
    const open = (versions) => make({
      stompVersions: new Versions(versions),
      webSocketFactory: () => new WebSocket(url, token),
    });
    for (const [versions, want] of [[["1.0", "1.1", "1.2"], "1.2"], [["1.1", "1.0"], "1.1"], [["1.2", "9.9"], "1.2"]]) {
      const c = await open(versions).connect();
      assert.equal(c.client.connectedVersion, want);
      await c.end();
    }
    const c = open(["9.9"]);
    c.client.activate();
    const e = await c.fatal("version", 1002, 1008);
    assert.match(e.headers["content-type"], /^text\/plain/);
    for (const v of ["1.0", "1.1", "1.2"]) assert.ok(e.headers.version.includes(v), e.headers.version);
  },
  "a host or none": async () => {
    for (const host of [{}, { host: "/" }, { host: "example.com" }]) {
      const c = await connect({ connectHeaders: { login: "guest", passcode: "guest", ...host } });
      await c.end();
    }
  },
  "without a sub-protocol": async () => {
    const c = await connect({ webSocketFactory: () => new WebSocket(url) });
    assert.equal(c.client.connectedVersion, version);
    await c.alive();
    await c.end();
  },
  "wrong credentials": async () => {
    for (const connectHeaders of [
      {}, { login: "guest" }, { login: "guest", passcode: "wrong" }, { login: "root", passcode: "guest" }, { passcode: "guest" },
    ]) {
      const c = make({ connectHeaders });
      c.client.activate();
      const e = await c.fatal("unauthorized", 1002, 1008);
      assert.doesNotMatch(JSON.stringify(e.headers) + e.body, /wrong/);
      assert.equal(c.connects.size, 0);
    }
  },

  "publish and subscribe": async () => {
    const d = topic();
    const [a, b] = [await connect(), await connectOther()];
    const [one, two] = [await a.subscribe(d, { id: "one" }), await a.subscribe(d, { id: "two" })];
    const three = await b.subscribe(d);
    const elsewhere = await b.subscribe(topic());
    for (let i = 0; i < 100; i++) b.send(d, `${i}`, { "content-type": "text/x-number", n: `${i}` });
    const ids = new Set();
    for (const inbox of [one, two, three]) {
      for (let i = 0; i < 100; i++) {
        const m = await inbox.take();
        assert.equal(m.body, `${i}`);
        assert.equal(m.headers.destination, d);
        assert.equal(m.headers.subscription, inbox.subscription.id);
        assert.equal(m.headers["content-type"], "text/x-number");
        assert.equal(m.headers.n, `${i}`);
        assert.equal(m.headers.ack, undefined, "nothing is to be acknowledged");
        assert.ok(m.headers["message-id"]);
        if (inbox === one) ids.add(m.headers["message-id"]);
      }
    }
    assert.equal(ids.size, 100, "a message-id twice");
    await nothingMore(b, elsewhere, three);
    await a.end();
    await b.end();
  },
  "text of all sorts": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d);
    for (const text of texts) {
      c.send(d, text);
      const m = await inbox.take();
      assert.ok(bytesOf(m).equals(Buffer.from(text)), `${JSON.stringify(text)} came as ${JSON.stringify(m.body)}`);
      assert.equal(c.lastType, mode === "binary" ? "binary" : "text");
    }
    await c.end();
  },
  "text that ends with its NUL": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d);
    for (const body of ["", "no length", "two\nlines"]) {
      c.client.publish({ destination: d, body, skipContentLengthHeader: true });
      assert.equal((await inbox.take()).body, body);
    }
    await c.end();
  },
  "bytes": async () => {
    const d = topic();
    const [a, b] = [await connect(), await connectOther()];
    const [here, there] = [await a.subscribe(d), await b.subscribe(d)];
    for (const list of [[], [0], [0, 0, 0], [0xff], [0xc3, 0x28], [10, 0, 10], Array.from({ length: 256 }, (_, i) => i)]) {
      const body = new Uint8Array(list);
      a.send(d, body, { "content-type": "application/octet-stream" });
      for (const inbox of [here, there]) {
        const m = await inbox.take();
        assert.ok(bytesOf(m).equals(Buffer.from(body)), `${list} came as ${[...m.binaryBody]}`);
        assert.equal(m.headers["content-length"] ?? "0", `${list.length}`);
        assert.equal(m.headers["content-type"], "application/octet-stream");
      }
      const text = Buffer.from(body).equals(Buffer.from(Buffer.from(body).toString()));
      if (!text) for (const c of [a, b]) assert.equal(c.lastType, "binary", `${list}`);
    }
    await a.end();
    await b.end();
  },
  "1 MiB": async () => {
    const d = topic();
    const large = { maxWebSocketChunkSize: 8 << 10 };
    const [a, b] = [await connect(large), await connectOther(large)];
    const inbox = await b.subscribe(d);
    const text = "Grüße\n".repeat(1 << 17).slice(0, 1 << 20);
    a.send(d, text);
    assert.ok((await inbox.take()).body === text, "the text has changed");
    const body = Buffer.alloc(1 << 20, Buffer.from([0, 255, 10, 92, 128]));
    a.send(d, body);
    assert.ok(bytesOf(await inbox.take()).equals(body), "the bytes have changed");
    await a.end();
    await b.end();
  },
  "headers that need escaping": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d);
    const echo = async (headers) => {
      c.send(d, "", headers);
      return (await inbox.take()).headers;
    };
    // stompjs escapes values under 1.2 alone and names never: the rest is escaped by hand.
    const plain = { "x-plain": "a b", "x-empty": "", "x-unicode": "Grüße \u{1F9F5}" };
    if (mode === "split") plain["x-unicode"] = "Grüße";
    const special = {
      "1.2": { "x-colon": "a:b::", "x-lf": "a\nb", "x-cr": "a\rb", "x-backslash": "a\\b", "a\\cb": "name" },
      "1.1": { "x-colon": "a\\cb", "x-lf": "a\\nb", "x-backslash": "a\\\\b", "a\\cb": "name" },
      "1.0": { "x-colon": "a:b", "x-backslash": "a\\cb\\n\\t" },
    }[version];
    const want = { ...plain, ...special };
    const got = await echo(want);
    for (const [k, v] of Object.entries(want)) assert.equal(got[k], v, k);
    await c.end();
  },
  "identifiers that need escaping": async () => {
    if (version !== "1.2") return; // elsewhere stompjs can't
    const d = `${topic()}/a:b\\d`, q = `${queue()}/a:b\\d`;
    const c = await connect();
    const inbox = await c.subscribe(d, { id: "i:\\d\n1" });
    await c.sent(d, "x");
    const m = await inbox.take();
    assert.equal(m.headers.subscription, "i:\\d\n1");
    assert.equal(m.headers.destination, d);
    const work = await c.subscribe(q, { id: "q:\\d\n2.", ack: "client-individual" });
    c.send(q, "y");
    await c.done((await work.take()).ack);
    c.frame("BEGIN", { transaction: "t:\n" });
    c.send(d, "z", { transaction: "t:\n" });
    await c.done((h) => c.frame("COMMIT", { transaction: "t:\n", ...h }));
    assert.equal((await inbox.take()).body, "z");
    await c.end();
  },
  "a header that another version can't express": async () => {
    if (version !== "1.2") return;
    const d = topic();
    const c = await connect();
    const old = await Promise.all(["1.0", "1.1"].map((v) => connectOther({ stompVersions: new Versions([v]) })));
    const inboxes = await Promise.all(old.map((o) => o.subscribe(d)));
    await c.sent(d, "first", { x: "a\nforged:1\r" });
    await c.sent(d, "second", { x: "1" });
    for (const inbox of inboxes) {
      let m = await inbox.take();
      if (m.body === "first") { // rather than not at all
        assert.equal(m.headers.forged, undefined);
        m = await inbox.take();
      }
      assert.equal(m.body, "second");
    }
    for (const o of [c, ...old]) await o.end();
  },

  "a receipt for every frame": async () => {
    const d = topic(), q = queue();
    const c = await connect();
    const inbox = await c.subscribe(d);
    const work = await c.subscribe(q, { ack: individual });
    await c.sent(d, "1");
    await c.sent(q, "2");
    await c.sent(q, "3");
    await c.done((h) => c.frame("BEGIN", { transaction: "t", ...h }));
    await c.done((h) => c.frame("ABORT", { transaction: "t", ...h }));
    await c.done((h) => c.frame("BEGIN", { transaction: "t", ...h }));
    await c.done((h) => c.frame("COMMIT", { transaction: "t", ...h }));
    const [two, three] = await work.takeAll(2);
    if (nacks) {
      await c.done(two.nack);
      assert.equal((await work.take()).headers["delivery-count"], "2");
    } else await c.done(two.ack);
    await c.done(three.ack);
    await c.done(inbox.subscription.unsubscribe);
    await c.end(); // DISCONNECT
  },
  "receipts in order": async () => {
    const d = topic();
    const c = await connect();
    const came = [];
    const all = Array.from({ length: 50 }, async (_, i) => {
      await c.sent(d, `${i}`);
      came.push(i);
    });
    await Promise.all(all);
    assert.deepEqual(came, Array.from({ length: 50 }, (_, i) => i));
    await c.end();
  },
  "unsubscribe": async () => {
    const d = topic();
    const c = await connect();
    const [stays, goes] = [await c.subscribe(d), await c.subscribe(d, { id: "s" })];
    await c.done(goes.subscription.unsubscribe);
    await c.sent(d, "1");
    assert.equal((await stays.take()).body, "1");
    await nothingMore(c, goes, c.unhandled);
    const again = await c.subscribe(d, { id: "s" }); // the id is free
    await c.sent(d, "2");
    assert.equal((await again.take()).body, "2");
    await c.end();
  },
  "what comes behind an UNSUBSCRIBE is unhandled": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d);
    c.send(d, "late");
    inbox.subscription.unsubscribe();
    assert.equal((await c.unhandled.take()).body, "late");
    await c.end();
  },
  "two hundred subscriptions": async () => {
    const c = await connect();
    const d = topic();
    const all = await Promise.all(Array.from({ length: 200 }, (_, i) => c.subscribe(`${d}/${i}`)));
    for (let i = 0; i < all.length; i++) c.send(`${d}/${i}`, `${i}`);
    for (let i = 0; i < all.length; i++) assert.equal((await all[i].take()).body, `${i}`);
    await nothingMore(c, ...all);
    await c.end();
  },
  "more subscriptions than there may be": async () => {
    const c = await connect();
    const d = topic();
    await Promise.all(Array.from({ length: 256 }, () => c.subscribe(d)));
    await c.refused("too-many-subscriptions", (h) => c.client.subscribe(d, () => {}, h));
  },
  "wildcards": async () => {
    const d = topic();
    const c = await connect();
    const [one, deep, exact] = await Promise.all([`${d}/*`, `${d}/**`, `${d}/a`].map((p) => c.subscribe(p)));
    for (const s of ["a", "a/b", "b"]) await c.sent(`${d}/${s}`, s);
    await c.alive();
    const take = async (inbox) => (await inbox.takeAll(inbox.size)).map((m) => {
      assert.equal(m.headers.destination, `${d}/${m.body}`);
      return m.body;
    });
    assert.deepEqual(await take(one), ["a", "b"]);
    assert.deepEqual(await take(deep), ["a", "a/b", "b"]);
    assert.deepEqual(await take(exact), ["a"]);
    await c.end();
  },
  "the last value of a topic": async () => {
    const d = topic();
    const c = await connect();
    for (const body of ["old", "kept"]) await c.sent(d, body, { retain: "true" });
    await c.sent(d, "passing");
    const inbox = await c.subscribe(d);
    assert.equal((await inbox.take()).body, "kept");
    await c.sent(d, "new");
    assert.equal((await inbox.take()).body, "new");
    await nothingMore(c, inbox);
    await c.end();
  },
  "messages that expire": async () => {
    const q = queue();
    const c = await connect();
    await c.sent(q, "gone", { ttl: "20" });
    await c.sent(q, "gone", { expires: `${Date.now() + 20}` });
    await c.sent(q, "stays", { ttl: "60000" });
    await sleep(60);
    const inbox = await c.subscribe(q);
    assert.equal((await inbox.take()).body, "stays");
    await nothingMore(c, inbox);
    await c.end();
  },

  ...queueCases({ url, other, version, individual, make, connect, connectOther, nothingMore, topic, queue }),

  "a transaction that is committed": async () => {
    const d = topic();
    const [a, b] = [await connect(), await connectOther()];
    const inbox = await b.subscribe(d);
    const t = a.client.begin();
    const parts = [];
    const came = [];
    for (let i = 0; i < 3; i++) parts.push(a.sent(d, `${i}`, { transaction: t.id }).then(() => came.push(i)));
    await a.sent(d, "outside");
    assert.deepEqual(came, [], "a receipt before COMMIT");
    assert.equal((await inbox.take()).body, "outside");
    t.commit();
    assert.deepEqual(bodies(await inbox.takeAll(3)), ["0", "1", "2"]);
    await Promise.all(parts);
    await a.end();
    await b.end();
  },
  "a transaction that is aborted": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d);
    const t = c.client.begin("t");
    c.send(d, "never", { transaction: t.id });
    t.abort();
    await c.sent(d, "after");
    assert.equal((await inbox.take()).body, "after");
    c.client.begin("t"); // the name is free
    c.send(d, "never", { transaction: "t" });
    await c.end(); // which aborts it
    const b = await connect();
    const second = await b.subscribe(d);
    await nothingMore(b, second);
    await b.end();
  },
  "acks in transactions": async () => {
    const q = queue(), d = topic();
    const [a, b] = [await connect(), await connectOther()];
    const done = await b.subscribe(d);
    for (let i = 0; i < 2; i++) await a.sent(q, `${i}`);
    const [zero, one] = await (await a.subscribe(q, { ack: individual })).takeAll(2);
    let t = a.client.begin();
    zero.ack({ transaction: t.id });
    t.abort();
    t = a.client.begin();
    zero.ack({ transaction: t.id });
    a.send(d, "did 0", { transaction: t.id });
    t.commit();
    assert.equal((await done.take()).body, "did 0");
    t = a.client.begin();
    one.ack({ transaction: t.id });
    await a.end(); // before COMMIT
    const inbox = await b.subscribe(q, { ack: individual });
    const m = await inbox.take();
    assert.equal(m.body, "1");
    await b.done(m.ack);
    await nothingMore(b, inbox);
    await b.end();
  },
  "a transaction of which a part fails does nothing": async () => {
    const d = topic();
    const [a, b] = [await connect(), await connect()];
    const inbox = await b.subscribe(d);
    const t = a.client.begin();
    a.send(d, "never", { transaction: t.id });
    a.send("/nowhere", "", { transaction: t.id });
    t.commit();
    await a.fatal("not-found", 1008);
    await b.sent(d, "after");
    assert.equal((await inbox.take()).body, "after");
    await b.end();
  },

  "what is refused ends only its session": async () => {
    const d = topic();
    const bystander = await connectOther();
    const inbox = await bystander.subscribe(d);
    for (const [code, f] of [
      ["not-found", (c, h) => c.send("/nowhere", "", h)],
      ["not-found", (c, h) => c.send("nowhere", "", h)],
      ["not-found", (c, h) => c.client.subscribe("/nowhere", () => {}, h)],
      ["not-found", (c, h) => c.client.subscribe("/topi", () => {}, h)],
      ["subscription-exists", (c, h) => {
        c.client.subscribe(d, () => {}, { id: "s" });
        c.client.subscribe(topic(), () => {}, { id: "s", ...h });
      }],
      ["no-subscription", (c, h) => c.client.unsubscribe("none", h)],
      ["no-transaction", (c, h) => c.frame("COMMIT", { transaction: "none", ...h })],
      ["no-transaction", (c, h) => c.frame("ABORT", { transaction: "none", ...h })],
      ["no-transaction", (c, h) => c.send(d, "", { transaction: "none", ...h })],
      ["transaction-exists", (c, h) => {
        c.client.begin("t");
        c.frame("BEGIN", { transaction: "t", ...h });
      }],
      ["missing-header", (c, h) => c.frame("SEND", h)],
      ["missing-header", (c, h) => c.frame("SUBSCRIBE", { id: "s", ...h })],
      ["missing-header", (c, h) => c.frame("COMMIT", h)],
      ["missing-header", (c, h) => c.frame("ACK", h)],
      ...["SHOUT", "MESSAGE", "send"].map((command) => ["unknown-command", (c, h) => c.frame(command, h)]),
      ...["ack", "nack"].slice(0, nacks ? 2 : 1).map((answer) => ["unknown-ack", (c, h) => {
        c.client.subscribe(queue(), () => {}, { id: "s", ack: individual });
        c.client[answer]("no such id", "s", h);
      }]),
    ]) {
      const c = await connect();
      await c.refused(code, (h) => f(c, h)).catch((e) => { throw new Error(`${f}: ${e.message}`); });
    }
    await bystander.sent(d, "still here");
    assert.equal((await inbox.take()).body, "still here");
    await bystander.end();
  },
  "a message that was acknowledged before": async () => {
    const q = queue();
    const c = await connect();
    const inbox = await c.subscribe(q, { ack: individual });
    await c.sent(q, "x");
    const m = await inbox.take();
    await c.done(m.ack);
    await c.refused("unknown-ack", m.ack);
  },
  "bytes that are no frame": async () => {
    const broken = [
      "nonsense\n\n\0", "SEND\ndestination:/topic/a\ncontent-length:-1\n\n\0", "SEND\ndestination:/topic/a\ncontent-length:1\n\n\0\0\0",
      "SEND\ndestination:/topic/a\ncontent-length:99999999999999999999\n\n\0", "SEND\nno colon\n\n\0", "BEGIN\ntransaction:t\n\nbody\0",
      "CONNECT\naccept-version:1.2\n\n\0", `SEND\ndestination:/topic/${"x".repeat(10000)}\n\n\0`,
    ];
    if (version !== "1.0") broken.push("SEND\ndestination:/topic/\\t\n\n\0");
    if (version === "1.1") broken.push("SEND\ndestination:/topic/\\r\n\n\0");
    for (const data of broken) {
      const c = await connect();
      c.ws.send(data);
      await c.errors.take();
      assert.ok([1002, 1008, 1009].includes((await c.closes.take()).code), data);
    }
  },
  "a frame before CONNECT": async () => {
    const c = make();
    const dial = c.client.webSocketFactory;
    c.client.webSocketFactory = () => {
      const ws = dial();
      ws.once("open", () => ws.send("SEND\ndestination:/topic/a\n\n\0")); // stompjs' own listener is added later
      return ws;
    };
    c.client.activate();
    await c.fatal("not-connected", 1002, 1008);
  },

  "thirty clients at once": async () => {
    const d = topic();
    const all = await Promise.all(Array.from({ length: 30 }, (_, i) => (i % 2 ? connect() : connectOther())));
    const inboxes = await Promise.all(all.map((c) => c.subscribe(d)));
    all.forEach((c, i) => c.send(d, `${i}`));
    const orders = await Promise.all(inboxes.map(async (i) => bodies(await i.takeAll(30)).join()));
    assert.equal(new Set(orders).size, 1, "not in the same order for all");
    await Promise.all(all.map((c) => c.end()));
  },
  "heartbeats, both ways": keeps,
  "a client that falls silent is closed": falls,
  "no heartbeats where one side wants none": never,
};

await run(cases);
