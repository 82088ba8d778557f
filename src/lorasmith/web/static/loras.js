// A slider beside its number: each follows the other. Without scripts the number alone is there.
for (const slider of document.querySelectorAll("input[type=range][data-for]")) {
  const number = document.getElementById(slider.dataset.for);
  slider.hidden = false;
  slider.value = number.value;
  slider.addEventListener("input", () => {
    number.value = String(Number(Number(slider.value).toFixed(2)));
    number.dispatchEvent(new Event("input", { bubbles: true }));
  });
  number.addEventListener("input", () => {
    if (number.value.trim() !== "" && Number.isFinite(Number(number.value))) slider.value = number.value;
  });
}
