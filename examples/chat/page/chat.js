"use strict";

// What arrives is put on the page as text, never as markup. The server holds the
// limits; those on this page only spare a person the refusal.

const byID = (id) => document.getElementById(id);
const maxLines = 300; // lines kept on the page
const firstDelay = 500; // milliseconds before the first try to connect again
const maxDelay = 15000;

let socket = null;
let name = ""; // what the person asked for
let called = ""; // what the server made of it
let people = [];
let delay = firstDelay;
let timer = 0;
let refused = false; // the server said why it won't have us: trying again won't help

function status(state, text) {
  const el = byID("status");
  el.dataset.state = state;
  el.textContent = text;
  byID("send").disabled = state !== "on";
}

function element(tag, className, text) {
  const el = document.createElement(tag);
  el.className = className;
  el.textContent = text;
  return el;
}

// The newest line stays in sight, unless the person has scrolled up to read.
let atEnd = true;
const toEnd = () => { byID("log").scrollTop = byID("log").scrollHeight; };
byID("log").addEventListener("scroll", (e) => {
  const log = e.target;
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
});
new ResizeObserver(() => { if (atEnd) toEnd(); }).observe(byID("log"));

function append(line) {
  const log = byID("log");
  const follow = atEnd;
  log.append(line);
  while (log.childElementCount > maxLines) log.firstElementChild.remove();
  if (follow) toEnd();
}

function notice(text) {
  append(element("p", "notice", text));
}

function said(m) {
  const line = element("div", m.name === called ? "message mine" : "message", "");
  const who = element("div", "who", "");
  const at = document.createElement("time");
  const when = new Date(m.at);
  at.dateTime = when.toISOString();
  at.textContent = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  who.append(element("b", "", m.name), " ", at);
  line.append(who, element("div", "what", m.text));
  append(line);
}

function showPeople() {
  byID("count").textContent = `(${people.length})`;
  byID("people").replaceChildren(
    ...people.map((p) => element("li", "", p === called ? `${p} (you)` : p)),
  );
}

const on = {
  welcome(m) {
    called = m.name;
    people = m.people;
    delay = firstDelay;
    byID("join").hidden = true;
    byID("room").hidden = false;
    byID("log").replaceChildren();
    for (const line of m.history) said(line);
    notice(`You are ${called}.`);
    showPeople();
    status("on", `connected as ${called}`);
    document.title = `${called} · weft chat`;
    byID("text").focus();
  },
  joined(m) {
    people = people.concat(m.name);
    showPeople();
    notice(`${m.name} joined.`);
  },
  left(m) {
    people = people.filter((p) => p !== m.name);
    showPeople();
    notice(`${m.name} left.`);
  },
  said,
  refused(m) {
    if (called !== "") {
      byID("say-problem").textContent = m.text;
      return;
    }
    refused = true;
    byID("join-problem").textContent = m.text;
  },
};

function connect() {
  clearTimeout(timer);
  status("wait", "connecting…");
  called = "";
  refused = false;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const s = new WebSocket(`${scheme}://${location.host}/ws`);
  socket = s;
  s.onopen = () => s.send(JSON.stringify({ type: "join", name }));
  s.onmessage = (e) => {
    const m = JSON.parse(e.data);
    if (Object.hasOwn(on, m.type)) on[m.type](m);
  };
  s.onclose = (e) => {
    if (socket !== s) return;
    socket = null;
    called = "";
    if (refused) {
      status("off", "not connected");
      byID("join").hidden = false;
      byID("room").hidden = true;
      byID("name").focus();
      return;
    }
    again(e.reason);
  };
}

// again waits longer after each failure, and never exactly as long as the other
// pages do that lost the same server.
function again(reason) {
  const wait = delay * (0.5 + Math.random() / 2);
  delay = Math.min(delay * 2, maxDelay);
  const why = reason ? ` (${reason})` : "";
  status("wait", `connection lost${why}, trying again in ${Math.max(1, Math.round(wait / 1000))} s`);
  timer = setTimeout(connect, wait);
}

window.addEventListener("online", () => {
  if (name !== "" && socket === null && !refused) connect();
});

byID("join").addEventListener("submit", (e) => {
  e.preventDefault();
  name = byID("name").value.trim();
  byID("join-problem").textContent = name === "" ? "A name needs at least one letter." : "";
  if (name === "") return;
  sessionStorage.setItem("name", name);
  connect();
});

byID("say").addEventListener("submit", (e) => {
  e.preventDefault();
  const field = byID("text");
  const text = field.value.trim();
  byID("say-problem").textContent = "";
  if (text === "" || called === "" || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ type: "say", text }));
  field.value = "";
  toEnd();
});

byID("name").value = sessionStorage.getItem("name") ?? "";
