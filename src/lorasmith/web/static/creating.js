// The wizard: one step at a time, pictures by drag and drop with a look at each, and the time each difficulty takes.
const form = document.getElementById("create");
const steps = [...form.querySelectorAll(".step")];
const list = document.getElementById("steps");
const [back, next] = [document.getElementById("step-back"), document.getElementById("step-next")];
const input = document.getElementById("pictures");
const thumbs = document.getElementById("thumbs");
let chosen = [];
let now = 0;

list.replaceChildren(...steps.map((step) => Object.assign(document.createElement("li"), { textContent: step.dataset.step })));
list.hidden = false;
document.getElementById("walk").hidden = false;

function show(number, focus = true) {
  now = number;
  steps.forEach((step, at) => { step.hidden = at !== now; });
  [...list.children].forEach((line, at) => { if (at === now) line.setAttribute("aria-current", "step"); else line.removeAttribute("aria-current"); });
  back.hidden = now === 0;
  next.hidden = now === steps.length - 1;
  if (now === steps.length - 1) review();
  if (focus) { const first = steps[now].querySelector("input:not([type=hidden]), select, textarea, button"); first?.focus(); scrollTo(0, 0); }
}
next.addEventListener("click", () => {
  const wrong = [...steps[now].querySelectorAll("input, select, textarea")].find((one) => !one.checkValidity());
  if (wrong) { wrong.reportValidity(); return; }
  show(now + 1);
  history.pushState({ wizard: now }, "");
});
back.addEventListener("click", () => { if (history.state?.wizard === now) history.back(); else show(now - 1); });
// The browser's own way back is one step, too: nobody loses what was typed by it.
addEventListener("popstate", (event) => show(Math.min(event.state?.wizard ?? 0, steps.length - 1)));
// Enter goes on, and starts only at the end; what is wrong in a hidden step is shown there.
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input:not([type=file])") && now < steps.length - 1) { event.preventDefault(); next.click(); }
});
form.addEventListener("invalid", (event) => {
  const at = steps.findIndex((step) => step.contains(event.target));
  if (at >= 0 && at !== now) show(at);
}, true);

function said(name) {
  const field = form.elements[name];
  if (field instanceof RadioNodeList) return form.querySelector(`input[name="${name}"]:checked`)?.closest("label").querySelector("strong").textContent ?? "";
  return field.tagName === "SELECT" ? field.selectedOptions[0]?.textContent ?? "" : field.value;
}
// What was set of the model's own options; what is left empty keeps its default.
function particular() {
  const set = [...document.querySelectorAll("#particular input:not([type=hidden]), #particular select, #particular textarea")];
  return Object.fromEntries(set.map((one) => [one.labels[0].textContent,
    one.type === "checkbox" ? (one.checked ? "on" : "off") : one.tagName === "SELECT" ? one.selectedOptions[0]?.textContent ?? "" : one.value]));
}
function review() {
  const data = document.getElementById("dataset").value;
  const lines = { Name: said("name"), Description: said("description"), "Who sees it": said("public"), Kind: said("kind"),
    Pictures: chosen.length ? `${chosen.length} uploaded` : data || "none yet", Captions: said("captioner"), Difficulty: said("difficulty"),
    "Base model": said("base"), Resolution: said("resolution"), Epochs: said("epochs"), ...particular() };
  document.getElementById("review").replaceChildren(...Object.entries(lines).filter(([, value]) => value).map(([word, value]) => {
    const line = document.createElement("div");
    line.append(Object.assign(document.createElement("dt"), { textContent: word }), Object.assign(document.createElement("dd"), { textContent: value }));
    return line;
  }));
}

function keep() {
  const files = new DataTransfer();
  for (const file of chosen) files.items.add(file);
  input.files = files.files;
  for (const image of thumbs.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  thumbs.replaceChildren(...chosen.map((file, at) => {
    const line = document.createElement("li");
    const image = Object.assign(document.createElement("img"), { src: URL.createObjectURL(file), alt: file.name });
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×", title: `Remove ${file.name}` });
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => { chosen.splice(at, 1); keep(); });
    line.append(image, remove);
    return line;
  }));
  const few = chosen.length < 15 ? ", 15 to 20 give better results" : chosen.length > 20 ? ", more than 20 take longer and rarely help" : "";
  document.getElementById("picture-count").textContent = chosen.length ? `${chosen.length} picture${chosen.length > 1 ? "s" : ""}${few}.` : "";
  ask();
}
function add(files) {
  const key = (file) => `${file.name} ${file.size} ${file.lastModified}`;
  const there = new Set(chosen.map(key));
  chosen.push(...[...files].filter((file) => !there.has(key(file))));
  keep();
}
input.addEventListener("change", () => add(input.files));
const drop = document.getElementById("drop");
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); add(event.dataTransfer.files); });

let asked = 0;
async function ask() {
  const number = ++asked;
  const data = new FormData(form);
  data.delete("pictures");
  data.set("count", chosen.length);
  const answer = await fetch("/models/new/estimate", { method: "POST", body: data, headers: { "HX-Request": "true" } });
  if (answer.ok && number === asked) document.getElementById("estimate").innerHTML = await answer.text();
}
// What a model has and others have not is asked with every other choice; what was typed of it stays where it has it too.
let model = 0;
async function options() {
  const number = ++model;
  const data = new FormData(form);
  data.delete("pictures");
  const answer = await fetch("/models/new/options", { method: "POST", body: data, headers: { "HX-Request": "true" } });
  if (!answer.ok || number !== model) return;
  const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (number !== model) return;
  const open = document.getElementById("particular")?.open;
  document.getElementById("options").replaceChildren(...parts.body.children);
  const place = document.getElementById("particular");
  if (place && open) place.open = true;
  const side = document.getElementById("made-for")?.textContent;
  form.elements.resolution.options[0].textContent = `what the base was made for${side ? `: ${side}` : ""}`;
}
let timer = null;
const EPOCHS = { beginner: 1, standard: 3, expert: 5 };
form.addEventListener("input", (event) => {
  if (event.target.name === "difficulty") form.elements.epochs.value = EPOCHS[event.target.value];
  if (event.target === input) return;
  if (event.target.name === "base" || event.target.id === "dataset") options();
  clearTimeout(timer);
  timer = setTimeout(ask, 300);
});
show(0, false);
