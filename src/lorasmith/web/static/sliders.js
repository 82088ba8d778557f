// A slider says its number; a button that leads elsewhere is no preview.
document.querySelectorAll(".slider input").forEach((slider) => {
  const shown = slider.parentElement.querySelector("output");
  slider.addEventListener("input", () => { shown.textContent = Number(slider.value).toFixed(2); });
});
