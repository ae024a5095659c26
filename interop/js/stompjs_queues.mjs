// The cases of stompjs.mjs that are about queues and acknowledgements.

import WebSocket from "ws";
import { assert } from "./report.mjs";
import { Inbox } from "./stompjs_peer.mjs";

export const bodies = (ms) => ms.map((m) => m.body);

/** kit is what stompjs.mjs has for its own cases. */
export const queueCases = ({
  url, other, version, individual, make, connect, connectOther, nothingMore, topic, queue,
}) => ({
  "a queue keeps what nobody takes": async () => {
    const q = queue();
    const a = await connect();
    for (let i = 0; i < 10; i++) a.send(q, `${i}`);
    await a.end();
    const b = await connectOther();
    const inbox = await b.subscribe(q);
    assert.deepEqual(bodies(await inbox.takeAll(10)), Array.from({ length: 10 }, (_, i) => `${i}`));
    await b.end();
    const c = await connect();
    const none = await c.subscribe(q); // auto: all is settled
    await nothingMore(c, none);
    await c.end();
  },
  "a long queue": async () => {
    const q = queue();
    const [a, b] = [await connect(), await connectOther()];
    for (let i = 0; i < 5000; i++) a.send(q, `${i}`);
    await a.alive();
    const inbox = await b.subscribe(q);
    for (let i = 0; i < 5000; i++) assert.equal((await inbox.take()).body, `${i}`);
    await a.end();
    await b.end();
  },
  "competing consumers": async () => {
    const q = queue();
    const peers = [await connect(), await connectOther(), await connect()];
    const got = new Inbox();
    for (const [i, p] of peers.entries()) {
      p.client.subscribe(q, (m) => {
        got.put([i, Number(m.body)]);
        m.ack();
      }, { ack: individual, "prefetch-count": "1" });
      await p.alive();
    }
    for (let i = 0; i < 60; i++) peers[0].send(q, `${i}`);
    const all = await got.takeAll(60);
    assert.deepEqual(all.map(([, n]) => n).sort((x, y) => x - y), Array.from({ length: 60 }, (_, i) => i));
    for (const i of peers.keys()) {
      const mine = all.filter(([who]) => who === i).map(([, n]) => n);
      assert.ok(mine.length > 0, "one consumer got nothing");
      assert.deepEqual(mine, mine.toSorted((x, y) => x - y), "out of order");
    }
    await nothingMore(peers[0], got);
    for (const p of peers) await p.end();
  },
  "ack:client is about all before": async () => {
    const q = queue();
    const a = await connect();
    for (let i = 0; i < 4; i++) await a.sent(q, `${i}`);
    const first = await (await a.subscribe(q, { ack: "client" })).takeAll(4);
    for (const m of first) assert.equal(m.headers.redelivered, undefined);
    await a.done(first[1].ack);
    await a.end();
    const b = await connectOther();
    const inbox = await b.subscribe(q, { ack: "client" });
    const second = await inbox.takeAll(2);
    assert.deepEqual(bodies(second), ["2", "3"]);
    for (const m of second) {
      assert.equal(m.headers.redelivered, "true");
      assert.equal(m.headers["delivery-count"], "2");
    }
    await b.done(second[1].ack);
    await nothingMore(b, inbox);
    await b.end();
    const c = await connect();
    await nothingMore(c, await c.subscribe(q));
    await c.end();
  },
  "ack:client-individual is about one": async () => {
    if (version === "1.0") return; // which has only client
    const q = queue();
    const a = await connect();
    for (let i = 0; i < 3; i++) await a.sent(q, `${i}`);
    const first = await (await a.subscribe(q, { ack: "client-individual" })).takeAll(3);
    assert.equal(new Set(first.map((m) => m.headers["message-id"])).size, 3);
    await a.done(first[1].ack);
    await a.end();
    const b = await connectOther();
    const inbox = await b.subscribe(q, { ack: "client-individual" });
    const second = await inbox.takeAll(2);
    assert.deepEqual(bodies(second), ["0", "2"]);
    for (const m of second) await b.done(m.ack);
    await nothingMore(b, inbox);
    await b.end();
  },
  "acks on a topic": async () => {
    const d = topic();
    const c = await connect();
    const inbox = await c.subscribe(d, { ack: "client", "prefetch-count": "2" });
    for (let i = 0; i < 5; i++) await c.sent(d, `${i}`);
    const first = await inbox.takeAll(2);
    await nothingMore(c, inbox); // two are unsettled
    await c.done(first[1].ack);
    assert.deepEqual(bodies(await inbox.takeAll(2)), ["2", "3"]);
    await c.end();
  },
  "what a lost client had comes to another": async () => {
    const q = queue();
    const [a, b] = [await connect(), await connectOther()];
    const mine = await a.subscribe(q, { ack: individual });
    await b.sent(q, "x");
    await mine.take();
    const theirs = await b.subscribe(q, { ack: individual });
    a.ws.terminate();
    const m = await theirs.take();
    assert.equal(m.body, "x");
    assert.equal(m.headers.redelivered, "true");
    await b.done(m.ack);
    await b.end();
  },
  "consumers that break off": async () => {
    const q = queue();
    const settled = new Inbox();
    const attempts = new Map();
    const wrong = [];
    const consumers = [url, other, url, other].map((endpoint) => {
      const c = make({ reconnectDelay: 10 }, endpoint);
      c.client.onConnect = () => {
        const { ws } = c;
        let turn = Promise.resolve();
        c.client.subscribe(q, (m) => {
          if (ws.readyState !== WebSocket.OPEN) return; // inflated too late
          const n = (attempts.get(m.body) ?? 0) + 1;
          attempts.set(m.body, n);
          if (n > 1 && m.headers.redelivered !== "true") wrong.push(m.body);
          turn = turn.then(async () => {
            if (ws.readyState !== WebSocket.OPEN) return;
            if (Math.random() < 0.1) return ws.terminate();
            await c.done(m.ack);
            settled.put(m.body);
          });
        }, { ack: individual, "prefetch-count": `${1 + Math.floor(Math.random() * 20)}` });
      };
      return c;
    });
    const a = await connect();
    for (let i = 0; i < 200; i++) a.send(q, `${i}`);
    for (const c of consumers) c.client.activate();
    const all = await settled.takeAll(200);
    assert.equal(new Set(all).size, 200, "a message was settled twice");
    assert.deepEqual(wrong, [], "not marked as redelivered");
    for (const c of consumers) await c.client.deactivate();
    await a.end();
  },
  "a nack goes to the other client": async () => {
    const q = queue();
    const [a, b] = [await connect(), await connectOther()];
    const h = { ack: individual, "prefetch-count": "1" };
    const mine = await a.subscribe(q, h);
    await b.sent(q, "x");
    const m = await mine.take();
    const theirs = await b.subscribe(q, h);
    if (version === "1.0") {
      await a.refused("NACK", m.nack); // there is none in 1.0
      assert.equal((await theirs.take()).body, "x");
      return b.end();
    }
    await a.done(m.nack);
    const again = await theirs.take();
    assert.equal(again.body, "x");
    assert.equal(again.headers.redelivered, "true");
    assert.equal(again.headers["delivery-count"], "2");
    await b.done(again.ack);
    await nothingMore(a, mine);
    await a.end();
    await b.end();
  },
});
