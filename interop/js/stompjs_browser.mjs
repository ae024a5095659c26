// Two tabs of a headless Chromium use @stomp/stompjs' own bundle against interop/server.
//
//	node stompjs_browser.mjs http://127.0.0.1:8080/stomp.html?stomp

import { launch } from "./browser.mjs";
import { assert, run } from "./report.mjs";

const url = process.argv[2];
const { browser, close } = await launch();
browser.setDefaultTimeout(15000);

const complaints = [];

async function tab() {
  const page = await browser.newPage();
  page.on("pageerror", (e) => complaints.push(e.message));
  page.on("console", (m) => complaints.push(m.text()));
  await page.goto(url);
  await page.getByRole("status").filter({ hasText: "connected" }).waitFor();
  return page;
}

/** Waits until the page's list has exactly these messages. */
async function sees(page, ...want) {
  const items = page.getByRole("list", { name: "Messages" }).getByRole("listitem");
  await items.nth(want.length - 1).waitFor();
  assert.deepEqual(await items.allTextContents(), want);
}

const [a, b] = [await tab(), await tab()];

/** Has the tab subscribe; what comes is for take. */
const subscribe = (page, destination, headers) => page.evaluate(async ([d, h]) => {
  boxes[d] = await peer.subscribe(d, h);
}, [destination, headers]);

/** Takes n messages and does something with each: ack, nack or nothing. */
const take = (page, destination, n, what) => page.evaluate(async ([d, n, what]) => {
  const got = [];
  for (const m of await boxes[d].takeAll(n)) {
    if (what) await peer.done(m[what]);
    got.push([m.body, m.headers.redelivered ?? "first"]);
  }
  return got;
}, [destination, n, what]);

const send = (page, destination, ...bodies) => page.evaluate(async ([d, bodies]) => {
  for (const body of bodies) await peer.sent(d, body);
}, [destination, bodies]);

await run({
  "each version": async () => {
    const got = await a.evaluate(async () => {
      const all = [];
      for (const v of ["1.0", "1.1", "1.2"]) {
        const c = await connect({ stompVersions: new StompJs.Versions([v]) });
        await c.alive();
        all.push([v, c.client.connectedVersion, c.connected.headers["user-name"], c.client.webSocket.protocol]);
        await c.end();
      }
      return all;
    });
    assert.deepEqual(got, ["1.0", "1.1", "1.2"].map((v) => [v, v, "guest", `v${v.replace(".", "")}.stomp`]));
  },
  "wrong credentials": async () => {
    await a.evaluate(() => {
      const c = make({ connectHeaders: { login: "guest", passcode: "wrong" } });
      c.client.activate();
      return c.fatal("unauthorized", 1008);
    });
  },
  "two tabs get each other's messages": async () => {
    await send(a, "/topic/tabs", "from a");
    for (const page of [a, b]) await sees(page, "from a");
    await send(b, "/topic/tabs", "from b: Grüße 🧵\u2028", "last");
    for (const page of [a, b]) await sees(page, "from a", "from b: Grüße 🧵\u2028", "last");
  },
  "a subscription ends": async () => {
    await b.evaluate(() => peer.done((h) => tabs.unsubscribe(h)));
    await send(a, "/topic/tabs", "for a alone");
    await sees(a, "from a", "from b: Grüße 🧵\u2028", "last", "for a alone");
    await b.evaluate(() => peer.alive());
    await sees(b, "from a", "from b: Grüße 🧵\u2028", "last");
  },
  "bytes and 1 MiB": async () => {
    await subscribe(b, "/topic/bytes");
    await a.evaluate(async () => {
      await peer.sent("/topic/bytes", Uint8Array.from({ length: 256 }, (_, i) => i));
      await peer.sent("/topic/bytes", new Uint8Array(1 << 20).fill(0xfe));
      await peer.sent("/topic/bytes", "ü".repeat(1 << 19));
    });
    const got = await b.evaluate(async () => {
      const [all, large, text] = await boxes["/topic/bytes"].takeAll(3);
      return [
        [...all.binaryBody],
        large.binaryBody.length, large.binaryBody.every((x) => x === 0xfe),
        text.body === "ü".repeat(1 << 19),
      ];
    });
    assert.deepEqual(got, [Array.from({ length: 256 }, (_, i) => i), 1 << 20, true, true]);
  },
  "headers that need escaping": async () => {
    await subscribe(b, "/topic/headers");
    const headers = { x: "a:b\nc\rd\\e", y: "Grüße 🧵", z: "" };
    await a.evaluate((h) => peer.sent("/topic/headers", "", h), headers);
    const got = await b.evaluate(async () => (await boxes["/topic/headers"].take()).headers);
    for (const [k, v] of Object.entries(headers)) assert.equal(got[k], v);
  },
  "all frames binary, and frames in pieces": async () => {
    await subscribe(b, "/topic/forms");
    await a.evaluate(async () => {
      for (const conf of [{ forceBinaryWSFrames: true }, { splitLargeFrames: true, maxWebSocketChunkSize: 3 }]) {
        const c = await connect(conf);
        const inbox = await c.subscribe("/topic/forms");
        await c.sent("/topic/forms", "Grüße");
        if ((await inbox.take()).body !== "Grüße") throw new Error("came differently");
        await c.end();
      }
    });
    assert.deepEqual(await take(b, "/topic/forms", 2), [["Grüße", "first"], ["Grüße", "first"]]);
  },
  "transactions": async () => {
    await subscribe(b, "/topic/tx");
    await a.evaluate(async () => {
      const [t, u] = [peer.client.begin(), peer.client.begin()];
      const parts = ["1", "2"].map((body) => peer.sent("/topic/tx", body, { transaction: t.id }));
      peer.send("/topic/tx", "never", { transaction: u.id });
      u.abort();
      await peer.sent("/topic/tx", "outside");
      t.commit();
      await Promise.all(parts);
    });
    assert.deepEqual(await take(b, "/topic/tx", 3), ["outside", "1", "2"].map((x) => [x, "first"]));
  },
  "acks of all kinds, and another tab gets the rest": async () => {
    for (const [ack, rest] of [["auto", []], ["client", ["3"]], ["client-individual", ["1", "3"]]]) {
      const q = `/queue/${ack}`, answer = ack === "auto" ? "" : "ack";
      await send(b, q, "1", "2", "3");
      await a.evaluate(async ([q, ack, answer]) => {
        const c = await connect();
        const inbox = await c.subscribe(q, { ack });
        const got = await inbox.takeAll(3);
        if (answer) await c.done(got[1].ack);
        await c.end();
      }, [q, ack, answer]);
      await subscribe(b, q, { ack });
      assert.deepEqual(await take(b, q, rest.length, answer), rest.map((x) => [x, "true"]), ack);
      await send(b, q, "new");
      assert.deepEqual(await take(b, q, 1, answer), [["new", "first"]]);
    }
  },
  "a nack goes to the other tab": async () => {
    const h = { ack: "client-individual", "prefetch-count": "1" };
    await subscribe(a, "/queue/nack", h);
    await send(a, "/queue/nack", "x");
    const got = a.evaluate(async () => {
      boxes.m = await boxes["/queue/nack"].take();
      return boxes.m.body;
    });
    assert.equal(await got, "x");
    await subscribe(b, "/queue/nack", h);
    await a.evaluate(() => peer.done(boxes.m.nack));
    assert.deepEqual(await take(b, "/queue/nack", 1, "ack"), [["x", "true"]]);
  },
  "a queue is shared": async () => {
    const h = { ack: "client-individual", "prefetch-count": "1" };
    for (const page of [a, b]) {
      await page.evaluate((h) => {
        boxes.work = [];
        return peer.done((r) => peer.client.subscribe("/queue/work", (m) => {
          boxes.work.push(Number(m.body));
          m.ack();
        }, { ...h, ...r }));
      }, h);
    }
    await send(a, "/queue/work", ...Array.from({ length: 30 }, (_, i) => `${i}`));
    const all = [];
    for (const page of [a, b]) {
      await page.evaluate(() => peer.alive());
      const work = await page.evaluate(() => boxes.work);
      assert.ok(work.length > 0, "one tab got nothing");
      all.push(...work);
    }
    assert.deepEqual(all.sort((x, y) => x - y), Array.from({ length: 30 }, (_, i) => i));
  },
  "errors": async () => {
    await a.evaluate(async () => {
      for (const [code, f] of [
        ["not-found", (c, h) => c.send("/nowhere", "", h)],
        ["not-found", (c, h) => c.client.subscribe("/nowhere", () => {}, h)],
        ["unknown-ack", (c, h) => c.client.ack("none", "s", h)],
        ["subscription-exists", (c, h) => {
          c.client.subscribe("/topic/one", () => {}, { id: "s" });
          c.client.subscribe("/topic/two", () => {}, { id: "s", ...h });
        }],
      ]) {
        const c = await connect();
        await c.refused(code, (h) => f(c, h));
      }
    });
  },
  "heartbeats keep a silent tab, both ways": async () => {
    const got = await a.evaluate(async () => {
      const conf = { heartbeatIncoming: 200, heartbeatOutgoing: 1000, heartbeatToleranceMultiplier: 20 };
      const all = await Promise.all(["interval", "worker"].map((heartbeatStrategy) => connect({ ...conf, heartbeatStrategy })));
      await new Promise((resolve) => { setTimeout(resolve, 2600); }); // more than twice what they have promised
      return Promise.all(all.map(async (c) => {
        const { beats } = c;
        await c.alive();
        await c.end();
        return beats;
      }));
    });
    for (const n of got) assert.ok(n >= 6, `${n} heartbeats in 2.6 s`);
  },
  "back after an ERROR": async () => {
    await a.evaluate(async () => {
      const c = make({ reconnectDelay: 50 });
      c.client.onConnect = async (frame) => {
        boxes.again = await c.subscribe("/topic/again");
        c.connects.put(frame);
      };
      await c.connect();
      c.send("/nowhere", "");
      await c.connects.take();
      await c.sent("/topic/again", "here");
      if ((await boxes.again.take()).body !== "here") throw new Error("not subscribed");
      await c.client.deactivate();
    });
  },
  "closing": async () => {
    for (const page of [a, b]) await page.evaluate(() => peer.end());
  },
  "nothing was written to the console": async () => assert.deepEqual(complaints, []),
});

await close();
