// The server holds the limits; those on this page only spare a person the refusal.

import * as json from "./client.js";
import * as lines from "./lines.js";
import * as msgpack from "./msgpack.js";
import { element, follow } from "./show.js";
import { SockJS } from "./sockjs.js";
import * as stomp from "./stomp.js";
import { tap } from "./tap.js";

const byID = (id) => document.getElementById(id);
const clients = { json, msgpack, raw: lines, stomp };
const opened = (transport) => { byID("transport").textContent = transport; };
const sockets = { websocket: tap(WebSocket, opened), sockjs: tap(SockJS, opened) };
const maxLines = 300; // lines kept on the page
const maxTimes = 20; // round trips in the graph
const firstDelay = 500; // milliseconds before the first try to connect again
const maxDelay = 15000;
const pingEvery = 3000;

let stacks = [];
let chosen = null; // what the form says: { name, room, stack }
let link = null; // the client of the connection, once it is in the room
let attempt = 0; // counts connections, so that an old one can be told
let called = ""; // what the server made of the name
let people = [];
let seq = -1; // of the last event that is on the page, -1 before the room is
let early = []; // events that came before the room did
let times = [];
let delay = firstDelay;
let timer = 0;

function status(state, text) {
  byID("status").dataset.state = state;
  byID("status").textContent = text;
  const on = state === "on";
  byID("send").disabled = !on;
  for (const b of document.querySelectorAll("[data-wrong]")) b.disabled = !on;
  byID("link").textContent = on ? "Disconnect" : "Reconnect";
}

// The log.

const keepInSight = follow(byID("log"));

function append(line, always) {
  const log = byID("log");
  keepInSight(() => {
    log.append(line);
    while (log.childElementCount > maxLines) log.firstElementChild.remove();
  }, always);
}

const notice = (text) => append(element("p", "notice", text));

function said(m) {
  const mine = m.name === called;
  const line = element("div", mine ? "message mine" : "message");
  const who = element("div", "who");
  const when = new Date(m.at);
  const at = element("time", "", when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  at.dateTime = when.toISOString();
  who.append(element("b", "", m.name), " ", element("span", "via", m.via), " ", at);
  line.append(who, element("div", "what", m.text));
  append(line, mine);
}

function showPeople() {
  byID("count").textContent = `(${people.length})`;
  byID("people").replaceChildren(...people.map((p) => {
    const li = element("li");
    const who = element("span", "", p.name === called ? `${p.name} (you)` : p.name);
    li.append(who, " ", element("span", "via", p.via));
    return li;
  }));
}

const problem = (e) => { byID("say-problem").textContent = e.code ? `${e.message} (${e.code})` : "The connection was lost before there was an answer."; };

// The room. What happened in it is numbered, and the answer of /members says up to
// which event it goes, so that nothing is missed and nothing shown twice.

const on = {
  said,
  joined(m) {
    people = people.concat({ name: m.name, via: m.via });
    showPeople();
    notice(`${m.name} joined.`);
  },
  left(m) {
    people = people.filter((p) => p.name !== m.name);
    showPeople();
    notice(`${m.name} left.`);
  },
};

function happened(m) {
  if (seq < 0) early.push(m);
  else if (m.seq > seq) {
    seq = m.seq;
    if (Object.hasOwn(on, m.type)) on[m.type](m);
  }
}

function enter(m) {
  byID("log").replaceChildren();
  people = m.people;
  showPeople();
  for (const line of m.lines ?? []) said(line);
  notice(`You are ${called}.`);
  seq = m.seq;
  early.forEach(happened);
  early = [];
}

async function connect() {
  clearTimeout(timer);
  const mine = ++attempt;
  const current = () => mine === attempt;
  status("wait", "connecting…");
  const { client, socket, path } = chosen.stack;
  const origin = socket === "websocket" ? location.origin.replace("http", "ws") : location.origin;
  let c;
  try {
    c = await clients[client].connect(origin + path, {
      WebSocket: sockets[socket],
      onmessage: (_, m) => { if (current() && m.type === "error") problem(m); },
      onclose: (e) => { if (current()) lost(e); },
    });
  } catch {
    return; // onclose was called
  }
  if (!current()) return c.close();
  try {
    const me = await c.request("/app/name", { name: chosen.name });
    if (!current()) return;
    called = me.name;
    seq = -1;
    early = [];
    const topic = `/topic/rooms/${chosen.room}`;
    await new Promise((resolve, reject) => {
      c.subscribe(topic, (m, e) => (m === undefined ? reject(e) : current() && happened(m)));
      c.subscribe(`/app/rooms/${chosen.room}/members`, (m, e) => {
        if (m === undefined) return reject(e);
        if (current()) enter(m);
        resolve();
      });
    });
  } catch (e) {
    if (!current() || !e.code || !e.type || e.type !== "error") return; // onclose was called
    refused(c, e);
    return;
  }
  if (!current()) return;
  link = c;
  delay = firstDelay;
  byID("join").hidden = true;
  byID("chat").hidden = byID("facts").hidden = byID("actions").hidden = false;
  byID("endpoint").textContent = chosen.stack.name;
  byID("room-name").textContent = chosen.room;
  status("on", `connected as ${called}`);
  document.title = `${called} · weft chat`;
  byID("text").focus();
  ping();
}

/** The server said why it won't have us: trying again won't help. */
function refused(c, e) {
  attempt++;
  c.close();
  picker();
  byID("join-problem").textContent = e.message;
}

/** Tries again later, after a longer time for each failure, and never after exactly
 * as long as the other pages do that lost the same server. */
function lost(e) {
  link = null;
  const wait = delay * (0.5 + Math.random() / 2);
  delay = Math.min(delay * 2, maxDelay);
  const why = e.reason ? ` (${e.reason})` : "";
  status("wait", `connection lost${why}, trying again in ${Math.max(1, Math.round(wait / 1000))} s`);
  timer = setTimeout(connect, wait);
}

function end() {
  attempt++;
  clearTimeout(timer);
  link?.close();
  link = null;
}

function picker() {
  byID("chat").hidden = byID("facts").hidden = byID("actions").hidden = true;
  byID("join").hidden = false;
  status("off", "not connected");
  document.title = "weft chat";
  byID("name").focus();
}

window.addEventListener("online", () => {
  if (chosen && !link && byID("status").dataset.state === "wait") connect();
});

// Round trips.

async function ping() {
  if (!link || document.hidden) return;
  const asked = performance.now();
  try {
    await link.request("/app/ping", {});
  } catch {
    return; // too many messages, or the connection is lost: there is a next time
  }
  times = times.concat(performance.now() - asked).slice(-maxTimes);
  byID("rtt").textContent = `${times.at(-1).toFixed(1)} ms`;
  const top = Math.max(...times, 1);
  const points = times.map((t, i) => `${(i * 60) / (maxTimes - 1)},${15 - (14 * t) / top}`);
  byID("graph").firstElementChild.setAttribute("points", points.join(" "));
}

setInterval(ping, pingEvery);
document.addEventListener("visibilitychange", ping);

// What a person does.

function say(body) {
  const destination = `/app/rooms/${chosen.room}/say`;
  byID("say-problem").textContent = "";
  if (chosen.stack.client === "raw") link.send(destination, body); // there are no receipts
  else link.request(destination, body).catch(problem);
}

byID("say").addEventListener("submit", (e) => {
  e.preventDefault();
  if (!link) return;
  say({ text: byID("text").value });
  byID("text").value = "";
});

byID("text").addEventListener("input", () => { byID("say-problem").textContent = ""; });

const wrong = {
  empty: () => say({ text: "" }),
  type: () => say({ text: 7 }),
  nowhere: () => link.request("/app/nowhere", {}).catch(problem),
};
for (const b of document.querySelectorAll("[data-wrong]")) {
  b.addEventListener("click", () => { if (link) wrong[b.dataset.wrong](); });
}

byID("link").addEventListener("click", () => {
  const was = link;
  end();
  if (was) status("off", "disconnected");
  else connect();
});

byID("leave").addEventListener("click", () => {
  end();
  picker();
});

byID("join").addEventListener("submit", (e) => {
  e.preventDefault();
  const form = new FormData(e.target);
  chosen = {
    name: form.get("name").trim(),
    room: form.get("room"),
    stack: stacks.find((s) => s.name === form.get("stack")),
  };
  byID("join-problem").textContent = byID("say-problem").textContent = "";
  sessionStorage.setItem("chosen", JSON.stringify(chosen));
  times = [];
  delay = firstDelay;
  end();
  connect();
});

async function start() {
  stacks = await (await fetch("stacks.json")).json();
  const last = JSON.parse(sessionStorage.getItem("chosen") ?? "{}");
  byID("stacks").replaceChildren(...stacks.map((s, i) => {
    const label = element("label");
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "stack", value: s.name, required: true });
    radio.checked = last.stack ? s.name === last.stack.name : i === 0;
    const words = element("span", "words");
    words.append(element("b", "", s.title), element("code", "", s.path));
    label.append(radio, words);
    return label;
  }));
  if (last.name) byID("name").value = last.name;
  if (last.room) byID("room").value = last.room;
  status("off", "not connected");
}

start();
