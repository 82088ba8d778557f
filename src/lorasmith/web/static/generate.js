// Generate: sliders beside their numbers, and a viewer that wipes between two pictures.
const form = document.getElementById("paint");
for (const slider of form?.querySelectorAll("[data-range]") ?? []) {
  const number = document.getElementById(slider.dataset.range);
  slider.addEventListener("input", () => {
    number.value = slider.value;
    const check = slider.closest("li")?.querySelector("input[type=checkbox]");
    if (check) check.checked = true;
  });
  number.addEventListener("input", () => { if (number.value.trim() && Number.isFinite(Number(number.value))) slider.value = number.value; });
}
document.getElementById("seed")?.addEventListener("input", () => { document.getElementById("seed-fixed").checked = true; });
document.addEventListener("keydown", (event) => {
  if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
});

const viewer = document.getElementById("viewer");
const [first, second] = [document.getElementById("viewer-a"), document.getElementById("viewer-b")];
const [withOther, at] = [document.getElementById("viewer-with"), document.getElementById("viewer-at")];
const called = (shot) => shot.dataset.adapters || "the base alone";
const words = (shot) => `${called(shot)} · seed ${shot.dataset.seed} · ${shot.dataset.prompt}`;

function wipe() { second.style.clipPath = `inset(0 0 0 ${at.value}%)`; }
function beside() {
  second.hidden = !withOther.value;
  if (!withOther.value) return;
  second.src = withOther.value;
  second.alt = withOther.selectedOptions[0].text;
  wipe();
}
function view(shot) {
  first.src = shot.dataset.src;
  first.alt = words(shot);
  document.getElementById("viewer-words").textContent = words(shot);
  const twin = (other) => other.dataset.prompt === shot.dataset.prompt && other.dataset.seed === shot.dataset.seed;
  const others = [...document.querySelectorAll(".shot")].filter((other) => other !== shot);
  others.sort((a, b) => Number(twin(b)) - Number(twin(a)));
  withOther.replaceChildren(new Option("–", ""), ...others.slice(0, 60).map((other) => new Option(words(other), other.dataset.src)));
  document.getElementById("viewer-compare").hidden = !others.length;
  if (others.length && twin(others[0])) withOther.value = others[0].dataset.src;
  beside();
  viewer.showModal();
}
withOther.addEventListener("change", beside);
at.addEventListener("input", wipe);
document.addEventListener("click", (event) => {
  const shot = event.target.closest(".shot");
  if (shot) view(shot);
});
