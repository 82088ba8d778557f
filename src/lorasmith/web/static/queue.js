// The order of what waits, by dragging a row or with Shift and the arrows; a row that is let go at the end goes to the back.
import { toast } from "./toast.js";

// Keys of the queue: j and k walk the rows, the rest presses the buttons of the row that is chosen.
const place = document.getElementById("queue");
let chosen = null;
const rows = () => [...place.querySelectorAll(".job")];
const press = (row, ...verbs) => {
  const button = verbs.map((verb) => row.querySelector(`button[value="${verb}"]`)).find(Boolean);
  button?.click();
};
const movable = () => [...place.querySelectorAll('.job[draggable="true"]')];

// Ask the server to put a row before another one, or behind all; the page follows when the journal says so.
async function move(row, before) {
  const job = encodeURIComponent(row.dataset.jobRow);
  const form = new FormData();
  form.set(before ? "before" : "verb", before ? before.dataset.jobRow : "back");
  const answer = await fetch(`/jobs/${job}/${before ? "place" : "do"}`, { method: "POST", body: form, redirect: "manual" });
  if (answer.type !== "opaqueredirect" && !answer.ok) {
    const text = await answer.text();
    const found = new DOMParser().parseFromString(text, "text/html").querySelector(".refusal");
    toast(found ? found.textContent.trim().replace(/\s+/g, " ") : "It could not be moved. Load the page again.");
  }
}

let dragged = null;
const unmark = () => place.querySelectorAll(".drop-before, .drop-after").forEach((row) => row.classList.remove("drop-before", "drop-after"));
function under(event) {
  const row = event.target.closest?.('.job[draggable="true"]');
  if (!dragged || !row) return null;
  const box = row.getBoundingClientRect();
  return { row, after: event.clientY > box.top + box.height / 2 };
}
place.addEventListener("dragstart", (event) => {
  const row = event.target.closest?.('.job[draggable="true"]');
  if (!row || event.target !== row) return;  // a link that is dragged out is a link
  dragged = row.dataset.jobRow;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", row.querySelector(".what a").textContent.trim());
  row.classList.add("dragged");
});
place.addEventListener("dragover", (event) => {
  const at = under(event);
  if (!at) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
  unmark();
  at.row.classList.add(at.after ? "drop-after" : "drop-before");
});
place.addEventListener("drop", (event) => {
  const at = under(event);
  if (!at) return;
  event.preventDefault();
  const waiting = movable();
  const row = waiting.find((one) => one.dataset.jobRow === dragged);
  const others = waiting.filter((one) => one !== row);
  const before = at.after ? others[others.indexOf(at.row) + 1] ?? null : at.row;
  if (row && at.row !== row) move(row, before);
});
place.addEventListener("dragend", () => {
  unmark();
  place.querySelector(".dragged")?.classList.remove("dragged");
  dragged = null;
});

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const all = rows();
  const now = all.findIndex((row) => row.dataset.jobRow === chosen);
  if (event.key === "j" || event.key === "k") {
    const next = all[Math.min(all.length - 1, Math.max(0, now + (event.key === "j" ? 1 : -1)))];
    if (next) { chosen = next.dataset.jobRow; next.focus(); next.scrollIntoView({ block: "nearest" }); }
    return;
  }
  const row = all[now];
  if (!row) return;
  if (event.shiftKey && (event.key === "ArrowUp" || event.key === "ArrowDown") && row.draggable) {
    event.preventDefault();
    const waiting = movable();
    const at = waiting.indexOf(row);
    if (event.key === "ArrowUp" && at > 0) move(row, waiting[at - 1]);
    if (event.key === "ArrowDown" && at < waiting.length - 1) move(row, waiting[at + 2] ?? null);
    return;
  }
  if (event.key === "K") press(row, "front");
  else if (event.key === "J") press(row, "back");
  else if (event.key === "h") press(row, "hold", "release");
  else if (event.key === "p") press(row, "pause", "continue");
  else if (event.key === "x") press(row, "cancel");
  else if (event.key === "Enter" && event.target === row) location.assign(`/jobs/${row.dataset.jobRow}`);
});
