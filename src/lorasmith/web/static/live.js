// What happens in the queue, as it happens: one stream for a visible tab. Parts of a page that name themselves with
// data-live are fetched again when a job changes its state; progress is written into the rows that are there.
const first = document.querySelector("[data-journal]");
let known = first?.dataset.journal ?? "";
let stream = null;
const waiting = new Map();

export function inWords(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

async function refresh(part) {
  const answer = await fetch(part.dataset.live, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return;
  const focus = document.activeElement?.id;
  const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
  part.innerHTML = await answer.text();
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
  if (here && here.dataset.follow === event.job && event.kind === "state" && !document.querySelector("dialog[open]")) {
    setTimeout(() => location.reload(), 300);
  }
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
  stream.addEventListener("open", () => document.documentElement.removeAttribute("data-cut-off"));
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
