// Shows what passes through a WebSocket, or through what has its interface.

import { element, follow } from "./show.js";

const byID = (id) => document.getElementById(id);
const maxFrames = 100; // kept on the page
const maxShown = 600; // characters or bytes of one frame

let seen = 0;
let paused = false;

const keepInSight = follow(byID("frames"));

function bytesOf(data) {
  return typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
}

function hex(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
}

function ascii(bytes) {
  return Array.from(bytes, (b) => (b > 0x20 && b < 0x7f ? String.fromCharCode(b) : "·")).join("");
}

/** A ping, its answer, or a heartbeat. STOMP's is a line without anything in it. */
const isPing = (bytes) => /^SEND.\/app\/ping|(destination|receipt-id)\W+app\/ping|type\W+(pong|heartbeat)|^·$/.test(ascii(bytes));

function show(direction, data) {
  seen++;
  byID("frames-count").textContent = `(${seen})`;
  if (paused) return;
  const bytes = bytesOf(data);
  const binary = typeof data !== "string";
  const item = element("li", `frame ${direction}${isPing(bytes) ? " ping" : ""}`);
  const head = element("div", "head");
  const arrow = element("span", "arrow", direction === "out" ? "↑" : "↓");
  arrow.setAttribute("aria-hidden", "true");
  const what = `${direction === "out" ? "sent" : "received"} · ${binary ? "binary" : "text"} · ${bytes.length} B`;
  head.append(arrow, element("span", "", what), element("time", "", new Date().toLocaleTimeString([], { hour12: false })));
  const more = (n) => (n > maxShown ? " …" : "");
  item.append(head);
  if (binary) {
    const part = bytes.subarray(0, maxShown);
    item.append(element("code", "", hex(part) + more(bytes.length)), element("code", "ascii", ascii(part)));
  } else {
    item.append(element("code", "", data.slice(0, maxShown).replaceAll("\0", "^@") + more(data.length)));
  }
  add(item);
}

/** Says what happened to the connection itself. */
function note(text) {
  add(element("li", "note", text));
}

function add(item) {
  const list = byID("frames");
  keepInSight(() => {
    list.append(item);
    while (list.childElementCount > maxFrames) list.firstElementChild.remove();
  });
}

/** Makes a class like Socket. onopen gets the name of the transport. */
export const tap = (Socket, onopen) => class extends Socket {
  constructor(url, protocols) {
    super(url, protocols);
    this.binaryType = "arraybuffer";
    this.addEventListener("open", () => {
      onopen(this.transport ?? "websocket");
      note(["open " + new URL(url).pathname, this.transport, this.protocol].filter(Boolean).join(", "));
    });
    this.addEventListener("message", (e) => show("in", e.data));
    this.addEventListener("close", (e) => note(`closed ${e.code}${e.reason && `, ${e.reason}`}`));
  }

  send(data) {
    show("out", data);
    super.send(data);
  }
};

byID("frames-toggle").addEventListener("click", (e) => open(e.currentTarget.getAttribute("aria-expanded") !== "true"));

function open(yes) {
  byID("frames-toggle").setAttribute("aria-expanded", yes);
  byID("frames-body").hidden = !yes;
}

open(matchMedia("(min-width: 64rem)").matches);

byID("pings").addEventListener("change", (e) => byID("frames").classList.toggle("pings", e.target.checked));
byID("clear").addEventListener("click", () => byID("frames").replaceChildren());
byID("pause").addEventListener("click", (e) => {
  paused = !paused;
  e.currentTarget.setAttribute("aria-pressed", paused);
  e.currentTarget.textContent = paused ? "Go on" : "Pause";
});
