// What happens in the queue, as it happens: one stream for a visible tab. Parts of a page that name themselves with
// data-live are fetched again when a job changes its state; progress is written into the rows that are there.
import { held } from "./held.js";

const first = document.querySelector("[data-journal]");
let known = first?.dataset.journal ?? "";
let stream = null;
const waiting = new Map();
const asked = new WeakMap(); // how often a part was asked for; of two answers the later question's counts
const missed = new Set(); // parts that could not be asked for: the server was away
let leaving = 0; // until when somebody is on their way to another page

export function inWords(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

async function refresh(part) {
  const number = (asked.get(part) ?? 0) + 1;
  asked.set(part, number);
  let text = null;
  try {
    const answer = await fetch(part.dataset.live, { headers: { "HX-Request": "true" } });
    if (answer.ok) text = await answer.text();
  } catch { /* the server is away: it is asked again when the stream goes on */ }
  if (asked.get(part) !== number) return;
  if (text === null) { missed.add(part); return; }
  if (held()) { soon(part); return; }
  const focus = document.activeElement?.id;
  const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
  part.innerHTML = text;
  window.htmx?.process(part);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focus && part.querySelector(`#${CSS.escape(focus)}`)) document.getElementById(focus).focus();
}

function soon(part) {
  if (waiting.has(part)) return;
  waiting.set(part, setTimeout(() => { waiting.delete(part); refresh(part); }, 250));
}

function changed(event) {
  for (const part of document.querySelectorAll("[data-live]")) soon(part);
  const here = document.querySelector("[data-follow]");
  if (here && here.dataset.follow === event.job && event.kind === "state") {
    setTimeout(again, 300);
  }
}

// A page that is loaded again takes nobody back who is leaving it, nor a button from under a finger.
addEventListener("submit", (event) => { if (!event.defaultPrevented) leaving = performance.now() + 20_000; });
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]:not([href^='#'], [download], [target])");
  if (link && !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.shiftKey) leaving = performance.now() + 20_000;
});
function again() {
  if (held() || performance.now() < leaving || document.querySelector("dialog[open]")) setTimeout(again, 500);
  else location.reload();
}

function progressed(event) {
  const { phase, done, total, seconds_left: left } = event.detail;
  for (const row of document.querySelectorAll(`[data-job-row="${CSS.escape(event.job)}"]`)) {
    const bar = row.querySelector("progress");
    if (bar) bar.value = total ? done / total : 0;
    const words = row.querySelector("[data-words]");
    if (words) words.textContent = [phase, total ? `${done.toLocaleString()} of ${total.toLocaleString()}` : "", left ? `${inWords(left)} left` : ""].filter(Boolean).join(" · ");
  }
}

function announce(event) {
  if (!["succeeded", "failed"].includes(event.after) || !("Notification" in window)) return;
  if (Notification.permission !== "granted" || localStorage.getItem("announce") !== "yes") return;
  const shown = new Notification(event.after === "succeeded" ? "A job is done" : "A job has failed", { body: event.job, tag: event.job });
  shown.onclick = () => location.assign(`/jobs/${event.job}`);
}

function wanted() {
  return document.querySelector("[data-live], [data-follow]") || localStorage.getItem("announce") === "yes";
}

function listen() {
  if (stream || !wanted()) return;
  stream = new EventSource(`/api/events${known ? `?after=${encodeURIComponent(known)}` : ""}`);
  const hear = (kind, heard) => stream.addEventListener(kind, (message) => {
    if (message.lastEventId) known = message.lastEventId;
    heard(JSON.parse(message.data));
  });
  hear("progress", progressed);
  hear("state", (event) => { announce(event); changed(event); });
  for (const kind of ["order", "lane", "removed", "rebuilt", "request"]) hear(kind, changed);
  hear("reset", () => changed({}));
  stream.addEventListener("open", () => {
    document.documentElement.removeAttribute("data-cut-off");
    for (const part of missed) soon(part);
    missed.clear();
  });
  stream.addEventListener("error", () => {
    document.documentElement.setAttribute("data-cut-off", "");
    if (stream?.readyState === EventSource.CLOSED) {  // refused, not cut off: the browser does not try again by itself
      stream = null;
      setTimeout(() => { if (!document.hidden) listen(); }, 2000);
    }
  });
}
// A hidden tab holds no connection (a browser has six of them for a host), unless somebody wants to be told at the end.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { listen(); return; }
  if (localStorage.getItem("announce") !== "yes") { stream?.close(); stream = null; }
});
listen();
