// What every page does: theme, palette, keys, refusals of htmx requests as toasts.
import { toast } from "./toast.js";

const root = document.documentElement;

document.getElementById("theme")?.addEventListener("click", () => {
  const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  root.dataset.bsTheme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=strict`;
});

// A refusal of the server is an answer to show, not something to lose.
document.addEventListener("htmx:response:error", async (event) => {
  const text = event.detail?.ctx?.text ?? "";
  const found = new DOMParser().parseFromString(text, "text/html").querySelector(".refusal");
  toast(found ? found.textContent.trim().replace(/\s+/g, " ") : "That did not work. Try again.");
});

// The palette: pages at once, everything else from the server.
const palette = document.getElementById("palette");
const query = document.getElementById("palette-query");
const list = document.getElementById("palette-list");
let places = [];
let chosen = 0;

function show() {
  const wanted = query.value.trim().toLowerCase();
  const found = places.filter((place) => place.word.toLowerCase().includes(wanted)).slice(0, 12);
  list.replaceChildren(
    ...found.map((place, index) => {
      const line = document.createElement("li");
      line.role = "option";
      line.id = `place-${index}`;
      line.ariaSelected = String(index === chosen);
      line.dataset.address = place.address;
      const kind = document.createElement("span");
      kind.className = "soft";
      kind.textContent = place.kind;
      line.append(place.word, kind);
      line.addEventListener("click", () => location.assign(place.address));
      return line;
    }),
  );
  query.setAttribute("aria-activedescendant", found.length ? `place-${chosen}` : "");
}

async function openPalette() {
  palette.showModal();
  query.value = "";
  chosen = 0;
  places = [...document.querySelectorAll(".top nav a")].map((a) => ({ word: a.textContent, address: a.href, kind: "page" }));
  show();
  const answer = await fetch(`/places?at=${encodeURIComponent(location.pathname)}`, { headers: { Accept: "application/json" } });
  if (answer.ok) {
    places.push(...(await answer.json()));
    show();
  }
}

query?.addEventListener("input", () => { chosen = 0; show(); });
query?.addEventListener("keydown", (event) => {
  const count = list.children.length;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = count ? (chosen + (event.key === "ArrowDown" ? 1 : count - 1)) % count : 0;
    show();
    event.preventDefault();
  } else if (event.key === "Enter" && list.children[chosen]) {
    location.assign(list.children[chosen].dataset.address);
    event.preventDefault();
  }
});

document.querySelectorAll("[data-open]").forEach((button) => {
  button.addEventListener("click", () => {
    if (button.dataset.open === "palette") openPalette();
    else document.getElementById(button.dataset.open)?.showModal();
  });
});

// Keys: none while somebody writes.
const places_by_key = { d: "/datasets", m: "/models", q: "/queue", w: "/", b: "/bases", s: "/settings" };
let going = false;
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && palette) {
    event.preventDefault();
    openPalette();
    return;
  }
  const writing = event.target.closest("input, textarea, select, [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (going && places_by_key[event.key]) location.assign(places_by_key[event.key]);
  going = event.key === "g";
  if (event.key === "?") document.getElementById("shortcuts")?.showModal();
  else if (event.key === "n") location.assign("/models/new");
  else if (event.key === "/") {
    const search = document.querySelector("main input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
