// A client of SockJS 0.3 for text, with the interface of WebSocket. It tries one transport
// after the other, each with a session of its own, until one of them opens in time: where no
// WebSocket gets through a response that goes on, and where that is held back polls.
//
//   const socket = new SockJS("https://example.com/sockjs");
//   socket.onopen = () => console.log(socket.transport);
//
// The second argument is WebSocket's, the sub-protocols, which SockJS does not have. Options
// are what to try, and for how many milliseconds at least.

const legs = {
  websocket,
  "xhr-streaming": (...on) => requests("xhr_streaming", ...on),
  "xhr-polling": (...on) => requests("xhr", ...on),
};
const infoTime = 8000;
const mostAtOnce = 32 * 1024; // characters in one request, unless one message has more

export class SockJS extends EventTarget {
  readyState = 0;
  protocol = "";
  transport = ""; // the one that opened, or is tried
  #leg;

  constructor(url, _, { transports = Object.keys(legs), timeout = 3000 } = {}) {
    super();
    this.url = new URL(url, location.href).href;
    this.#connect(transports, timeout);
  }

  send(text) {
    if (this.readyState === 0) throw new DOMException("SockJS is still connecting", "InvalidStateError");
    if (this.readyState === 1) this.#leg.send(text);
  }

  close(code = 1000, reason = "") {
    if (this.readyState > 1) return;
    this.readyState = 2;
    this.#leg?.close();
    queueMicrotask(() => this.#over(code, reason, true));
  }

  async #connect(transports, timeout) {
    const began = performance.now();
    let info;
    try {
      info = await (await fetch(`${this.url}/info?t=${Date.now()}`, { credentials: "include", signal: AbortSignal.timeout(infoTime) })).json();
    } catch {
      return this.#over(1002, "Cannot connect to server");
    }
    const trip = performance.now() - began; // and a session takes two
    const limit = Math.max(timeout, 2 * (trip > 100 ? 4 * trip : trip + 300));
    for (const name of transports) {
      if (this.readyState > 0) return;
      if (name === "websocket" && !info.websocket) continue;
      this.transport = name;
      if (await this.#attempt(legs[name], info.base_url ?? this.url, limit)) return;
    }
    this.#over(2000, "All transports failed");
  }

  /** Resolves with whether the server said anything. */
  #attempt(start, base, limit) {
    const server = `${Math.floor(Math.random() * 1000)}`.padStart(3, "0");
    const session = crypto.getRandomValues(new Uint32Array(4)).join("");
    return new Promise((resolve) => {
      let heard = false, ended = false;
      const end = (...why) => {
        if (ended) return;
        ended = true;
        clearTimeout(timer);
        leg.close();
        if (heard) this.#over(...why);
        resolve(heard);
      };
      const lost = (code = 1006, reason = "") => end(code, reason);
      const frame = (text) => {
        if (ended || this.readyState > 1) return;
        const rest = text.slice(1);
        if (text[0] === "o") {
          if (heard) return lost(); // it is another session
          heard = true;
          clearTimeout(timer);
          this.readyState = 1;
          this.#emit("open");
          resolve(true);
        } else if (text[0] === "a") {
          for (const data of JSON.parse(rest)) if (this.readyState === 1) this.#emit("message", { data });
        } else if (text[0] === "m") {
          this.#emit("message", { data: JSON.parse(rest) });
        } else if (text[0] === "c") {
          heard = true;
          end(...JSON.parse(rest), true);
        } // else it is a heartbeat
      };
      const timer = setTimeout(() => lost(), limit);
      const leg = this.#leg = start(`${base}/${server}/${session}`, frame, lost);
    });
  }

  #over(code, reason, wasClean = false) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#emit("close", { code, reason, wasClean });
  }

  #emit(type, fields) {
    const e = Object.assign(new Event(type), fields);
    this.dispatchEvent(e);
    try { this[`on${type}`]?.(e); } catch (error) { reportError(error); }
  }
}

// What carries one session calls frame with each frame that comes, and lost when no more will,
// with the code and the reason if it knows them.

function websocket(url, frame, lost) {
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/websocket`);
  socket.onmessage = (e) => frame(e.data);
  socket.onclose = (e) => lost(e.code, e.reason);
  return { send: (text) => socket.send(JSON.stringify([text])), close: () => socket.close() };
}

function requests(path, url, frame, lost) {
  const over = new AbortController(), waiting = [];
  let sending = Promise.resolve();
  const post = async (path, status, body) => {
    const response = await fetch(`${url}/${path}`, { method: "POST", credentials: "include", signal: over.signal, body });
    if (response.status !== status) throw new Error(`status ${response.status}`);
    return response;
  };
  const receive = async () => { // a response has one frame, or many as they come
    for (let frames = 1; frames > 0;) {
      const reader = (await post(path, 200)).body.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true })).getReader();
      frames = 0;
      for (let line = "", part; !(part = await reader.read()).done;) {
        const lines = (line + part.value).split("\n");
        line = lines.pop();
        frames += lines.length;
        lines.forEach(frame);
      }
    }
  };
  const flush = async () => {
    while (waiting.length) {
      let n = 1;
      for (let size = waiting[0].length; n < waiting.length && (size += waiting[n].length) <= mostAtOnce;) n++;
      await post("xhr_send", 204, JSON.stringify(waiting.splice(0, n)));
    }
  };
  receive().finally(lost).catch(() => {});
  return {
    send(text) { // together with what else is sent now
      if (waiting.push(text) === 1) sending = sending.then(flush).catch(() => lost());
    },
    close: () => sending.finally(() => over.abort()),
  };
}
