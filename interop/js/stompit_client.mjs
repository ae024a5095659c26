// stompit over TCP against a broker that knows guest with the password guest.
//
//	node stompit_client.mjs 127.0.0.1:61613 1.2 weft|rabbitmq [CERTIFICATE]

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import stompit from "stompit";
import { assert, run } from "./report.mjs";

const [address, version, broker, certificate] = process.argv.slice(2);
const tls = certificate ? { ssl: true, ca: readFileSync(certificate) } : {};
const [host, port] = address.split(":");
const weft = broker === "weft";

// For an ERROR with content-type text/plain stompit ends the body's stream instead of the
// client, and nobody can listen to that.
let failing;
process.on("uncaughtException", (err) => {
  if (!err.isApplicationError?.()) throw err;
  failing(err);
});

const clients = [];
let number = 0;
const fresh = (kind) => `/${kind}/stompit-${process.pid}-${++number}`;

/** A client whose errors wait in a list, so that none ends the script. */
function connect({ passcode = "guest", heartbeat = "0,0" } = {}) {
  return new Promise((resolve, reject) => {
    const connectHeaders = { host: "/", login: "guest", passcode, "accept-version": version, "heart-beat": heartbeat };
    const heartbeatDelayMargin = 2000; // ms; the 100 that it allows by itself are few on a busy machine
    const client = stompit.connect({ host, port, ...tls, connectHeaders, heartbeatDelayMargin }, (err) => (err ? reject(err) : resolve(client)));
    client.failures = [];
    client.failed = new Promise((failed) => {
      failing = (err) => {
        client.failures.push(err);
        reject(err);
        failed(err);
      };
    });
    client.on("error", failing);
    clients.push(client);
  });
}

/** Calls f with options for a frame and resolves with its receipt. */
const done = (client, f) =>
  new Promise((resolve, reject) => {
    client.failed.then(reject);
    f({ onReceipt: resolve });
  });

const send = (client, headers, body) => done(client, (o) => client.send(headers, o).end(body));

const bodyOf = async (message) => {
  const parts = [];
  for await (const part of message) parts.push(part);
  return Buffer.concat(parts);
};

/** Subscribes and collects what comes. */
async function subscribe(client, headers) {
  const waiting = [];
  const arrived = [];
  let turn = Promise.resolve();
  const sub = client.subscribe({ ...headers }, (err, message) => {
    if (err) return;
    const got = bodyOf(message).then((body) => ({ body, message, headers: message.headers }));
    turn = turn.then(async () => {
      const m = await got;
      const w = waiting.shift();
      if (w) w(m);
      else arrived.push(m);
    });
  });
  sub.next = () => (arrived.length ? Promise.resolve(arrived.shift()) : new Promise((r) => waiting.push(r)));
  sub.bodies = async (n) => {
    const all = [];
    for (let i = 0; i < n; i++) all.push((await sub.next()).body.toString());
    return all;
  };
  sub.arrived = arrived;
  await send(client, { destination: fresh("queue") }, "the server has seen SUBSCRIBE before");
  return sub;
}

/** Nothing more is on the way: a message that is sent now comes next. */
async function quiet(client, ...subs) {
  const destination = fresh("topic");
  const marker = await subscribe(client, { destination });
  await send(client, { destination }, "marker");
  await marker.next();
  for (const s of subs) assert.equal(s.arrived.length, 0, String(s.arrived[0]?.body));
}

const settle = (client, how, m, headers) => done(client, (o) => client[how](m.message, headers, o));
const disconnect = (client) => new Promise((resolve, reject) => client.disconnect((e) => (e ? reject(e) : resolve())));

const cases = {
  async "CONNECTED names the version and a session"() {
    const c = await connect();
    if (version !== "1.0") assert.equal(c.headers.version, version);
    assert.ok(c.headers.session);
    await disconnect(c);
  },

  async "a wrong password is an ERROR that says so and does not repeat it"() {
    const err = await connect({ passcode: "mistaken" }).then(
      () => assert.fail("connected"),
      (e) => e,
    );
    assert.ok(err.isApplicationError?.(), err.message);
    const said = `${err.message} ${err.longMessage}`;
    assert.doesNotMatch(said, /mistaken/);
    if (weft) assert.match(said, /login|password|credentials/);
  },

  async "a topic reaches each subscriber once"() {
    const [a, b] = [await connect(), await connect()];
    const destination = fresh("topic");
    const subs = [await subscribe(a, { destination }), await subscribe(b, { destination })];
    await send(a, { destination, "content-type": "application/json", colour: "blue" }, '{"grüße":"世界"}');
    for (const s of subs) {
      const m = await s.next();
      assert.equal(m.body.toString(), '{"grüße":"世界"}');
      assert.equal(m.headers.destination, destination);
      assert.equal(m.headers["content-type"], "application/json");
      assert.equal(m.headers.colour, "blue");
    }
    await quiet(a, ...subs);
    await quiet(b, ...subs);
  },

  async "a queue keeps order and has one consumer for each message"() {
    const [a, b] = [await connect(), await connect()];
    const destination = fresh("queue");
    for (let i = 0; i < 199; i++) a.send({ destination }).end(`${i}`);
    await send(a, { destination }, "199");
    const s = await subscribe(a, { destination });
    assert.deepEqual(await s.bodies(200), Array.from({ length: 200 }, (_, i) => `${i}`));
    const t = await subscribe(b, { destination });
    await quiet(b, s, t);
  },

  async "ack client is cumulative, the rest is delivered again"() {
    const a = await connect();
    const destination = fresh("queue");
    for (const i of "0123") await send(a, { destination }, i);
    const s = await subscribe(a, { destination, ack: "client" });
    const all = [await s.next(), await s.next(), await s.next(), await s.next()];
    await settle(a, "ack", all[1]);
    await disconnect(a);
    const b = await connect();
    const again = await subscribe(b, { destination, ack: "client" });
    for (const want of ["2", "3"]) {
      const m = await again.next();
      assert.equal(m.body.toString(), want);
      assert.equal(m.headers.redelivered, "true");
    }
    await quiet(b, again);
  },

  async "a transaction takes effect at COMMIT"() {
    const [a, b] = [await connect(), await connect()];
    const destination = fresh("queue");
    const s = await subscribe(b, { destination });
    const tx = a.begin();
    for (const body of ["one", "two"]) tx.send({ destination }).end(body);
    await send(a, { destination: fresh("queue") }, "the server has seen what came before");
    await quiet(b, s);
    await done(a, (o) => tx.commit(o));
    assert.deepEqual(await s.bodies(2), ["one", "two"]);
    await quiet(b, s);
  },

  async "a transaction that is aborted has no effect on SEND and ACK"() {
    const a = await connect();
    const destination = fresh("queue");
    await send(a, { destination }, "work");
    const s = await subscribe(a, { destination, ack: "client" });
    const tx = a.begin();
    tx.send({ destination }).end("never");
    a.ack((await s.next()).message, { transaction: tx.id });
    await done(a, (o) => tx.abort(o));
    await disconnect(a);
    const b = await connect();
    const again = await subscribe(b, { destination });
    assert.deepEqual(await again.bodies(1), ["work"]);
    await quiet(b, again);
  },

  async "all bytes, with NULs, and none"() {
    const c = await connect();
    const destination = fresh("queue");
    const s = await subscribe(c, { destination });
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    for (const body of [all, Buffer.from([0]), Buffer.from([0, 10, 0]), randomBytes(50000)]) {
      await send(c, { destination, "content-type": "application/octet-stream", "content-length": body.length }, body);
      const got = (await s.next()).body;
      assert.ok(got.equals(body), `${body.length} bytes sent, ${got.length} other ones came`);
    }
  },

  async "nothing comes after UNSUBSCRIBE, and a queue keeps it"() {
    const c = await connect();
    const destination = fresh("queue");
    const s = await subscribe(c, { destination });
    await send(c, { destination }, "one");
    assert.deepEqual(await s.bodies(1), ["one"]);
    s.unsubscribe();
    await send(c, { destination }, "two");
    await quiet(c, s);
    const again = await subscribe(c, { destination });
    assert.deepEqual(await again.bodies(1), ["two"]);
  },

  async "a destination that there is not is an ERROR that names it"() {
    const c = await connect();
    c.send({ destination: "/elsewhere/x" }).end("lost");
    const err = await c.failed;
    assert.ok(err.isApplicationError(), err.message);
    assert.match(`${err.message} ${err.longMessage}`, weft ? /elsewhere/ : /Unknown destination/);
  },
};

if (version !== "1.0") {
  cases["ack client-individual acknowledges one message"] = async () => {
    const a = await connect();
    const destination = fresh("queue");
    for (const i of "012") await send(a, { destination }, i);
    const s = await subscribe(a, { destination, ack: "client-individual" });
    const all = [await s.next(), await s.next(), await s.next()];
    await settle(a, "ack", all[1]);
    await disconnect(a);
    const b = await connect();
    const again = await subscribe(b, { destination, ack: "client-individual" });
    assert.deepEqual(await again.bodies(2), ["0", "2"]);
    await quiet(b, again);
  };

  cases["what was refused is delivered again, and marked"] = async () => {
    const [a, b] = [await connect(), await connect()];
    const destination = fresh("queue");
    const s = await subscribe(a, { destination, ack: "client-individual" });
    await send(a, { destination }, "work");
    const first = await s.next();
    const t = await subscribe(b, { destination, ack: "client-individual" });
    await settle(a, "nack", first);
    const [owner, m] = weft
      ? [b, await t.next()] // another consumer first
      : await Promise.race([s.next().then((m) => [a, m]), t.next().then((m) => [b, m])]);
    assert.equal(m.body.toString(), "work");
    assert.equal(m.headers.redelivered, "true");
    await settle(owner, "ack", m);
  };

  cases["headers with every escape of the version"] = async () => {
    const c = await connect();
    const destination = `${fresh("topic")}:a\\b`;
    const s = await subscribe(c, { destination });
    const value = `colon : backslash \\ newline \n not one \\n grüße${version === "1.2" ? " return \r" : ""}`;
    await send(c, { destination, value, "name:with\ncolon": "v" }, "x");
    const m = await s.next();
    assert.equal(m.headers.destination, destination);
    assert.equal(m.headers.value, value);
    assert.equal(m.headers["name:with\ncolon"], "v");
  };

  cases["both sides beat, and silence within the agreed time ends nothing"] = async () => {
    const c = await connect({ heartbeat: "200,200" });
    assert.notEqual(c.headers["heart-beat"], "0,0");
    const before = c.getTransportSocket().bytesRead;
    for (let i = 0; i < 8; i++) await once(c.getTransportSocket(), "data");
    assert.ok(c.getTransportSocket().bytesRead > before);
    assert.deepEqual(c.failures, []);
    await disconnect(c);
  };
}

for (const [name, body] of Object.entries(cases)) {
  cases[name] = async () => {
    try {
      await body();
    } finally {
      for (const c of clients.splice(0)) c.destroy();
    }
  };
}
await run(cases);
