"use strict";
// The gallery: a page of pictures at a time, filtered by words, findings, roles and concepts. Every text is set as text.
(() => {
  const PAGE = 120;
  const all = JSON.parse(document.getElementById("pictures").textContent);
  const titles = JSON.parse(document.getElementById("finding-titles").textContent);
  const grid = document.getElementById("grid");
  const words = document.getElementById("filter-words");
  const selects = ["finding", "role", "concept", "bucket"].map((name) => document.getElementById(`filter-${name}`));
  const count = document.getElementById("count");
  const back = document.getElementById("page-back");
  const forth = document.getElementById("page-forth");
  const dialog = document.getElementById("detail");
  const lowered = all.map((p) => `${p.n}\n${p.c}`.toLowerCase());
  let shown = [];
  let page = 0;

  const make = (name, text, cls) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };

  const image = (picture, cls) => {
    if (!picture.t) return make("span", "no picture", `missing ${cls}`);
    const node = make("img", undefined, cls);
    node.src = `data:image/webp;base64,${picture.t}`;
    node.width = picture.tw;
    node.height = picture.th;
    node.alt = picture.c ? picture.c.slice(0, 120) : picture.n;
    node.loading = "lazy";
    node.decoding = "async";
    return node;
  };

  const keeps = (picture, index, wanted, [finding, role, concept, bucket]) =>
    wanted.every((word) => lowered[index].includes(word)) &&
    (!finding || (finding === "*" ? picture.f.length > 0 : finding === "-" ? picture.f.length === 0 : picture.f.includes(finding))) &&
    (!role || picture.r === role) && (!concept || picture.k === concept) && (!bucket || picture.b === bucket);

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = selects.map((select) => select.value);
    shown = [];
    all.forEach((picture, index) => { if (keeps(picture, index, wanted, chosen)) shown.push(index); });
    page = 0;
    draw();
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const first = page * PAGE;
    const part = shown.slice(first, first + PAGE);
    grid.replaceChildren(...part.map((index, place) => {
      const picture = all[index];
      const cell = make("button", undefined, "cell-button");
      cell.type = "button";
      cell.tabIndex = place === 0 ? 0 : -1;
      cell.dataset.index = index;
      const findings = picture.f.length ? `, ${picture.f.length} findings` : "";
      cell.setAttribute("aria-label", `${picture.n}${findings}. ${picture.c.slice(0, 160)}`);
      cell.append(image(picture, "cell-image"), make("span", picture.n, "cell-name"));
      if (picture.f.length) cell.append(make("span", picture.f.join(" "), "cell-findings"));
      const item = make("li");
      item.append(cell);
      return item;
    }));
    const range = shown.length ? `, ${first + 1} to ${first + part.length} shown` : "";
    count.textContent = `${shown.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} pictures${range}`;
    back.disabled = page === 0;
    forth.disabled = page >= pages - 1;
  };

  const open = (index) => {
    const picture = all[index];
    const list = make("dl", undefined, "facts");
    const say = (name, text) => { if (text) list.append(make("dt", name), make("dd", text)); };
    say("Size", `${picture.w} × ${picture.h} pixels`);
    say("Bucket", picture.b);
    say("Role", picture.r);
    say("Concept", picture.k);
    say("Findings", picture.f.map((id) => `${id}: ${titles[id] || id}`).join("; "));
    const heading = make("h3", picture.n);
    heading.id = "detail-name";
    const close = make("button", "Close", "button");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(heading, image(picture, "detail-image"), make("p", picture.c || "(no caption)", "detail-caption"), list, close);
    dialog.showModal();
  };

  grid.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell-button");
    if (cell) open(Number(cell.dataset.index));
  });
  grid.addEventListener("keydown", (event) => {
    const cells = [...grid.querySelectorAll(".cell-button")];
    const at = cells.indexOf(document.activeElement);
    if (at < 0) return;
    const top = cells[at].getBoundingClientRect().top;
    const columns = Math.max(1, cells.findIndex((cell) => cell.getBoundingClientRect().top > cells[0].getBoundingClientRect().top + 4));
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: cells.length - 1 };
    if (!(event.key in moves) || Number.isNaN(top)) return;
    event.preventDefault();
    const next = cells[Math.min(cells.length - 1, Math.max(0, moves[event.key]))];
    cells[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const turn = (by) => { page += by; draw(); grid.querySelector(".cell-button")?.focus(); };
  back.addEventListener("click", () => turn(-1));
  forth.addEventListener("click", () => turn(1));
  words.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  document.querySelectorAll("[data-show-finding]").forEach((button) => button.addEventListener("click", () => {
    words.value = "";
    selects.forEach((select) => { select.value = ""; });
    selects[0].value = button.dataset.showFinding;
    filter();
    document.getElementById("gallery").scrollIntoView();
    grid.querySelector(".cell-button")?.focus();
  }));
  document.getElementById("gallery").hidden = false;
  filter();
})();
