// webstomp-client in node against a STOMP endpoint of interop/server.
//
//	node webstomp.mjs URL VERSION [binary]

import WebSocket from "ws";
import webstomp from "webstomp-client";
import { assert, run } from "./report.mjs";
import { Inbox } from "./stompjs_peer.mjs";

const [url, version, mode] = process.argv.slice(2);
const token = `v${version.replace(".", "")}.stomp`;
const nacks = version !== "1.0";
const credentials = { login: "guest", passcode: "guest" };

/** Opens a client; its errors are ERROR frames, then a CloseEvent. */
function open(headers, options) {
  const c = webstomp.over(new WebSocket(url, token), {
    debug: false, heartbeat: false, protocols: [token], binary: mode === "binary", ...options,
  });
  c.ended = new Promise((resolve) => c.ws.on("close", resolve));
  const receipts = new Inbox();
  let n = 0;
  c.onreceipt = (frame) => receipts.put(frame.headers["receipt-id"]);
  c.done = async (f) => {
    const receipt = `r${++n}`;
    f({ receipt });
    assert.equal(await receipts.take(), receipt);
  };
  c.errors = new Inbox();
  c.ready = new Promise((resolve) => c.connect({ ...headers }, resolve, (e) => c.errors.put(e)));
  c.inbox = async (destination, headers) => {
    const inbox = new Inbox();
    await c.done((h) => { inbox.subscription = c.subscribe(destination, (m) => inbox.put(m), { ...headers, ...h }); });
    return inbox;
  };
  return c;
}

async function connect(options) {
  const c = open(credentials, options);
  c.connectedFrame = await c.ready;
  return c;
}

async function end(...clients) {
  for (const c of clients) {
    c.disconnect();
    await c.ended;
  }
}

async function refused(c, code, status) {
  const frame = await c.errors.take();
  assert.equal(frame.command, "ERROR");
  assert.ok(frame.headers.message);
  assert.match(frame.body, code);
  assert.equal((await c.errors.take()).code, status);
}

await run({
  "connect and disconnect": async () => {
    const c = await connect();
    assert.equal(c.version, version);
    assert.equal(c.connectedFrame.headers["user-name"], "guest");
    await end(c);
  },
  "wrong credentials": async () => {
    await refused(open({ login: "guest", passcode: "wrong" }), /unauthorized/, 1008);
  },
  "subscribe, send, unsubscribe": async () => {
    const [a, b] = [await connect(), await connect()];
    const [one, two] = [await a.inbox("/topic/webstomp"), await b.inbox("/topic/webstomp")];
    for (const text of ["", "x", "Grüße \u{1F9F5}\u2028", "a\n\nb", "y".repeat(50000)]) {
      a.send("/topic/webstomp", text, { "content-type": "text/plain", "x-n": "1" });
      for (const inbox of [one, two]) {
        const m = await inbox.take();
        assert.ok(m.body === text, "the text has changed");
        assert.equal(m.headers["content-type"], "text/plain");
        assert.equal(m.headers["x-n"], "1");
      }
    }
    await a.done(one.subscription.unsubscribe);
    await b.done((h) => b.send("/topic/webstomp", "last", h));
    assert.equal((await two.take()).body, "last");
    await a.done((h) => a.send("/topic/elsewhere", "", h));
    assert.equal(one.size, 0);
    await end(a, b);
  },
  "ack": async () => {
    const q = "/queue/webstomp/ack";
    const a = await connect();
    const mine = await a.inbox(q, { ack: "client" });
    for (let i = 0; i < 3; i++) a.send(q, `${i}`);
    const [, second] = [await mine.take(), await mine.take(), await mine.take()];
    await a.done(second.ack);
    await end(a);
    const b = await connect();
    const again = await b.inbox(q, { ack: "client" });
    const m = await again.take();
    assert.equal(m.body, "2");
    assert.equal(m.headers.redelivered, "true");
    await b.done(m.ack);
    await end(b);
  },
  "nack": async () => {
    const q = "/queue/webstomp/nack";
    const [a, b] = [await connect(), await connect()];
    const h = { ack: nacks ? "client-individual" : "client", "prefetch-count": "1" };
    const mine = await a.inbox(q, h);
    a.send(q, "x");
    const m = await mine.take();
    const theirs = await b.inbox(q, h);
    m.nack();
    if (!nacks) await refused(a, /NACK/, 1002); // there is none in 1.0
    const again = await theirs.take();
    assert.equal(again.body, "x");
    await b.done(again.ack);
    await end(b, ...(nacks ? [a] : []));
  },
  "transactions": async () => {
    const c = await connect();
    const inbox = await c.inbox("/topic/webstomp/tx");
    const [t, u] = [c.begin("t"), c.begin("u")];
    for (let i = 0; i < 3; i++) c.send("/topic/webstomp/tx", `${i}`, { transaction: t.id });
    c.send("/topic/webstomp/tx", "never", { transaction: u.id });
    u.abort();
    c.send("/topic/webstomp/tx", "outside");
    t.commit();
    for (const want of ["outside", "0", "1", "2"]) assert.equal((await inbox.take()).body, want);
    await end(c);
  },
  "an error": async () => {
    const c = await connect();
    c.send("/nowhere", "x");
    await refused(c, /not-found/, 1008);
  },
  "heartbeats, both ways": async () => {
    if (version === "1.0") return;
    const c = await connect({ heartbeat: { outgoing: 1000, incoming: 500 } });
    const beats = new Inbox();
    c.ws.on("message", (data) => beats.put(Buffer.from(data).toString()));
    for (let i = 0; i < 5; i++) assert.equal(await beats.take(), "\n"); // longer than twice its promise
    await c.done((h) => c.send("/topic/webstomp/beats", "", h));
    await end(c);
  },
});
