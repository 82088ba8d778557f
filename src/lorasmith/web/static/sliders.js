// A slider says its number; a button that leads elsewhere is no preview.
document.querySelectorAll(".slider input").forEach((slider) => {
  const shown = slider.parentElement.querySelector("output");
  const show = () => { shown.textContent = Number(slider.value).toFixed(2); };
  slider.addEventListener("input", show);
  show(); // it may have been moved before this ran, or the browser has put it back where it was
});
