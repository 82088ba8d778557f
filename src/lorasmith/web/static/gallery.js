// The gallery by keys alone: j and k choose, e edits, Ctrl+Enter saves and goes on.
const gallery = document.getElementById("gallery");
const side = document.getElementById("item");

function cards() {
  return [...gallery.querySelectorAll(".card-picture")];
}

function choose(step) {
  const all = cards();
  const now = all.findIndex((card) => card.getAttribute("aria-current") === "true");
  const card = all[Math.max(0, Math.min(all.length - 1, now + step))];
  if (card) {
    card.focus({ preventScroll: false });
    point(card);
    open(card);
  }
}

// One after the other, and the last one that was chosen is the one that stays: keys come faster than answers.
let wanted = null;
let asking = false;
async function open(card) {
  wanted = card;
  if (asking) return;
  asking = true;
  try {
    while (wanted) {
      const { href } = wanted;
      wanted = null;
      // Not by a click: until htmx has looked at the page, a click follows the link.
      await window.htmx.ajax("GET", href, { target: "#item", swap: "innerHTML" });
    }
  } finally {
    asking = false;
  }
}

function point(card) {
  cards().forEach((one) => {
    if (one === card) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  });
}

function mark() {
  const name = side.querySelector(".item-view")?.dataset.item;
  if (!wanted) point(cards().find((card) => card.dataset.item === name));
}

if (gallery) {
  // The form that asked is gone after the swap, and with it the way of htmx's own event to the document.
  new MutationObserver(() => {
    mark();
    const view = side.querySelector(".item-view");
    if (view && writing) side.querySelector("#caption")?.focus();
    // A caption that was saved shows on its card too.
    const saved = side.querySelector("[role=status]")?.textContent.trim();
    if (saved && lastSaved) {
      const card = cards().find((one) => one.dataset.item === lastSaved.item);
      const text = card?.querySelector(".caption");
      if (text) {
        text.textContent = lastSaved.caption || "no caption";
        text.classList.toggle("none", !lastSaved.caption);
      }
      lastSaved = null;
    }
  }).observe(side, { childList: true });
  let writing = false;
  let lastSaved = null;
  side.addEventListener("submit", (event) => {
    const sent = new FormData(event.target);
    lastSaved = { item: sent.get("item"), caption: sent.get("caption").trim() };
  }, true); // before htmx, which ends the event
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const inCaption = event.target.id === "caption";
    if (inCaption) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        writing = true;
        side.querySelector("button[value=next]")?.click();
      } else if (event.key === "Escape") {
        writing = false;
        event.target.blur();
        gallery.querySelector("[aria-current]")?.focus();
      }
      return;
    }
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const columns = Math.max(1, Math.round(gallery.clientWidth / (gallery.firstElementChild?.offsetWidth || 200)));
    const steps = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (event.key in steps) {
      event.preventDefault();
      choose(steps[event.key]);
    } else if (event.key === "e") {
      const caption = side.querySelector("#caption");
      if (caption) {
        event.preventDefault();
        writing = true;
        caption.focus();
      }
    }
  });
}
