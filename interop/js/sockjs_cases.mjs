// What sockjs-client does over one transport, in node and in browsers. Each function returns
// when it has seen everything, and throws at what it should not have seen.

const check = (ok, why) => { if (!ok) throw new Error(why); };

/** Of all kinds, 20 in number; those that the protocol escapes stand in both ways. */
export const texts = [
  "", " ", "100% %41 %E2%82%AC", "Grüße", "日本語", "\u2028\u2029", "\0", "a\0b\0", "\uffff\ufffe", "\u{1F9F5} \u{1F469}\u200D\u{1F680}",
  "\u{10ffff}", "e\u0301", "\ufeffafter a mark", "\x01\x1f\x7f\x80\x9f", "\"quoted\" \\u0000 \\", "a\nb\r\nc\t", "</script><b>&amp;</b>",
  "\u200c\u200f\u2060\u206f\ufff0\u070f\u0600\u17b4", "x".repeat(6000), "[\"a\"]",
];

/** Keeps what comes. Whoever waits for a message fails when the session ends. */
function watch(sock) {
  const got = [];
  let wake = () => {}, over;
  sock.onmessage = (e) => { got.push(e.data); wake(); };
  sock.onclose = (e) => { over = e; wake(); };
  const until = async (done) => {
    while (!done()) await new Promise((resolve) => { wake = resolve; });
  };
  const opened = new Promise((resolve) => { sock.onopen = resolve; });
  return {
    async open() {
      await Promise.race([opened, until(() => over)]);
      check(!over || sock.readyState < 2, `closed with ${over?.code} ${over?.reason}`);
    },
    async take(n) {
      await until(() => got.length >= n || over);
      check(got.length >= n, `closed with ${over?.code} ${over?.reason} after ${got.length} messages`);
      return got.splice(0, n);
    },
    async closed() {
      await until(() => over);
      return over;
    },
    rest: got,
  };
}

const make = (SockJS, url, transport, conf) => new SockJS(url, null, { transports: [transport], timeout: 10000, ...conf });

/** Each text comes back once, in order; then the client closes. */
export async function echo(SockJS, url, transport) {
  const sock = make(SockJS, url, transport);
  const w = watch(sock);
  await w.open();
  check(sock.transport === transport, `over ${sock.transport}`);
  for (const t of texts) sock.send(t); // all at once
  const all = await w.take(texts.length);
  for (const t of texts.slice(0, 5)) { // one after the other
    sock.send(t);
    all.push((await w.take(1))[0]);
  }
  const want = [...texts, ...texts.slice(0, 5)];
  want.forEach((t, i) => check(all[i] === t, `message ${i}: ${JSON.stringify(all[i])} for ${JSON.stringify(t)}`));
  sock.close(3001, "enough");
  const e = await w.closed();
  check(e.code === 3001 && e.reason === "enough" && e.wasClean, `closed with ${e.code} ${e.reason}`);
  check(w.rest.length === 0, `${w.rest.length} more messages`);
}

/** The server closes as soon as it is open. */
export async function goAway(SockJS, url, transport) {
  const e = await watch(make(SockJS, url, transport)).closed();
  check(e.code === 3000 && e.reason === "Go away!" && e.wasClean, `closed with ${e.code} ${e.reason} ${e.wasClean}`);
}

/** A message of 2^18 letters, and more in all than one response takes. */
export async function large(SockJS, url, transport) {
  const sock = make(SockJS, url, transport);
  const w = watch(sock);
  await w.open();
  for (const n of [18, 1, 16, 17]) { // all at once may be more than the server queues
    sock.send(`${n}`);
    const [got] = await w.take(1);
    check(got.length === 2 ** n, `length ${got.length}`);
  }
  sock.close();
  await w.closed();
}

/** The server speaks on its own. */
export async function ticks(SockJS, url, transport) {
  const sock = make(SockJS, url, transport);
  const got = await watch(sock).take(2);
  check(got.join() === "tick!,tick!", got.join());
  sock.close();
}

/** What either of two clients sends comes to both. */
export async function both(SockJS, url, transport) {
  const [a, b] = [make(SockJS, url, transport), make(SockJS, url, transport)];
  const [wa, wb] = [watch(a), watch(b)];
  const text = `${transport} ${Math.random()}`;
  const come = async (w, text) => { while ((await w.take(1))[0] !== text); };
  const join = async (sock, w, name) => { // open comes before the server has subscribed it
    await w.open();
    sock.send(`${text} ${name}`);
    await come(w, `${text} ${name}`);
  };
  await Promise.all([join(a, wa, "a"), join(b, wb, "b")]);
  for (const [sock, end] of [[a, "from a"], [b, "from b"]]) {
    sock.send(`${text} ${end}`);
    await Promise.all([wa, wb].map((w) => come(w, `${text} ${end}`)));
  }
  a.close();
  b.close();
  await Promise.all([wa.closed(), wb.closed()]);
}
