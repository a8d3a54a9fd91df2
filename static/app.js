// Keeps a page current, and makes it quick to use. Everything on it works without this, by loading it again.
"use strict";

const body = document.body;
let topic = body.dataset.topic;
const known = new Map();
const lost = document.getElementById("lost");
let port = null;

// --- what comes in ---

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

// Puts an element in place, and keeps what the reader has opened or stands on.
function put(id, html, is_row) {
  if (known.get(id) === html) return;
  known.set(id, html);
  const next = element(html);
  if (!next) return;
  const old = document.getElementById(id);
  if (!old && !is_row) return;
  if (!old) {
    next.classList.add("new");
    document.getElementById("rows")?.append(next);
    return;
  }
  if (old.isEqualNode(next)) return;
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  [...next.querySelectorAll("details")].forEach((details, i) => { details.open = Boolean(open[i]); });
  const reachable = "a, button, summary, input";
  const at = [...old.querySelectorAll(reachable)].indexOf(document.activeElement);
  old.replaceWith(next);
  if (at >= 0) next.querySelectorAll(reachable)[at]?.focus();
}

// Brings rows into this order; what is not in it leaves.
function order(ids) {
  const rows = document.getElementById("rows");
  if (!rows) return;
  const wanted = new Set(ids);
  for (const row of [...rows.children]) {
    if (!wanted.has(row.id) && !row.classList.contains("gone")) {
      known.delete(row.id);
      row.classList.add("gone");
      row.removeAttribute("id");
      setTimeout(() => row.remove(), 2000);
    }
  }
  let place = rows.firstElementChild;
  for (const id of ids) {
    while (place && place.classList.contains("gone")) place = place.nextElementSibling;
    const row = document.getElementById(id);
    if (!row) continue;
    if (row === place) place = place.nextElementSibling;
    else rows.insertBefore(row, place);
  }
}

function take(message) {
  if (message.lost) {
    lost.hidden = false;
    return;
  }
  lost.hidden = true;
  if (message.build && message.build !== body.dataset.build) location.reload();
  if (!message.topic || message.topic !== topic) return;
  if (message.missing !== Boolean(document.getElementById("missing"))) location.reload();
  for (const [id, html, is_row] of message.set) put(id, html, is_row);
  if (message.order) order(message.order);
  tick();
  body.dataset.live = "yes";
}

function show() {
  port?.postMessage({ topic: document.hidden ? "" : topic });
}

if (topic && "SharedWorker" in window) {
  port = new SharedWorker("/static/live.js?" + body.dataset.build).port;
  port.onmessage = ({ data }) => take(data);
  document.addEventListener("visibilitychange", show);
  addEventListener("pagehide", () => port.postMessage({ closed: true }));
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  show();
}

// --- bars that run down between two answers ---

function tick() {
  for (const bar of document.querySelectorAll("progress[data-at]")) {
    if (!bar.dataset.seen) bar.dataset.seen = String(Date.now());
    const left = Math.max(0, Number(bar.dataset.at) - (Date.now() - Number(bar.dataset.seen)) / 1000);
    bar.value = left;
    const text = bar.nextElementSibling;
    if (text) text.textContent = `${Math.ceil(left)} s`;
  }
}
setInterval(tick, 500);

// --- filter, columns, more: the address of the page says what is shown ---

function go(change) {
  const address = new URL(topic, location.origin);
  change(address.searchParams);
  for (const [name, value] of [...address.searchParams]) if (!value) address.searchParams.delete(name);
  topic = address.pathname + address.search;
  history.replaceState(null, "", topic);
  show();
}

let typing = 0;
const filter = document.getElementById("q");
filter?.addEventListener("input", () => {
  if (!port) return;
  clearTimeout(typing);
  typing = setTimeout(() => go((parts) => { parts.set("q", filter.value); parts.delete("limit"); }), 200);
});

function more() {
  const link = document.querySelector("a.more");
  if (!link || !port) return false;
  const limit = new URL(link.href).searchParams.get("limit");
  go((parts) => parts.set("limit", limit));
  return true;
}

let asked = "";
addEventListener("scroll", () => {
  const link = document.querySelector("a.more");
  if (link && link.href !== asked && link.getBoundingClientRect().top < innerHeight + 600) {
    asked = link.href;
    more();
  }
}, { passive: true });

document.addEventListener("click", (event) => {
  const target = event.target.closest("a.more, code.copy, a.do");
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (target.matches("a.more") && more()) event.preventDefault();
  if (target.matches("code.copy")) navigator.clipboard?.writeText(target.textContent);
  if (target.matches("a.do")) {
    event.preventDefault();
    open_panel(target.href);
  }
});

// --- actions open beside the page ---

async function open_panel(address) {
  const panel = document.getElementById("panel");
  const answer = await fetch(address, { redirect: "follow" }).catch(() => null);
  if (!answer || answer.redirected) {
    location.href = address;
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  panel.replaceChildren(...page.getElementById("main").children);
  panel.showModal();
}

// --- the token of a login link is behind the #, so that no server and no log sees it ---

const token = document.getElementById("token");

function log_in() {
  if (!token || location.hash.length < 2) return;
  token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  token.form.submit();
}
addEventListener("hashchange", log_in);
log_in();

// --- keys ---

let before = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const link = before === "g" && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  before = event.key;
  if (link) link.click();
  else if (event.key === "/" && filter) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "?") document.getElementById("help").showModal();
});
