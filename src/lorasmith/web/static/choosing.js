// Choosing pictures: x or Ctrl click for one, Shift click for a range; a bar says what can be done with them.
const gallery = document.getElementById("gallery");
const bar = document.getElementById("chosen-bar");
const frame = document.querySelector(".gallery-frame");
const PART = 2000; // names in one field; the server takes a megabyte in each
const chosen = new Set();
let last = null;

const mode = document.getElementById("choose-mode");
const choosing = () => mode.getAttribute("aria-pressed") === "true"; // for fingers, which have no keys

const cards = () => [...gallery.querySelectorAll(".card-picture")];

function show() {
  cards().forEach((card) => card.classList.toggle("chosen", chosen.has(card.dataset.item)));
  bar.hidden = !chosen.size;
  document.getElementById("chosen-count").textContent = `${chosen.size.toLocaleString("en")} chosen`;
}

function toggle(card) {
  const name = card.dataset.item;
  if (!chosen.delete(name)) chosen.add(name);
  last = card;
  show();
}

if (gallery) {
  // Before htmx, which would open the picture.
  gallery.addEventListener("click", (event) => {
    const card = event.target.closest(".card-picture");
    if (!card || !(choosing() || event.shiftKey || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const all = cards();
    const from = all.indexOf(last);
    if (!event.shiftKey || from < 0) {
      toggle(card);
      return;
    }
    const to = all.indexOf(card);
    all.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((one) => chosen.add(one.dataset.item));
    show();
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "x" || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select")) return;
    const card = document.activeElement.closest?.(".card-picture") ?? gallery.querySelector("[aria-current=true]");
    if (card) {
      event.preventDefault();
      toggle(card);
    }
  });
  new MutationObserver(show).observe(gallery, { childList: true });
  mode.addEventListener("click", () => mode.setAttribute("aria-pressed", String(!choosing())));
  document.getElementById("choose-none").addEventListener("click", () => { chosen.clear(); show(); });
  document.getElementById("choose-all")?.addEventListener("click", async () => {
    const answer = await fetch(`/datasets/${encodeURIComponent(frame.dataset.dataset)}/names?q=${encodeURIComponent(frame.dataset.q)}`);
    if (answer.ok) (await answer.json()).forEach((name) => chosen.add(name));
    show();
  });
  bar.addEventListener("submit", () => {
    bar.querySelectorAll("[name=names]").forEach((field) => field.remove());
    const all = [...chosen];
    for (let at = 0; at < all.length; at += PART) {
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = "names";
      field.value = JSON.stringify(all.slice(at, at + PART));
      bar.append(field);
    }
  });
}
