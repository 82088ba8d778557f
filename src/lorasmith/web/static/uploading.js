// Files, ZIPs and folders from the browser, in pieces that go on after anything; what is here is not sent again.
import { ENDPOINT, bytes, known, transfer } from "./sending.js";
import { sha256 } from "./sha256.js";

const AT_ONCE = 3;
const form = document.getElementById("upload");
const list = document.getElementById("uploads");
const words = document.getElementById("overall-words");
const bar = document.getElementById("overall-bar");
const button = document.getElementById("import");
const note = document.getElementById("import-words");
const rows = []; // {path, size, sent, state, id, sha, file, upload, line}
let importing = false;

const time = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

// What was dropped or chosen, with the folders it lay in.
async function inside(entry, path = "") {
  const here = path ? `${path}/${entry.name}` : entry.name;
  if (entry.isFile) return [{ file: await new Promise((done, fail) => entry.file(done, fail)), path: here }];
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const one of some) found.push(...(await inside(one, here)));
  }
}

function draw(row, text) {
  if (!row.line) {
    row.line = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = row.path;
    const state = document.createElement("span");
    state.className = "soft numbers";
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", `Remove ${row.path}`);
    remove.addEventListener("click", () => removeRow(row));
    const progress = document.createElement("progress");
    progress.max = 1;
    progress.setAttribute("aria-label", row.path);
    row.line.append(name, state, remove, progress);
    list.append(row.line);
  }
  row.line.dataset.state = row.state;
  row.line.children[1].textContent = text;
  row.line.children[3].value = row.size ? row.sent / row.size : 1;
}

async function removeRow(row) {
  const was = row.state;
  row.state = "removed";
  row.line?.remove();
  rows.splice(rows.indexOf(row), 1);
  row.upload?.abort().catch(() => {});
  if (row.id && was !== "there") {
    await fetch(`${ENDPOINT}/${row.id}`, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" } });
  }
  turn();
}

const pace = { at: 0, sent: 0, rate: 0 };
function overall() {
  const mine = rows.filter((row) => row.state !== "empty");
  const total = mine.reduce((sum, row) => sum + row.size, 0);
  const sent = mine.reduce((sum, row) => sum + row.sent, 0);
  const going = mine.filter((row) => ["waiting", "hashing", "sending"].includes(row.state)).length;
  document.getElementById("overall").hidden = !mine.length;
  bar.value = total ? sent / total : 0;
  const now = performance.now() / 1000;
  if (now - pace.at > 0.5) {
    if (pace.at && sent > pace.sent) {
      const rate = (sent - pace.sent) / (now - pace.at);
      pace.rate = pace.rate ? 0.7 * pace.rate + 0.3 * rate : rate;
    }
    Object.assign(pace, { at: now, sent });
  }
  const left = going && pace.rate ? `, ${time((total - sent) / pace.rate)} left` : "";
  const failed = mine.filter((row) => row.state === "failed").length;
  words.textContent = going
    ? `${mine.length - going} of ${mine.length} files, ${bytes(sent)} of ${bytes(total)}${left}`
    : `${mine.length - failed} of ${mine.length} files are here, ${bytes(sent)}${failed ? `; ${failed} could not be sent` : ""}`;
  const ready = mine.some((row) => ["here", "there"].includes(row.state));
  if (importing && !going) {
    if (ready) send();
    else {
      importing = false;
      note.textContent = "";
    }
  }
}

const into = () => form.elements.namedItem("into")?.value ?? "";

async function work(row) {
  row.state = "hashing";
  draw(row, "reading …");
  row.sha = await sha256(row.file, () => row.state === "removed");
  if (row.state === "removed") return;
  const twin = rows.find((one) => one !== row && one.sha === row.sha && one.path === row.path && one.state !== "failed");
  if (twin) {
    row.line.remove();
    rows.splice(rows.indexOf(row), 1);
    note.textContent = `${row.path} is here already.`;
    return;
  }
  const before = await known(row.sha, row.size, row.path, into());
  if (row.state === "removed") return;
  if (before.state === "in_dataset" || before.state === "here") {
    row.state = before.state === "here" ? "here" : "there";
    row.id = before.id;
    row.sent = row.size;
    draw(row, before.state === "here" ? "was here already" : "is in the dataset already");
    return;
  }
  await bring(row, before.id ? `${ENDPOINT}/${before.id}` : null);
}

async function bring(row, url) {
  row.state = "sending";
  const { upload, done } = transfer(row.file, row.path, row.sha, url, (count) => {
    row.sent = count;
    if (row.state === "sending") draw(row, `${bytes(count)} of ${bytes(row.size)}`);
    overall();
  });
  row.upload = upload;
  draw(row, url ? "going on …" : "sending …");
  try {
    row.id = await done;
    row.sent = row.size;
    row.state = "here";
    draw(row, bytes(row.size));
  } catch (error) {
    if (row.state === "removed") return;
    row.state = "failed";
    row.id = upload.url?.split("/").pop();
    draw(row, error.message);
  }
}

let working = 0;
function turn() {
  overall();
  while (working < AT_ONCE) {
    const next = rows.find((row) => row.state === "waiting");
    if (!next) return;
    working += 1;
    work(next)
      .catch((error) => { next.state = "failed"; draw(next, error.message); })
      .finally(() => { working -= 1; turn(); });
  }
}

function add(found) {
  note.textContent = "";
  for (const { file, path } of found) {
    const before = rows.find((row) => row.path === path && row.state === "interrupted");
    if (before) {
      before.line.remove();
      rows.splice(rows.indexOf(before), 1);
    }
    const row = { file, path, size: file.size, sent: 0, state: file.size ? "waiting" : "empty" };
    rows.push(row);
    draw(row, row.state === "empty" ? "empty, left out" : "waits");
  }
  turn();
}

const drop = document.getElementById("drop");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  // Entries have to be taken before anything is waited for.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...event.dataTransfer.files].map((file) => ({ file, path: file.name }));
  add(entries.length ? (await Promise.all(entries.map((entry) => inside(entry)))).flat() : plain);
});
for (const id of ["files", "folder"]) {
  const input = document.getElementById(id);
  input.addEventListener("change", () => {
    add([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    input.value = "";
  });
}

function send() {
  form.elements.namedItem("uploads").value = JSON.stringify(rows.filter((row) => row.state === "here").map((row) => row.id));
  HTMLFormElement.prototype.submit.call(form);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const here = rows.filter((row) => row.state === "here").length;
  const going = rows.some((row) => ["waiting", "hashing", "sending"].includes(row.state));
  if (!here && !going) {
    const there = rows.some((row) => row.state === "there");
    note.textContent = there ? "All of these are in the dataset already." : "Choose a ZIP, a folder or pictures first.";
    return;
  }
  importing = true;
  note.textContent = "begins when every file is here …";
  overall();
});

// What was uploaded before this page was loaded: whole files are ready, others go on when they are chosen again.
const answer = await fetch(ENDPOINT, { headers: { Accept: "application/json" } });
for (const one of answer.ok ? await answer.json() : []) {
  const whole = one.offset === one.length;
  const row = { path: one.path, size: one.length, sent: one.offset, sha: one.sha256, id: one.id, state: whole ? "here" : "interrupted" };
  rows.push(row);
  draw(row, whole ? "from before" : `${bytes(one.offset)} of ${bytes(one.length)}: choose it again to go on`);
}
turn();
form.dataset.ready = "yes";
