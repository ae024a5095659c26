// Texts that came from clients are shown with textContent alone, and the server has
// made visible what in them is not.
const token = document.querySelector("meta[name=token]").content;
const $ = (id) => document.getElementById(id);
const span = 120; // seconds that the charts show
const maxFrames = 200;
const period = 2000; // milliseconds between listings

/** Asks the server. What it refuses is an Error with its text. */
async function ask(path, init = {}) {
  const r = await fetch(path, { ...init, headers: { "X-Weft-Inspect": token, ...init.headers } });
  if (!r.ok) throw Object.assign(new Error((await r.text()).trim() || `status ${r.status}`), { status: r.status });
  return r;
}

/** Calls each with the lines of an answer that has no end. */
async function follow(path, signal, each) {
  const r = await ask(path, { signal });
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const l of lines) if (l) each(JSON.parse(l));
  }
}

function element(name, text, props = {}) {
  const e = Object.assign(document.createElement(name), props);
  if (text !== undefined) e.textContent = text;
  return e;
}

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const round = (n) => n.toLocaleString("en", { maximumFractionDigits: n < 10 ? 1 : 0 });

function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1000 || unit === "GiB") return `${round(n)} ${unit}`;
    n /= 1024;
  }
}

// The charts

const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
const samples = []; // {time, endpoints by name}

const charts = [
  { title: "Sessions", of: (e) => e.sessions, show: round },
  { title: "Messages in / s", of: (e) => e.messagesIn, rate: true, show: round, hue: "in" },
  { title: "Messages out / s", of: (e) => e.messagesOut, rate: true, show: round, hue: "out" },
  { title: "Bytes in / s", of: (e) => e.bytesIn, rate: true, show: bytes, hue: "in" },
  { title: "Bytes out / s", of: (e) => e.bytesOut, rate: true, show: bytes, hue: "out" },
  { title: "Queued", of: (e) => e.queuedBytes, show: bytes },
  { title: "Dropped / s", of: (e) => e.dropped, rate: true, show: round, hue: "bad" },
  { title: "Errors / s", of: (e) => e.errors + e.refused, rate: true, show: round, hue: "bad" },
];

for (const c of charts) {
  const box = element("div", undefined, { className: "chart" });
  if (c.hue) box.dataset.hue = c.hue;
  c.value = element("output", "–");
  c.picture = svg("svg");
  c.picture.setAttribute("viewBox", `0 0 ${span} 34`);
  c.picture.setAttribute("preserveAspectRatio", "none");
  c.picture.setAttribute("role", "img");
  c.area = svg("polygon");
  c.line = svg("polyline");
  c.area.classList.add("area");
  c.line.classList.add("line");
  c.picture.append(c.area, c.line);
  box.append(element("h2", c.title), c.value, c.picture);
  $("charts").append(box);
}

function total(sample, of) {
  const chosen = $("endpoint").value;
  return sample.endpoints.reduce((sum, e) => (chosen && e.name !== chosen ? sum : sum + of(e)), 0);
}

function draw() {
  if (samples.length === 0) return;
  const now = samples.at(-1).time;
  for (const c of charts) {
    const points = [];
    for (let i = c.rate ? 1 : 0; i < samples.length; i++) {
      const s = samples[i];
      let v = total(s, c.of);
      if (c.rate) v = Math.max(0, v - total(samples[i - 1], c.of)) / ((s.time - samples[i - 1].time) / 1000);
      points.push([span - (now - s.time) / 1000, v]);
    }
    if (points.length === 0) continue;
    const top = Math.max(1, ...points.map((p) => p[1]));
    const at = points.map(([x, v]) => `${x.toFixed(1)},${(32 - (30 * v) / top).toFixed(1)}`);
    c.line.setAttribute("points", at.join(" "));
    c.area.setAttribute("points", `${points[0][0].toFixed(1)},34 ${at.join(" ")} ${span},34`);
    const last = c.show(points.at(-1)[1]);
    c.value.textContent = last;
    c.picture.setAttribute("aria-label", `${c.title}: ${last} now, ${c.show(Math.max(...points.map((p) => p[1])))} at most`);
  }
}

function addSample(s) {
  if (samples.length > 0 && s.time <= samples.at(-1).time) return;
  samples.push(s);
  while (samples[0].time < s.time - span * 1000) samples.shift();
  const known = new Set([...$("endpoint").options].map((o) => o.value));
  for (const e of s.endpoints) if (!known.has(e.name)) $("endpoint").append(element("option", e.name, { value: e.name }));
  draw();
}

function say(state, text) {
  $("status").dataset.state = state;
  if ($("status").textContent !== text) $("status").textContent = text;
}

async function watchFigures() {
  for (;;) {
    try {
      await follow("figures", undefined, (s) => { say("on", "live"); addSample(s); });
      say("off", "the server has ended");
    } catch (e) {
      say("off", e.status ? e.message : "the server can't be reached");
    }
    await wait(period);
  }
}

// The sessions

const columns = [
  { key: "user", title: "User" },
  { key: "endpoint", title: "Endpoint" },
  { key: "subProtocol", title: "Sub-protocol" },
  { key: "path", title: "Path" },
  { key: "queued", title: "Queued", number: true },
  { key: "roundTrip", title: "Round trip", number: true },
  { key: "subscriptions", title: "Sub\u00adscriptions", number: true },
];
let sorted = { key: "queued", down: true };
let chosen = null; // {endpoint, id}
let asked = 0; // listings, so that a late one is not shown

const name = (s) => s.user || "nobody in particular";
const trip = (ms) => (ms > 0 ? `${ms < 1 ? ms.toFixed(2) : round(ms)} ms` : "–");

for (const c of columns) {
  const th = element("th", undefined, { scope: "col", className: c.number ? "number" : "" });
  th.setAttribute("role", "columnheader");
  const b = element("button", c.title, { type: "button" });
  b.addEventListener("click", () => {
    sorted = { key: c.key, down: sorted.key === c.key ? !sorted.down : Boolean(c.number) };
    order();
    list();
  });
  th.append(b);
  c.head = th;
  $("columns").append(th);
}
{
  const th = element("th", "", { className: "doing" });
  th.setAttribute("role", "columnheader");
  th.ariaLabel = "Watch";
  $("columns").append(th);
}

function order() {
  for (const c of columns) {
    if (c.key === sorted.key) c.head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    else c.head.removeAttribute("aria-sort");
  }
}

function cell(column, text, small) {
  const td = element("td", text, { className: column.number ? "number" : "", title: small ? `${text}\n${small}` : text });
  td.setAttribute("role", "cell");
  td.dataset.label = column.title;
  if (small) td.append(element("small", small));
  return td;
}

const cells = {
  user: (s) => [name(s), s.id],
  endpoint: (s) => [s.endpoint, s.transport],
  subProtocol: (s) => [s.subProtocol || "none"],
  path: (s) => [s.path, s.remote],
  queued: (s) => (s.queued ? [bytes(s.queuedBytes), `${round(s.queued)} msg`] : ["0"]),
  roundTrip: (s) => [trip(s.roundTrip)],
  subscriptions: (s) => [round(s.subscriptions)],
};

const rows = new Map(); // by endpoint and id, so that a focused button outlives a listing

function fill(tr, s) {
  const fresh = columns.map((c) => cell(c, ...cells[c.key](s)));
  const old = [...tr.children].slice(0, columns.length);
  fresh.forEach((td, i) => {
    if (!old[i]) tr.append(td);
    else if (!old[i].isEqualNode(td)) old[i].replaceWith(td);
  });
  if (tr.children.length === columns.length) {
    const td = element("td", undefined, { className: "doing" });
    td.setAttribute("role", "cell");
    const b = element("button", "Watch", { type: "button", className: "plain" });
    b.addEventListener("click", () => choose({ endpoint: s.endpoint, id: s.id }));
    td.append(b);
    tr.append(td);
  }
  tr.querySelector("button").ariaLabel = `Watch ${name(s)}, ${s.id}`;
}

const keyOf = (s) => JSON.stringify([s.endpoint, s.id]);

function mark() {
  for (const [k, tr] of rows) tr.classList.toggle("chosen", chosen !== null && k === keyOf(chosen));
}

async function list() {
  const mine = ++asked;
  const q = new URLSearchParams({ sort: sorted.key, endpoint: $("endpoint").value, q: $("search").value.trim() });
  if (sorted.down) q.set("desc", "1");
  try {
    const l = await (await ask(`sessions?${q}`)).json();
    if (mine !== asked) return;
    const seen = new Set();
    for (const s of l.rows) {
      const k = keyOf(s);
      seen.add(k);
      let tr = rows.get(k);
      if (!tr) {
        tr = element("tr");
        tr.setAttribute("role", "row");
        rows.set(k, tr);
      }
      fill(tr, s);
      if ($("rows").children[seen.size - 1] !== tr) $("rows").insertBefore(tr, $("rows").children[seen.size - 1] ?? null);
    }
    for (const [k, tr] of rows) {
      if (!seen.has(k)) {
        tr.remove();
        rows.delete(k);
      }
    }
    mark();
    $("empty").hidden = l.rows.length > 0;
    const of = l.matches === l.total ? round(l.total) : `${round(l.matches)} found, of ${round(l.total)}`;
    $("count").textContent = (l.rows.length < l.matches ? `the first ${l.rows.length}, of ` : "") + of +
      (l.partial ? "; there are too many to look at all in time" : "");
    $("sessions-problem").textContent = "";
  } catch (e) {
    if (mine === asked && e.status) $("sessions-problem").textContent = e.message;
  }
}

// One session

let watching = null; // an AbortController
let held = false;

async function describe() {
  if (!chosen) return;
  const one = chosen;
  const q = new URLSearchParams(one);
  try {
    const s = await (await ask(`session?${q}`)).json();
    if (chosen !== one) return;
    $("detail-title").textContent = name(s);
    const facts = [
      ["Session", s.id], ["Endpoint", s.endpoint], ["Transport", s.transport], ["Sub-protocol", s.subProtocol || "none"], ["Path", s.path],
      ["Address", s.remote || "–"], ["Queued", s.queued ? `${bytes(s.queuedBytes)} in ${round(s.queued)}` : "0"], ["Round trip", trip(s.roundTrip)],
    ];
    $("facts").replaceChildren(...facts.map(([k, v]) => {
      const d = element("div");
      d.append(element("dt", k), element("dd", v));
      return d;
    }));
    const subs = s.subscribed.map((x) => element("li", x.ack && x.ack !== "auto" ? `${x.destination} · ${x.ack}` : x.destination, { title: x.id }));
    if (s.subscriptions > subs.length) subs.push(element("li", `and ${round(s.subscriptions - subs.length)} more`, { className: "none" }));
    if (subs.length === 0) subs.push(element("li", "none", { className: "none" }));
    $("subscriptions").replaceChildren(...subs);
    $("ask").disabled = false;
    $("detail-problem").textContent = "";
  } catch (e) {
    if (chosen !== one || !e.status) return;
    $("detail-problem").textContent = e.message;
    if (e.status === 404) $("ask").disabled = true;
  }
}

let fresh = []; // what is shown with the next picture

function addFrame(li) {
  if (fresh.length === 0) requestAnimationFrame(showFresh);
  fresh.push(li);
  if (fresh.length > maxFrames) fresh.shift();
}

function showFresh() {
  const box = $("frames");
  const end = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(...fresh);
  fresh = [];
  while (box.children.length > maxFrames) box.firstChild.remove();
  if (end) box.scrollTop = box.scrollHeight;
}

function clear() {
  fresh = [];
  $("frames").replaceChildren();
}

function note(text, className = "") {
  addFrame(element("li", text, { className }));
}

function showFrame(f) {
  if (f.end) return note(f.end, "end");
  if (f.missed) return note(`${round(f.missed)} frames passed faster than they could be shown`);
  if (held) return undefined;
  const li = element("li", undefined, { className: f.out ? "out" : "in" });
  const head = element("p");
  const at = new Date(f.time);
  head.append(
    element("b", f.out ? "out" : "in"),
    element("time", at.toLocaleTimeString("en-GB") + "." + String(at.getMilliseconds()).padStart(3, "0"), { dateTime: at.toISOString() }),
    element("span", `${f.type}, ${bytes(f.size ?? 0)}`),
  );
  if (f.format) head.append(element("span", f.format));
  if (f.masked) head.append(element("span", `${f.masked} masked`, { className: "masked" }));
  li.append(head, element("pre", f.text ?? ""));
  return addFrame(li);
}

async function watchFrames(one, signal) {
  $("frames-state").textContent = "as they pass";
  try {
    await follow(`frames?${new URLSearchParams(one)}`, signal, showFrame);
    $("frames-state").textContent = "ended";
  } catch (e) {
    if (signal.aborted) return;
    $("frames-state").textContent = e.status ? e.message : "the server can't be reached";
  }
}

function choose(one) {
  watching?.abort();
  chosen = one;
  $("detail").hidden = !one;
  $("main").classList.toggle("two", Boolean(one));
  clear();
  $("facts").replaceChildren();
  $("subscriptions").replaceChildren();
  $("detail-problem").textContent = "";
  $("detail-title").textContent = "…";
  hold(false);
  mark();
  if (!one) return;
  watching = new AbortController();
  describe();
  watchFrames(one, watching.signal);
  $("detail-title").focus();
}

function hold(on) {
  held = on;
  $("hold").ariaPressed = String(on);
}

$("hold").addEventListener("click", () => hold(!held));
$("clear").addEventListener("click", clear);
$("done").addEventListener("click", () => choose(null));
$("endpoint").addEventListener("change", () => { draw(); list(); });
let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(list, 200);
});

let doomed = null;
$("ask").addEventListener("click", () => {
  doomed = chosen;
  $("closing-who").textContent = `${$("detail-title").textContent}, ${chosen.id}`;
  $("closing-problem").textContent = "";
  $("closing").showModal();
});
$("cancel").addEventListener("click", () => $("closing").close());
$("closing-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const body = JSON.stringify({ ...doomed, code: Number($("code").value), reason: $("reason").value });
    await ask("close", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    $("closing").close();
    list();
  } catch (e) {
    $("closing-problem").textContent = e.message;
  }
});

order();
watchFigures();
for (;;) {
  if (!document.hidden) await Promise.all([list(), describe()]);
  await wait(period);
}
