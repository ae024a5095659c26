// sockjs-client behind a balancer that sends each request to the next of two servers, of
// which the one that owns the session is killed. The balancer answers /where with the
// server that owns the latest session, the one that the latest receive request is at, and
// how many requests and receive requests each has had; /kill kills the owner.
//
//	node sockjs_cluster.mjs http://127.0.0.1:8080 xhr-polling

import SockJS from "sockjs-client";
import { assert, run } from "./report.mjs";
import { texts } from "./sockjs_cases.mjs";

const [, , url, transport] = process.argv;
const where = async () => (await fetch(`${url}/where`)).json();

function open() {
  const sock = new SockJS(`${url}/echo`, null, { transports: [transport], timeout: 10000 });
  const got = [];
  let wake = () => {}, over;
  sock.onmessage = (e) => { got.push(e.data); wake(); };
  sock.onclose = (e) => { over = e; wake(); };
  return {
    sock,
    opened: new Promise((resolve, reject) => { sock.onopen = resolve; sock.addEventListener("close", (e) => reject(new Error(`closed with ${e.code} ${e.reason}`))); }),
    async echo(text) {
      sock.send(text);
      while (!over && got.length === 0) await new Promise((resolve) => { wake = resolve; });
      assert.ok(!over, `closed with ${over?.code} ${over?.reason}`);
      assert.equal(got.shift(), text);
    },
    async closed() {
      while (!over) await new Promise((resolve) => { wake = resolve; });
      return over;
    },
  };
}

const a = open();
let owner;
await run({
  async "messages go through both servers"() {
    await a.opened;
    assert.equal(a.sock.transport, transport);
    ({ owner } = await where());
    for (const [i, text] of [...texts, ...texts.slice(0, 5)].entries()) {
      if (i % 3 === 2) {
        await fetch(`${url}/greet`); // moves sends and polls to the other server each
      }
      await a.echo(text);
    }
    const { requests, at } = await where();
    assert.ok(Math.min(...requests) >= 10, `requests ${requests}`);
    if (transport === "xhr-polling") {
      assert.ok(Math.min(...at) >= 3, `polls ${at}`);
    }
  },
  async "the owner is killed mid-poll"() {
    for (let at = owner; at === owner || at < 0; at = (await where()).receive) {
      if (at === owner) { // what is at the owner itself would break off
        await fetch(`${url}/greet`);
        await a.echo("x".repeat(5000)); // ends a stream
      }
    }
    assert.ok((await fetch(`${url}/kill`, { method: "POST" })).ok);
    const e = await a.closed();
    assert.deepEqual([e.code, e.reason, e.wasClean], [1002, "Connection interrupted", true]);
  },
  async "a new session goes on"() {
    const b = open();
    await b.opened;
    assert.notEqual((await where()).owner, owner);
    for (const text of texts) await b.echo(text);
    b.sock.close();
    await b.closed();
  },
});
process.exit(); // for the timers that sockjs-client leaves behind
