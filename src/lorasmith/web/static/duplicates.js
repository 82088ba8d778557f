// Duplicates by keys: j k from group to group, digits choose who stays, x takes a group in, d shows differences.
const groups = () => [...document.querySelectorAll("[data-group]")];
const current = () => groups().findIndex((group) => group.contains(document.activeElement));

function go(step) {
  const all = groups();
  const target = all[Math.max(0, Math.min(all.length - 1, current() + step))];
  target?.querySelector("input[type=checkbox]")?.focus();
  target?.scrollIntoView({ block: "nearest" });
}

// Who is kept is marked, and is what all others are compared with.
document.addEventListener("change", (event) => {
  if (event.target.type !== "radio" || !event.target.name.startsWith("keep.")) return;
  const group = event.target.closest("[data-group]");
  const kept = event.target.closest(".twin");
  const source = kept.querySelector(".stack img:not(.over)").src;
  for (const twin of group.querySelectorAll(".twin")) {
    twin.classList.toggle("keeper", twin === kept);
    twin.querySelector(".over")?.remove();
    if (twin === kept) continue;
    const over = document.createElement("img");
    over.className = "over";
    over.alt = "";
    over.src = source;
    twin.querySelector(".stack").append(over);
  }
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("textarea, select, input:not([type=checkbox]):not([type=radio])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const group = groups()[current()];
  if (event.key === "j" || event.key === "k") go(event.key === "j" ? 1 : -1);
  else if (event.key === "d") document.querySelector(".panel").classList.toggle("differing");
  else if (event.key === "x" && group) group.querySelector("input[type=checkbox]").click();
  else if (/^[1-9]$/.test(event.key) && group) group.querySelectorAll("input[type=radio]")[event.key - 1]?.click();
  else return;
  event.preventDefault();
});
