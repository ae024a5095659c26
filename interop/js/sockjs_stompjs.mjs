// @stomp/stompjs over sockjs-client in node: the classic pair, against a STOMP endpoint
// of interop/server.
//
//	node sockjs_stompjs.mjs http://127.0.0.1:8080/sockjs-stomp

import { Client } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import { assert, run } from "./report.mjs";
import { texts } from "./sockjs_cases.mjs";
import { Peer } from "./stompjs_peer.mjs";

const url = process.argv[2];
const text = (m) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(m.binaryBody); // body lacks a mark in front
const all = {};
for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
  const make = (conf) => {
    const peer = new Peer(Client, {
      webSocketFactory: () => {
        peer.sock = new SockJS(url, null, { transports: [transport], timeout: 10000 });
        return peer.sock;
      },
      ...conf,
    });
    return peer;
  };
  const connect = (conf) => make(conf).connect();
  const own = `${process.pid}/${transport}`; // the engines have one broker
  const on = (name, f) => { all[`${transport}, ${name}`] = f; };

  on("topic", async () => {
    const [a, b] = [await connect(), await connect()];
    assert.equal(a.sock.transport, transport);
    assert.equal(a.client.connectedVersion, "1.2");
    const destination = `/topic/${own}`;
    const inboxes = [await a.subscribe(destination), await b.subscribe(destination)];
    await Promise.all(texts.map((t) => a.sent(destination, t)));
    for (const i of inboxes) {
      assert.deepEqual((await i.takeAll(texts.length)).map(text), texts);
    }
    await a.end();
    await b.end();
  });
  on("queue with acks", async () => {
    const destination = `/queue/${own}`;
    const a = await connect();
    for (const body of ["1", "2", "3"]) await a.sent(destination, body);
    const inbox = await a.subscribe(destination, { ack: "client-individual" });
    const got = await inbox.takeAll(3);
    await a.done(got[1].ack);
    await a.end();
    const b = await connect();
    const rest = await (await b.subscribe(destination, { ack: "client-individual" })).takeAll(2);
    assert.deepEqual(rest.map((m) => [m.body, m.headers.redelivered]), [["1", "true"], ["3", "true"]]);
    for (const m of rest) await b.done(m.ack);
    await b.end();
  });
  on("transaction", async () => {
    const destination = `/topic/tx/${own}`;
    const a = await connect();
    const inbox = await a.subscribe(destination);
    const tx = a.client.begin();
    const part = a.sent(destination, "inside", { transaction: tx.id });
    await a.sent(destination, "outside");
    tx.commit();
    await part;
    assert.deepEqual((await inbox.takeAll(2)).map((m) => m.body), ["outside", "inside"]);
    await a.end();
  });
  on("wrong credentials", async () => {
    const a = make({ connectHeaders: { login: "guest", passcode: "wrong" } });
    a.client.activate();
    await a.fatal("unauthorized", 1008);
  });
  on("an ERROR, and back", async () => {
    const a = make({ reconnectDelay: 50 });
    let inbox;
    a.client.onConnect = async (frame) => {
      inbox = await a.subscribe(`/topic/again/${own}`);
      a.connects.put(frame);
    };
    await a.connect();
    a.send("/nowhere", "");
    await a.connects.take();
    await a.sent(`/topic/again/${own}`, "here");
    assert.equal((await inbox.take()).body, "here");
    await a.client.deactivate();
  });
  on("heartbeats", async () => {
    const a = await connect({ heartbeatIncoming: 100, heartbeatOutgoing: 1000, heartbeatToleranceMultiplier: 20 });
    await new Promise((resolve) => { setTimeout(resolve, 2500); }); // more than twice what it promised
    assert.ok(a.beats >= 8, `${a.beats} heartbeats in 2.5 s`);
    await a.alive();
    await a.end();
  });
}
await run(all);
process.exit(); // for the timers that sockjs-client leaves behind
