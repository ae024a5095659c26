// A browser's client for v1.json.weft, see SPEC.md. The promises reject with the
// error envelope, or with the close event of a connection that has ended.
//
//   const c = await connect("wss://example.com/ws", { header: [["authorization", "Bearer k7Rz"]] });
//   const stop = c.subscribe("/topic/rooms/blue", (body, envelope) => …);
//   c.send("/app/rooms/blue/say", { text: "hello" });
//   const time = await c.request("/app/time");
//   c.close();
//
// onmessage takes what belongs to no subscription, errors too. WebSocket is what connects,
// of a browser or with the same interface, such as a client of SockJS.
export function connect(url, { header = [], every = 10000, onmessage = () => {}, onclose = () => {}, WebSocket = globalThis.WebSocket } = {}) {
  let socket = new WebSocket(url, "v1.json.weft"), asked = new Map(), handlers = new Map(), next = 0, heard = 0, timer;
  const put = (m) => socket.send(JSON.stringify(m)), bytes = (b) => b && Uint8Array.from(atob(b), (c) => c.charCodeAt(0));
  const ask = (m) => new Promise((resolve, reject) => { asked.set(m.receipt = `${++next}`, { resolve, reject }); put(m); });
  const client = {
    send: (destination, body) => put({ type: "send", destination, body }),
    request: (destination, body) => ask({ type: "send", destination, body }),
    subscribe: (destination, handler) => { // an error of the subscription comes as (undefined, envelope)
      const subscription = `${++next}`;
      handlers.set(subscription, handler);
      ask({ type: "subscribe", subscription, destination }).then((b) => b === undefined || handler(b, {}), (e) => handler(undefined, e));
      return () => handlers.delete(subscription) && put({ type: "unsubscribe", subscription });
    },
    close: () => put({ type: "disconnect" }),
  };
  return new Promise((resolve, reject) => {
    socket.onopen = () => put({ type: "connect", heartbeat: [every, every], header });
    socket.onclose = (e) => { clearInterval(timer); asked.forEach((a) => a.reject(e)); reject(e); onclose(e); };
    socket.onmessage = ({ data }) => {
      const m = JSON.parse(data), answer = asked.get(m.receipt), body = "body" in m ? m.body : m.text ?? bytes(m.base64);
      heard = Date.now(), asked.delete(m.receipt);
      if (answer) return m.type === "error" ? answer.reject(m) : answer.resolve(body);
      if (m.type === "heartbeat") return m.answer && put({ type: "heartbeat" });
      if (m.type !== "connected") return (handlers.get(m.subscription) ?? onmessage)(body, m);
      const [send, receive] = m.heartbeat ?? [0, 0], limit = send ? 2 * Math.max(every, send) : Infinity;
      timer ??= setInterval(() => Date.now() - heard > limit ? socket.close(4000) : put({ type: "heartbeat" }), Math.max(every, receive));
      resolve(client);
    };
  });
}
