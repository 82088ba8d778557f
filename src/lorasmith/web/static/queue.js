// Keys of the queue: j and k walk the rows, the rest presses the buttons of the row that is chosen.
const place = document.getElementById("queue");
let chosen = null;
const rows = () => [...place.querySelectorAll(".job")];
const press = (row, ...verbs) => {
  const button = verbs.map((verb) => row.querySelector(`button[value="${verb}"]`)).find(Boolean);
  button?.click();
};
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
  if (event.key === "K") press(row, "front");
  else if (event.key === "J") press(row, "back");
  else if (event.key === "h") press(row, "hold", "release");
  else if (event.key === "p") press(row, "pause", "continue");
  else if (event.key === "x") press(row, "cancel");
  else if (event.key === "Enter" && event.target === row) location.assign(`/jobs/${row.dataset.jobRow}`);
});
