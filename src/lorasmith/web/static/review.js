// Unsure tags one after the other, by keys; the list below holds what was decided.
const form = document.getElementById("review");
const lines = form ? [...form.querySelectorAll("li[data-tag]")] : [];
const byId = (id) => document.getElementById(id);
let at = 0;

function show() {
  const line = lines[at];
  byId("one").hidden = !line;
  const decided = lines.filter((one) => one.querySelector("input:checked")?.value).length;
  byId("decided").textContent = `${decided} decided, ${lines.length - decided} open. One version; later retaggings obey it too.`;
  if (!line) return;
  const { item, tag, image, probability, threshold, present } = line.dataset;
  byId("one-picture").src = `/pictures/${image}`;
  byId("one-picture").alt = item;
  byId("one-place").textContent = `${at + 1} of ${lines.length}`;
  byId("one-item").textContent = item;
  byId("one-tag").textContent = tag;
  byId("one-words").textContent = `Probability ${probability}, threshold ${threshold}; the caption ${present ? "has it" : "does not have it"}.`;
}

function decide(verdict) {
  const line = lines[at];
  if (!line) return;
  line.querySelector(`input[value="${verdict}"]`).checked = true;
  at += 1;
  show();
  if (at === lines.length) form.querySelector("button:not([type])").focus();
}

function back() {
  at = Math.max(0, at - 1);
  show();
}

if (lines.length) {
  byId("all").open = false;
  show();
  form.querySelectorAll("[data-verdict]").forEach((button) => button.addEventListener("click", () => decide(button.dataset.verdict)));
  byId("back").addEventListener("click", back);
  form.addEventListener("change", show);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input:not([type=radio]), textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const verdicts = { y: "yes", n: "no", s: "" };
    if (event.key in verdicts) decide(verdicts[event.key]);
    else if (event.key === "u") back();
    else return;
    event.preventDefault();
    event.stopPropagation(); // n and s mean something else on other pages
  }, true);
}
