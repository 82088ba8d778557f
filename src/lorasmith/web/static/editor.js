// Crop and mask of one picture. Cropper.js draws the box; the mask is strokes over a veil, so that undo is exact.
import { toast } from "./toast.js";

const frame = document.querySelector(".editor");
const width = Number(frame.dataset.width);
const height = Number(frame.dataset.height);
const TALLEST = 0.55; // of the window, so that what can be done stands under the picture

// --- crop -----------------------------------------------------------------------------------------------------
const form = document.getElementById("crop-form");
const aspect = document.getElementById("aspect");
const said = document.getElementById("crop-said");
const stage = document.getElementById("crop-stage");
const edges = ["left", "top", "right", "bottom"].map((name) => form.elements.namedItem(name));

function element(name, values, ...children) {
  const made = document.createElement(name);
  Object.entries(values).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function ratio() {
  if (!aspect.value) return NaN;
  const [w, h] = aspect.value.split(":").map(Number);
  return w / h;
}

function tell() {
  const [left, top, right, bottom] = edges.map((edge) => Number(edge.value));
  const kept = `${right - left} × ${bottom - top} pixels are kept`;
  const [w, h] = aspect.value.split(":").map(Number);
  const times = Math.max(w / (right - left), h / (bottom - top));
  said.textContent = aspect.value && times > 1.005 ? `${kept}; training would enlarge them ${times.toFixed(2)} times.` : `${kept}.`;
}

// The largest box of the chosen shape around the middle.
function widest() {
  const shape = ratio();
  if (Number.isNaN(shape)) return [0, 0, width, height];
  const w = Math.min(width, Math.round(height * shape));
  const h = Math.min(height, Math.round(width / shape));
  const left = Math.floor((width - w) / 2);
  const top = Math.floor((height - h) / 2);
  return [left, top, left + w, top + h];
}

function write(box) {
  edges.forEach((edge, index) => { edge.value = box[index]; });
  tell();
}

async function startCropping() {
  const { default: _, CropperCanvas, CropperImage, CropperSelection, CropperHandle, CropperShade } = await import(frame.dataset.cropper);
  [CropperCanvas, CropperImage, CropperSelection, CropperHandle, CropperShade].forEach((part) => part.$define());
  const { alt } = stage.querySelector("img");
  const fitted = stage.querySelector("img").getBoundingClientRect();
  const handles = ["move", "n-resize", "e-resize", "s-resize", "w-resize", "ne-resize", "nw-resize", "se-resize", "sw-resize"];
  const selection = element("cropper-selection", { movable: "", resizable: "", keyboard: "" },
    ...handles.map((action) => element("cropper-handle", { action, "theme-color": action === "move" ? "rgba(255,255,255,0.05)" : "rgba(35,71,197,0.75)" })));
  const image = element("cropper-image", { src: frame.dataset.picture, alt });
  const canvas = element("cropper-canvas", {}, image, element("cropper-shade", { hidden: "" }), selection);
  canvas.style.height = `${Math.round(Math.min(fitted.width * height / width, innerHeight * TALLEST))}px`;
  stage.replaceChildren(canvas);
  await image.$ready();
  const fit = async () => {
    await new Promise(requestAnimationFrame); // it is laid out then, and its size known
    image.$center("contain");
    await new Promise(requestAnimationFrame);
  };
  await fit();
  const place = () => {
    const outer = canvas.getBoundingClientRect();
    const inner = image.getBoundingClientRect();
    return { x: inner.left - outer.left, y: inner.top - outer.top, scale: inner.width / width };
  };
  let writing = false;
  const draw = (box) => {
    const { x, y, scale } = place();
    writing = true;
    selection.$change(x + box[0] * scale, y + box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale, NaN);
    writing = false;
  };
  selection.addEventListener("change", (event) => {
    if (writing) return;
    const { x, y, scale } = place();
    const box = event.detail;
    const slack = 1.5;
    if (box.x < x - slack || box.y < y - slack || box.x + box.width > x + width * scale + slack || box.y + box.height > y + height * scale + slack) {
      event.preventDefault();
      return;
    }
    const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
    write([within((box.x - x) / scale, width), within((box.y - y) / scale, height),
      within((box.x + box.width - x) / scale, width), within((box.y + box.height - y) / scale, height)]);
  });
  const choose = () => {
    const box = widest();
    selection.aspectRatio = ratio();
    draw(box);
    write(box);
  };
  aspect.addEventListener("change", choose);
  edges.forEach((edge) => edge.addEventListener("change", () => { draw(edges.map((one) => Number(one.value))); tell(); }));
  choose();
  addEventListener("resize", async () => {
    await fit();
    draw(edges.map((edge) => Number(edge.value)));
    showRing();
  });
  frame.dataset.ready = "true";
}

startCropping();

// --- mask -----------------------------------------------------------------------------------------------------
const canvas = document.getElementById("mask");
const veil = canvas.getContext("2d", { willReadFrequently: true });
const ring = document.getElementById("brush");
const size = document.getElementById("brush-size");
const COLOR = "#b34e08";
let before = null; // the mask as it was stored, as a veil
let strokes = [];
let undone = [];
let erasing = false;
let stroke = null;
let at = { x: width / 2, y: height / 2 };

function apply(one) {
  veil.globalCompositeOperation = { erase: "destination-out", clear: "destination-out", invert: "xor" }[one.kind] ?? "source-over";
  veil.fillStyle = veil.strokeStyle = COLOR;
  if (one.points) {
    veil.lineWidth = one.size;
    veil.lineCap = veil.lineJoin = "round";
    veil.beginPath();
    one.points.forEach(([x, y], index) => (index ? veil.lineTo(x, y) : veil.moveTo(x, y)));
    if (one.points.length === 1) veil.lineTo(one.points[0][0] + 0.01, one.points[0][1]);
    veil.stroke();
  } else {
    veil.fillRect(0, 0, width, height);
  }
}

function redraw() {
  veil.globalCompositeOperation = "source-over";
  veil.clearRect(0, 0, width, height);
  if (before) veil.putImageData(before, 0, 0);
  strokes.forEach(apply);
  report();
}

function report() {
  document.querySelector("[data-do=undo]").disabled = !strokes.length;
  document.querySelector("[data-do=redo]").disabled = !undone.length;
  const pixels = veil.getImageData(0, 0, width, height).data;
  let kept = 0;
  for (let i = 3; i < pixels.length; i += 4) kept += 255 - pixels[i];
  document.getElementById("mask-said").textContent = `${(100 * kept / 255 / width / height).toFixed(1)} % of the picture is trained.`;
}

function add(one) {
  strokes.push(one);
  undone = [];
  apply(one);
  report();
}

const board = document.querySelector(".mask-stage");

function fitBoard() {
  const room = board.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(board.parentElement).paddingLeft);
  board.style.width = `${Math.round(Math.min(room, innerHeight * TALLEST * width / height))}px`;
  showRing();
}
addEventListener("resize", fitBoard);

function showRing() {
  const scale = canvas.clientWidth / width;
  ring.style.width = ring.style.height = `${size.value * scale}px`;
  ring.style.left = `${at.x * scale}px`;
  ring.style.top = `${at.y * scale}px`;
}

function spot(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * width / box.width, y: (event.clientY - box.top) * height / box.height };
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  at = spot(event);
  stroke = { kind: erasing ? "erase" : "paint", size: Number(size.value), points: [[at.x, at.y]] };
  apply(stroke);
});
canvas.addEventListener("pointermove", (event) => {
  at = spot(event);
  showRing();
  if (!stroke) return;
  stroke.points.push([at.x, at.y]);
  apply({ ...stroke, points: stroke.points.slice(-2) });
});
canvas.addEventListener("pointerup", () => {
  if (!stroke) return;
  strokes.push(stroke);
  undone = [];
  stroke = null;
  redraw(); // as it is redrawn after an undo, so that both are the same to the pixel
});
canvas.addEventListener("pointercancel", () => { stroke = null; redraw(); });

const verbs = {
  fill: () => add({ kind: "fill" }),
  clear: () => add({ kind: "clear" }),
  invert: () => add({ kind: "invert" }),
  undo: () => { if (strokes.length) { undone.push(strokes.pop()); redraw(); } },
  redo: () => { if (undone.length) { strokes.push(undone.pop()); redraw(); } },
};
document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => verbs[button.dataset.do]()));

function choose(eraser) {
  erasing = eraser;
  document.querySelectorAll("[data-tool]").forEach((button) => button.setAttribute("aria-pressed", String((button.dataset.tool === "eraser") === erasing)));
}
document.querySelectorAll("[data-tool]").forEach((button) => button.addEventListener("click", () => choose(button.dataset.tool === "eraser")));
size.addEventListener("input", showRing);

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.closest("input:not([type=range]), select, textarea")) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    verbs[event.shiftKey ? "redo" : "undo"]();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "[" || event.key === "]") {
    size.value = Math.round(size.value * (event.key === "]" ? 1.25 : 0.8));
    showRing();
  } else if (event.key === "e") {
    choose(!erasing);
  } else if (event.target === canvas) {
    const step = Number(size.value) / 2;
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in ways) {
      event.preventDefault();
      at = { x: Math.max(0, Math.min(width, at.x + ways[event.key][0])), y: Math.max(0, Math.min(height, at.y + ways[event.key][1])) };
      showRing();
    } else if (event.key === " ") {
      event.preventDefault();
      add({ kind: erasing ? "erase" : "paint", size: Number(size.value), points: [[at.x, at.y]] });
    }
  }
});

// What is stored is white where it is trained: the veil turned around.
async function mask() {
  const out = new OffscreenCanvas(width, height);
  const context = out.getContext("2d");
  const pixels = veil.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const light = 255 - pixels.data[i + 3];
    pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = light;
    pixels.data[i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return out.convertToBlob({ type: "image/png" });
}

document.getElementById("mask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (!(await loaded)) return;
  const sent = new FormData(form);
  sent.append("mask", await mask(), "mask.png");
  const answer = await fetch(form.action, { method: "POST", body: sent, headers: { Accept: "text/html" } });
  if (answer.ok) {
    location.assign(answer.url);
    return;
  }
  const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".refusal");
  toast(found ? found.textContent.trim().replace(/\s+/g, " ") : "The mask was not saved. Try again.");
});

async function load() {
  if (frame.dataset.mask) {
    const image = await createImageBitmap(await (await fetch(frame.dataset.mask)).blob(), { colorSpaceConversion: "none" });
    veil.globalCompositeOperation = "copy"; // whatever was painted until now is painted again over it
    veil.drawImage(image, 0, 0, width, height);
    before = veil.getImageData(0, 0, width, height);
    const color = [179, 78, 8];
    for (let i = 0; i < before.data.length; i += 4) {
      before.data[i + 3] = 255 - before.data[i];
      [before.data[i], before.data[i + 1], before.data[i + 2]] = color;
    }
  }
  redraw();
  fitBoard();
}

// Whether what was stored is here: what is saved before would be written over it.
const loaded = load().then(() => true, () => {
  toast("The mask of this picture could not be loaded, and none is written over it. Load the page again.");
  return false;
});
