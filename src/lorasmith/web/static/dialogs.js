// Answers that open in a dialog: a button with data-dialog names it, and it opens when the answer is there.
let asked = null;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-dialog]");
  if (button) asked = document.getElementById(button.dataset.dialog);
});

for (const dialog of document.querySelectorAll("dialog[id]")) {
  const body = document.getElementById(`${dialog.id}-body`);
  if (!body) continue;
  new MutationObserver(() => {
    if (asked === dialog && !dialog.open && body.childElementCount) dialog.showModal();
    asked = null;
  }).observe(body, { childList: true });
}
