// Forms with files: the files go first and in pieces, so that a large ZIP survives a bad line, and the form follows with
// their ids. Without scripts the form carries the files itself.
import { bytes, sent } from "./sending.js";

function line(form) {
  const words = document.createElement("p");
  words.className = "numbers mt-2 mb-0";
  words.setAttribute("role", "status");
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.className = "w-100";
  bar.setAttribute("aria-label", "Sent so far");
  form.append(words, bar);
  return { words, bar };
}

// Pictures from several folders may have the same name.
function unlike(names, name) {
  const dot = name.lastIndexOf(".") > 0 ? name.lastIndexOf(".") : name.length;
  let free = name;
  for (let number = 2; names.has(free.toLowerCase()); number += 1) free = `${name.slice(0, dot)} ${number}${name.slice(dot)}`;
  names.add(free.toLowerCase());
  return free;
}

async function send(form, button) {
  const inputs = [...form.querySelectorAll('input[type="file"]')];
  const files = inputs.flatMap((input) => [...input.files]).filter((file) => file.size);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const { words, bar } = form.pieces ?? (form.pieces = line(form));
  bar.hidden = false;
  const ids = [];
  const names = new Set();
  let before = 0;
  button?.setAttribute("disabled", "");
  try {
    for (const file of files) {
      const tell = (count) => {
        bar.value = (before + count) / total;
        words.textContent = `${ids.length} of ${files.length} files, ${bytes(before + count)} of ${bytes(total)}`;
      };
      tell(0);
      ids.push(await sent(file, unlike(names, file.webkitRelativePath || file.name), tell));
      before += file.size;
    }
  } catch (error) {
    bar.hidden = true;
    words.textContent = `${files[ids.length].name}: ${error.message}. What was sent is kept; press the button again to go on.`;
    button?.removeAttribute("disabled");
    return;
  }
  words.textContent = "All files are here.";
  let field = form.elements.namedItem("uploads");
  if (!field) {
    field = Object.assign(document.createElement("input"), { type: "hidden", name: "uploads" });
    form.append(field);
  }
  field.value = JSON.stringify(ids);
  for (const input of inputs) input.disabled = true;
  HTMLFormElement.prototype.submit.call(form);
}

for (const form of document.querySelectorAll("form[data-pieces]")) {
  form.addEventListener("submit", (event) => {
    const some = [...form.querySelectorAll('input[type="file"]')].some((input) => [...input.files].some((file) => file.size));
    if (!some) return;
    event.preventDefault();
    send(form, event.submitter);
  });
  form.dataset.pieces = "ready";
}
// Whoever comes back by the button of the browser finds the form as it was, and able to send again.
addEventListener("pageshow", () => {
  for (const input of document.querySelectorAll('form[data-pieces] input[type="file"]')) input.disabled = false;
  for (const button of document.querySelectorAll("form[data-pieces] button:disabled")) button.disabled = false;
});
