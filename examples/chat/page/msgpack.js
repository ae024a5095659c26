// A client for v1.msgpack.weft, with the same functions as client.js and as much of
// msgpack as this page needs.

export function connect(url, { every = 10000, onmessage = () => {}, onclose = () => {}, WebSocket = globalThis.WebSocket } = {}) {
  const socket = new WebSocket(url, "v1.msgpack.weft"), asked = new Map(), handlers = new Map();
  let next = 0, heard = 0, timer;
  const put = (m) => socket.send(encode("body" in m ? { ...m, body: encode(m.body) } : m));
  const ask = (m) => new Promise((resolve, reject) => { asked.set(m.receipt = `${++next}`, { resolve, reject }); put(m); });
  const client = {
    send: (destination, body) => put({ type: "send", destination, body }),
    request: (destination, body) => ask({ type: "send", destination, body }),
    subscribe(destination, handler) {
      const subscription = `${++next}`;
      handlers.set(subscription, handler);
      ask({ type: "subscribe", subscription, destination }).then((b) => b === undefined || handler(b, {}), (e) => handler(undefined, e));
      return () => handlers.delete(subscription) && put({ type: "unsubscribe", subscription });
    },
    close: () => put({ type: "disconnect" }),
  };
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onopen = () => put({ type: "connect", heartbeat: [every, every] });
    socket.onclose = (e) => { clearInterval(timer); asked.forEach((a) => a.reject(e)); reject(e); onclose(e); };
    socket.onmessage = ({ data }) => {
      const m = decode(data), answer = asked.get(m.receipt), body = m.body ? decode(m.body) : undefined;
      heard = Date.now();
      asked.delete(m.receipt);
      if (answer) return m.type === "error" ? answer.reject(m) : answer.resolve(body);
      if (m.type === "heartbeat") return m.answer && put({ type: "heartbeat" });
      if (m.type !== "connected") return (handlers.get(m.subscription) ?? onmessage)(body, m);
      const [send, receive] = m.heartbeat ?? [0, 0], limit = send ? 2 * Math.max(every, send) : Infinity;
      timer ??= setInterval(() => Date.now() - heard > limit ? socket.close(4000) : put({ type: "heartbeat" }), Math.max(every, receive));
      resolve(client);
    };
  });
}

/** Encodes null, booleans, whole numbers of up to 32 bits, strings, bytes, arrays and objects. */
export function encode(value) {
  const out = [];
  write(out, value);
  return Uint8Array.from(out);
}

function write(out, v) {
  const big = (bytes, n) => { for (let shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push((n >>> shift) & 0xff); };
  const head = (n, small, most, [one, two, four]) => {
    if (n <= most) out.push(small | n);
    else if (one && n < 0x100) out.push(one), big(1, n);
    else if (n < 0x10000) out.push(two), big(2, n);
    else out.push(four), big(4, n);
  };
  if (v === null || v === undefined) out.push(0xc0);
  else if (typeof v === "boolean") out.push(v ? 0xc3 : 0xc2);
  else if (typeof v === "number") {
    if (!Number.isInteger(v) || v < -0x80000000 || v > 0xffffffff) throw new RangeError(`no whole number of 32 bits: ${v}`);
    if (v >= 0) head(v, 0, 0x7f, [0xcc, 0xcd, 0xce]);
    else out.push(0xd2), big(4, v);
  } else if (typeof v === "string") {
    const bytes = new TextEncoder().encode(v);
    head(bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    out.push(...bytes);
  } else if (v instanceof Uint8Array) {
    head(v.length, 0, -1, [0xc4, 0xc5, 0xc6]);
    out.push(...v);
  } else if (Array.isArray(v)) {
    head(v.length, 0x90, 15, [0, 0xdc, 0xdd]);
    for (const item of v) write(out, item);
  } else {
    const pairs = Object.entries(v).filter(([, item]) => item !== undefined);
    head(pairs.length, 0x80, 15, [0, 0xde, 0xdf]);
    for (const [key, item] of pairs) write(out, key), write(out, item);
  }
}

/** Decodes one value; of msgpack it lacks only extensions. */
export function decode(data) {
  const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let at = 0;
  const whole = (n) => { at += n; return { 1: "getUint8", 2: "getUint16", 4: "getUint32" }[n]; };
  const uint = (n) => { const get = whole(n); return view[get](at - n); };
  const raw = (n) => { at += n; if (at > bytes.length) throw new RangeError("cut off"); return bytes.slice(at - n, at); };
  const text = (n) => utf8.decode(raw(n));
  const list = (n) => Array.from({ length: n }, read);
  const map = (n) => Object.fromEntries(Array.from({ length: n }, () => [read(), read()]));
  function read() {
    const b = uint(1);
    if (b < 0x80) return b;
    if (b < 0x90) return map(b & 15);
    if (b < 0xa0) return list(b & 15);
    if (b < 0xc0) return text(b & 31);
    if (b >= 0xe0) return b - 0x100;
    switch (b) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return raw(uint(1 << (b - 0xc4)));
      case 0xca: return at += 4, view.getFloat32(at - 4);
      case 0xcb: return at += 8, view.getFloat64(at - 8);
      case 0xcc: case 0xcd: case 0xce: return uint(1 << (b - 0xcc));
      case 0xcf: return at += 8, Number(view.getBigUint64(at - 8));
      case 0xd0: return at += 1, view.getInt8(at - 1);
      case 0xd1: return at += 2, view.getInt16(at - 2);
      case 0xd2: return at += 4, view.getInt32(at - 4);
      case 0xd3: return at += 8, Number(view.getBigInt64(at - 8));
      case 0xd9: case 0xda: case 0xdb: return text(uint(1 << (b - 0xd9)));
      case 0xdc: case 0xdd: return list(uint(b === 0xdc ? 2 : 4));
      case 0xde: case 0xdf: return map(uint(b === 0xde ? 2 : 4));
    }
    throw new TypeError(`no value begins with 0x${b.toString(16)}`);
  }
  const value = read();
  if (at !== bytes.length) throw new RangeError("bytes behind the value");
  return value;
}
