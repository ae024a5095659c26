// A client without envelopes, with the same functions as client.js: what it says are
// lines of text, what it hears are bodies alone, so that it goes by their type. A
// request is for destinations that answer; errors name the destination.

const events = ["said", "joined", "left"];

export function connect(url, { onmessage = () => {}, onclose = () => {}, WebSocket = globalThis.WebSocket } = {}) {
  const socket = new WebSocket(url);
  const asked = []; // in the order in which they are answered
  let topic = () => {};
  const line = (kind, destination, body = {}) => socket.send(`${kind} ${destination} ${JSON.stringify(body)}`);
  const ask = (kind, destination, body) => new Promise((resolve, reject) => {
    asked.push({ destination, resolve, reject });
    line(kind, destination, body);
  });
  const client = {
    send: (destination, body) => line("SEND", destination, body),
    request: (destination, body) => ask("SEND", destination, body),
    subscribe(destination, handler) {
      if (destination.startsWith("/topic/")) {
        topic = handler;
        line("SUBSCRIBE", destination);
      } else {
        ask("SUBSCRIBE", destination).then((b) => handler(b, {}), (e) => handler(undefined, e));
      }
      return () => line("UNSUBSCRIBE", destination);
    },
    close: () => socket.close(1000),
  };
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(client);
    socket.onclose = (e) => { asked.forEach((a) => a.reject(e)); reject(e); onclose(e); };
    socket.onmessage = ({ data }) => {
      const m = JSON.parse(data);
      if (events.includes(m.type)) return topic(m, {});
      if (m.type !== "error") return asked.shift()?.resolve(m);
      if (m.to.startsWith("/topic/")) return topic(undefined, m);
      return asked[0]?.destination === m.to ? asked.shift().reject(m) : onmessage(undefined, m);
    };
  });
}
