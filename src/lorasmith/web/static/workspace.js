// The workspace: what is in the way of a start is asked of the server with every change; the sidebar folds.
import { held } from "./held.js";

const form = document.getElementById("setup");
const work = document.getElementById("workspace");
const toggle = document.getElementById("sidebar-toggle");
let timer = null;
let asked = 0;

async function ready() {
  const number = ++asked;
  const answer = await fetch("/workspace/readiness", { method: "POST", body: new FormData(form), headers: { "HX-Request": "true" } });
  if (number !== asked || !answer.ok) return;
  const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (number !== asked) return;
  if (held()) { timer = setTimeout(ready, 100); return; } // a button is not taken from under a finger
  const focus = document.activeElement?.id;
  for (const [name, id] of [["start", "start-place"], ["plan", "plan-place"]]) {
    const part = parts.querySelector(`[data-part=${name}]`);
    const place = document.getElementById(id);
    if (part && (name === "start" || part.childElementCount) && !place.firstElementChild?.isEqualNode(part)) place.replaceChildren(part);
  }
  if (focus && document.activeElement?.id !== focus) document.getElementById(focus)?.focus();
}
form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ready, 400); });
for (const id of ["model", "dataset"]) {
  document.getElementById(id).addEventListener("change", () => {
    const kept = new URLSearchParams();
    for (const name of ["model", "dataset", "trigger_word", "output_name", "form"]) {
      const value = new FormData(form).get(name);
      if (value || name === "dataset") kept.set(name, value ?? "");
    }
    location.assign(`/?${kept}`);
  });
}
form.addEventListener("submit", () => { setTimeout(() => { const start = document.getElementById("start"); if (start) start.disabled = true; }); });
// A link to an option that stands in a folded section opens it first.
document.addEventListener("click", (event) => {
  const link = event.target.closest('.reasons a[href^="#"]');
  const target = link && document.getElementById(link.hash.slice(1));
  if (!target) return;
  event.preventDefault();
  target.closest("details")?.setAttribute("open", "");
  target.focus();
});

function fold(folded) {
  work.classList.toggle("folded", folded);
  toggle.setAttribute("aria-expanded", String(!folded));
  toggle.textContent = folded ? "Show the training sidebar" : "Hide the training sidebar";
  localStorage.setItem("sidebar", folded ? "folded" : "");
}
toggle.hidden = false;
toggle.addEventListener("click", () => fold(!work.classList.contains("folded")));
document.addEventListener("keydown", (event) => {
  if (event.key === "[" && !event.target.closest("input, textarea, select")) fold(!work.classList.contains("folded"));
});
if (localStorage.getItem("sidebar") === "folded") fold(true);
ready();
