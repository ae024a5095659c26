// A client for STOMP 1.2 with bodies of JSON and the same functions as client.js. Its
// server sends each frame in a message of its own, as weft does. STOMP has no answers to
// requests: weft's are a MESSAGE for the subscription in reply-to, which comes before the
// RECEIPT. An error is the last that a server of STOMP says.
export function connect(url, { every = 10000, onmessage = () => {}, onclose = () => {}, WebSocket = globalThis.WebSocket } = {}) {
  const socket = new WebSocket(url, "v12.stomp"), asked = new Map(), handlers = new Map();
  let next = 0, heard = 0, timer;
  const put = (command, headers, body) => socket.send(encode(command, headers, body));
  const ask = (command, headers, body) => new Promise((resolve, reject) => {
    const receipt = `${headers.destination} ${++next}`;
    asked.set(receipt, { resolve, reject });
    put(command, { ...headers, receipt }, body);
  });
  const json = { "content-type": "application/json" };
  const client = {
    send: (destination, body) => put("SEND", { destination, ...json }, JSON.stringify(body)),
    request: (destination, body) => ask("SEND", { destination, ...json, "reply-to": "answers" }, JSON.stringify(body)),
    subscribe(destination, handler) {
      const id = `${++next}`;
      handlers.set(id, handler);
      ask("SUBSCRIBE", { id, destination }).catch((e) => handler(undefined, e));
      return () => handlers.delete(id) && put("UNSUBSCRIBE", { id });
    },
    close: () => put("DISCONNECT", { receipt: "bye" }),
  };
  return new Promise((resolve, reject) => {
    socket.onopen = () => put("CONNECT", { "accept-version": "1.2", host: "/", "heart-beat": `${every},${every}` });
    socket.onclose = (e) => { clearInterval(timer); asked.forEach((a) => a.reject(e)); reject(e); onclose(e); };
    socket.onmessage = ({ data }) => {
      heard = Date.now();
      if (data === "\n") return;
      const { command, headers, body } = decode(data), receipt = headers["receipt-id"], answer = asked.get(receipt);
      if (command === "MESSAGE") {
        const value = JSON.parse(body);
        if (handlers.has(headers.subscription)) handlers.get(headers.subscription)(value, headers);
        else if (answer) answer.value = value;
        else onmessage(value, headers);
        return;
      }
      asked.delete(receipt);
      if (command === "RECEIPT") return answer?.resolve(answer.value);
      if (command === "ERROR") {
        const e = { type: "error", code: body.split(":", 1)[0], message: headers.message };
        return answer ? answer.reject(e) : onmessage(undefined, e);
      }
      const [send, receive] = headers["heart-beat"].split(",").map(Number), limit = send ? 2 * Math.max(every, send) : Infinity;
      timer = setInterval(() => Date.now() - heard > limit ? socket.close(4000) : socket.send("\n"), Math.max(every, receive));
      resolve(client);
    };
  });
}

const escapes = { "\\": "\\\\", ":": "\\c", "\n": "\\n", "\r": "\\r" };
const plain = Object.fromEntries(Object.entries(escapes).map(([c, e]) => [e, c]));
const escape = (text) => text.replace(/[\\:\n\r]/g, (c) => escapes[c]);
const unescape = (text) => text.replace(/\\./g, (e) => plain[e]);

/** Makes a frame. STOMP escapes nothing in CONNECT, whose headers here have nothing to escape. */
export function encode(command, headers, body = "") {
  return `${command}\n${Object.entries(headers).map(([name, value]) => `${escape(name)}:${escape(value)}\n`).join("")}\n${body}\0`;
}

/** Reads a frame; of repeated headers the first one counts. */
export function decode(text) {
  const end = text.indexOf("\n\n");
  const [command, ...lines] = text.slice(0, end).split("\n");
  const headers = lines.reverse().map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)].map(unescape));
  return { command, headers: Object.fromEntries(headers), body: text.slice(end + 2, text.lastIndexOf("\0")) };
}
