// @stomp/stompjs comes back by itself, whatever the reason that it was away.
//
//	node stompjs_reconnect.mjs URL PID
//
// PID is the server's. The line "restart" asks for another server on the same port; the answer
// is its process id.

import { once } from "node:events";
import { createInterface } from "node:readline";
import { Client } from "@stomp/stompjs";
import WebSocket from "ws";
import { assert, run } from "./report.mjs";
import { Peer } from "./stompjs_peer.mjs";

const url = process.argv[2];
let pid = Number(process.argv[3]);
const input = createInterface({ input: process.stdin });

/** A client that subscribes whenever it is connected, and has been once. */
async function make(destination, headers, conf) {
  const peer = new Peer(Client, {
    reconnectDelay: 50,
    webSocketFactory: () => {
      peer.ws = new WebSocket(url, "v12.stomp");
      return peer.ws;
    },
    onConnect: async (frame) => {
      peer.inbox = await peer.subscribe(destination, headers);
      peer.connects.put(frame);
    },
    ...conf,
  });
  return peer.connect();
}

async function back(peer, destination, body) {
  await peer.connects.take();
  await peer.sent(destination, body);
  const m = await peer.inbox.take();
  assert.equal(m.body, body);
}

await run({
  "after the connection broke": async () => {
    const c = await make("/topic/broke");
    c.ws.terminate();
    await back(c, "/topic/broke", "1");
    c.ws.terminate();
    await back(c, "/topic/broke", "2");
    await c.client.deactivate();
  },
  "with what was not acknowledged": async () => {
    const c = await make("/queue/unsettled", { ack: "client" });
    await c.sent("/queue/unsettled", "x");
    assert.equal((await c.inbox.take()).headers.redelivered, undefined);
    c.ws.terminate();
    await c.connects.take();
    const m = await c.inbox.take();
    assert.equal(m.body, "x");
    assert.equal(m.headers.redelivered, "true");
    await c.done(m.ack);
    await c.client.deactivate();
  },
  "after an ERROR": async () => {
    const c = await make("/topic/error");
    c.send("/nowhere", "");
    assert.match((await c.errors.take()).body, /not-found/);
    await back(c, "/topic/error", "1");
    await c.client.deactivate();
  },
  "after the server was restarted": async () => {
    const c = await make("/topic/restart");
    console.log("restart");
    pid = Number((await once(input, "line"))[0]);
    assert.equal((await c.closes.take()).code, 1001);
    await back(c, "/topic/restart", "1");
    await c.client.deactivate();
  },
  "after the server fell silent": async () => {
    let lost = false;
    const c = await make("/topic/silent", {}, {
      heartbeatIncoming: 250, heartbeatOutgoing: 250, discardWebsocketOnCommFailure: true,
      onHeartbeatLost: () => { lost = true; },
    });
    process.kill(pid, "SIGSTOP");
    try {
      await c.closes.take();
    } finally {
      process.kill(pid, "SIGCONT");
    }
    assert.ok(lost, "no heartbeat was missed");
    await back(c, "/topic/silent", "1");
    await c.client.deactivate();
  },
});
input.close();
