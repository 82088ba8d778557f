// The page of a job: charts that grow, previews as they come, a viewer with a wipe.
const run = document.getElementById("run");
const job = run.dataset.job;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const told = { steps: [], figures: {} };
const plots = {};
const KINDS = {
  loss: { names: ["smoothed_loss", "loss", "validation_loss"], colors: ["--blue", "--edge", "--orange"] },
  rate: { match: /learning_rate$/, colors: ["--blue", "--orange"] },
  norm: { names: ["grad_norm"], colors: ["--blue"] },
  speed: { names: ["steps_per_second"], colors: ["--blue"] },
  memory: { names: ["rss_bytes", "device_bytes"], colors: ["--blue", "--orange"], bytes: true },
};
const WORDS = { smoothed_loss: "loss, smoothed", loss: "loss", validation_loss: "validation", grad_norm: "norm", steps_per_second: "steps/s", rss_bytes: "memory", device_bytes: "device" };

function said(value, bytes) {
  if (value === null || value === undefined) return "–";
  if (bytes) return value > 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${Math.round(value / 1e6)} MB`;
  return Math.abs(value) >= 0.001 && Math.abs(value) < 10000 ? value.toPrecision(4) : value.toExponential(2);
}

function push(step, values) {
  while (told.steps.length && told.steps.at(-1) > step) {
    told.steps.pop();
    for (const column of Object.values(told.figures)) column.pop();
  }
  if (told.steps.at(-1) !== step) {
    told.steps.push(step);
    for (const column of Object.values(told.figures)) column.push(null);
  }
  for (const [name, value] of Object.entries(values)) {
    told.figures[name] ??= told.steps.map(() => null);
    told.figures[name][told.steps.length - 1] = value;
  }
}

function draw() {
  for (const [key, kind] of Object.entries(KINDS)) {
    const place = run.querySelector(`[data-plot=${key}]`);
    if (!place || !told.steps.length) continue;
    const wanted = kind.names ?? Object.keys(told.figures).filter((name) => kind.match.test(name));
    const names = wanted.filter((name) => told.figures[name]?.some((value) => value !== null && value !== 0));
    if (!names.length) continue;
    const data = [told.steps, ...names.map((name) => told.figures[name])];
    const shape = names.join();
    if (plots[key]?.shape !== shape) {
      place.replaceChildren();
      const axis = { stroke: css("--soft"), grid: { stroke: css("--rule"), width: 1 }, ticks: { stroke: css("--rule") }, font: "11px system-ui" };
      const series = names.map((name, index) => ({
        label: WORDS[name] ?? name.replaceAll("_", " "),
        stroke: css(kind.colors[index % kind.colors.length]),
        width: name === "loss" ? 0.6 : 1.8,
        spanGaps: true,
        points: { show: name === "validation_loss" },
      }));
      plots[key] = new uPlot(
        {
          width: place.clientWidth, height: 170, series: [{ label: "step" }, ...series], scales: { x: { time: false } },
          axes: [axis, { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => said(tick, kind.bytes)) }],
          cursor: { drag: { x: true, y: false } },
        },
        data, place,
      );
      plots[key].shape = shape;
    } else plots[key].setData(data);
    const words = names.map((name) => {
      const last = told.figures[name].findLast((value) => value !== null);
      return `${WORDS[name] ?? name.replaceAll("_", " ")} ${said(last, kind.bytes)}`;
    });
    run.querySelector(`[data-figures=${key}]`).textContent = words.join(" · ");
  }
}

let drawing = false;
function soon() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => { drawing = false; draw(); }, 250);
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

let step = 0;
const hear = {
  metric: (event) => { step = event.step; push(event.step, event.values); soon(); },
  phase: (event) => {
    document.getElementById("phase").textContent = event.name;
    const tip = document.querySelector(`#tips [data-tip="${CSS.escape(event.name)}"]`);
    if (tip) document.getElementById("tip").textContent = tip.textContent;
  },
  progress: (event) => {
    const bar = document.getElementById("progress");
    bar.value = event.total ? event.done / event.total : 0;
    let words = `${event.total ? `${Math.floor((100 * event.done) / event.total)} %: ` : ""}${event.done.toLocaleString()} of ${event.total.toLocaleString()} ${event.unit}`;
    if (event.seconds_left != null) {
      words += `, about ${duration(event.seconds_left)} left`;
      if (event.seconds_left_spread > 1) words += ` (± ${duration(event.seconds_left_spread)})`;
    }
    document.getElementById("progress-words").textContent = words;
    if (event.unit === "steps" && event.per_second) { push(event.done, { steps_per_second: event.per_second }); soon(); }
  },
  sample: async () => {
    const answer = await fetch(`/jobs/${job}/samples`, { headers: { "HX-Request": "true" } });
    if (answer.ok) document.getElementById("samples").innerHTML = await answer.text();
  },
  finished: () => {},
};

let stream = null;
let offset = Number(run.dataset.offset);
function listen() {
  if (stream || document.hidden || !["running", "pausing", "cancelling"].includes(run.dataset.state)) return;
  stream = new EventSource(`/jobs/${job}/events?after=${offset}`);
  for (const [kind, heard] of Object.entries(hear)) {
    stream.addEventListener(kind, (message) => { offset = Number(message.lastEventId); heard(JSON.parse(message.data)); });
  }
  stream.addEventListener("ended", () => stream.close());  // the queue says what became of it, and live.js loads the page
}
// A hidden tab holds no connection: a browser has six of them for a host.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); stream = null; } else listen();
});

// The viewer.
const viewer = document.getElementById("viewer");
const [first, second] = [document.getElementById("viewer-a"), document.getElementById("viewer-b")];
const [withStep, at] = [document.getElementById("viewer-with"), document.getElementById("viewer-at")];

function wipe() {
  second.style.clipPath = `inset(0 0 0 ${at.value}%)`;
}
function view(button) {
  first.src = button.dataset.src;
  first.alt = `step ${button.dataset.step}: ${button.dataset.prompt}`;
  document.getElementById("viewer-words").textContent = `step ${button.dataset.step}, seed ${button.dataset.seed}: ${button.dataset.prompt}`;
  const others = [...button.closest("tr").querySelectorAll(".sample")].filter((other) => other !== button);
  withStep.replaceChildren(new Option("–", ""), ...others.map((other) => new Option(other.dataset.step, other.dataset.src)));
  document.getElementById("viewer-compare").hidden = !others.length;
  second.hidden = true;
  viewer.showModal();
}
withStep.addEventListener("change", () => {
  second.hidden = !withStep.value;
  if (withStep.value) {
    second.src = withStep.value;
    second.alt = `step ${withStep.selectedOptions[0].text}`;
    wipe();
  }
});
at.addEventListener("input", wipe);
run.addEventListener("click", (event) => {
  const button = event.target.closest(".sample");
  if (button) view(button);
});

// Everything that a hand can reach is listened to before anything is waited for.
const answer = await fetch(`/jobs/${job}/chronicle`, { headers: { Accept: "application/json" } });
if (answer.ok) {
  const whole = await answer.json();
  told.steps = whole.steps;
  told.figures = whole.figures;
  offset = whole.offset;
  draw();
}
listen();
addEventListener("resize", () => Object.entries(plots).forEach(([key, plot]) => {
  plot.setSize({ width: run.querySelector(`[data-plot=${key}]`).clientWidth, height: 170 });
}));
new MutationObserver(() => { Object.values(plots).forEach((plot) => { plot.destroy(); }); for (const key in plots) delete plots[key]; draw(); })
  .observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
