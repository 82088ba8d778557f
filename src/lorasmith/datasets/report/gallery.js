"use strict";
// The gallery: a hundred pictures at a time, filtered, sorted, and one of them large. Every text is set as text.
(() => {
  const PAGE = 100;
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const about = read("about");
  const all = read("pictures");
  const grid = byId("grid");
  const words = byId("filter-words");
  const sort = byId("filter-sort");
  const finding = byId("filter-finding");
  const kinds = ["role", "concept", "bucket"].map((name) => byId(`filter-${name}`));
  const keys = ["r", "k", "b"];
  const number = byId("page-number");
  const dialog = byId("detail");
  const chips = [...document.querySelectorAll("[data-tag]")];
  let searched = null; // names and captions in lower case, made when first asked for
  let shown = []; // places in `all`, in the order they are shown
  let page = 0;
  let opened = -1; // place in `shown` of the picture in the dialog, -1 for one that a finding opened
  let opener = null;

  const make = (name, text, cls) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  const said = (count, one) => `${count.toLocaleString("en")} ${count === 1 ? one : `${one}s`}`;
  const gravest = (picture) => ["error", "warning", "info"].find((level) => (picture.f || []).some((f) => about.severities[f] === level));

  // Thumbnails: blocks of text that are taken apart when a picture of theirs is shown first.
  const blocks = new Map();
  const images = (index) => {
    const block = Math.floor(index / about.block);
    if (!blocks.has(block)) blocks.set(block, byId(`thumbnails-${block}`).textContent.split(" "));
    const [picture, mask, ...references] = blocks.get(block)[index % about.block].split("|").map((data) => (data === "-" ? "" : data));
    return { picture, mask: mask || "", references };
  };
  const image = (data, alt, picture, cls) => {
    if (!data) return make("span", "no picture", `missing ${cls}`);
    const node = make("img", undefined, cls);
    node.alt = alt;
    node.width = picture.w;
    node.height = picture.h;
    node.decoding = "async";
    node.loading = "lazy";
    node.src = `data:image/webp;base64,${data}`;
    return node;
  };

  // What is asked for: words, "whole phrases", and -without; every one has to be in the name or the caption.
  const asked = (text) => {
    const wanted = [];
    for (const [, minus, phrase, word] of text.toLowerCase().matchAll(/(-?)(?:"([^"]*)"?|(\S+))/g)) {
      const part = (phrase === undefined ? word : phrase).trim();
      if (part && part !== "-") wanted.push({ part, without: minus === "-" });
    }
    return wanted;
  };
  const phrase = (tag) => `"${tag.toLowerCase()}"`;
  const sorts = {
    name: (a, b) => all[a].n.localeCompare(all[b].n, "en", { numeric: true }),
    findings: (a, b) => (all[b].f || []).length - (all[a].f || []).length,
    short: (a, b) => all[a].c.length - all[b].c.length,
    long: (a, b) => (all[b].l || all[b].c.length) - (all[a].l || all[a].c.length),
    small: (a, b) => all[a].w * all[a].h - all[b].w * all[b].h,
    large: (a, b) => all[b].w * all[b].h - all[a].w * all[a].h,
  };
  const keeps = (picture) => {
    const wanted = finding.value;
    const found = picture.f || [];
    if (wanted === "*" && !found.length) return false;
    if (wanted === "-" && found.length) return false;
    if (/^\d+$/.test(wanted) && !found.includes(Number(wanted))) return false;
    return kinds.every((select, at) => !select || !select.value || (picture[keys[at]] || (at === 0 ? "train" : "")) === select.value);
  };
  const filter = () => {
    const wanted = asked(words.value);
    if (wanted.length && !searched) searched = all.map((p) => `${p.n}\n${p.c}`.toLowerCase());
    shown = [];
    all.forEach((picture, index) => {
      if (keeps(picture) && wanted.every(({ part, without }) => searched[index].includes(part) !== without)) shown.push(index);
    });
    if (sort.value) shown.sort((a, b) => sorts[sort.value](a, b) || a - b);
    const text = words.value.toLowerCase();
    chips.forEach((chip) => chip.setAttribute("aria-pressed", String(text.includes(phrase(chip.dataset.tag)))));
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    number.replaceChildren(...Array.from({ length: pages }, (_, at) => new Option(String(at + 1), String(at))));
    byId("page-all").textContent = ` of ${pages.toLocaleString("en")}`;
    byId("none").hidden = shown.length > 0;
    turn(0);
  };

  const cell = (place, current) => {
    const index = shown[place];
    const picture = all[index];
    const found = picture.f || [];
    const button = make("button", undefined, "cell");
    button.type = "button";
    button.tabIndex = current ? 0 : -1;
    button.dataset.place = place;
    const frame = make("span", undefined, "frame");
    frame.append(image(images(index).picture, "", picture, "cell-image"));
    button.append(frame, make("span", picture.n.split("/").pop(), "cell-name"));
    if (found.length) button.append(make("span", said(found.length, "finding"), `pill ${gravest(picture)}`));
    if (picture.r) button.append(make("span", picture.r, "pill role"));
    if (picture.c) button.append(make("span", picture.c.slice(0, 160), "unseen"));
    button.title = picture.n;
    const item = make("li");
    item.append(button);
    return item;
  };
  const turn = (to) => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(pages - 1, Math.max(0, to));
    const first = page * PAGE;
    const last = Math.min(shown.length, first + PAGE);
    const cells = [];
    for (let place = first; place < last; place += 1) cells.push(cell(place, place === first));
    grid.replaceChildren(...cells);
    const range = pages > 1 ? `; here ${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")}` : "";
    byId("count").textContent = `${shown.length.toLocaleString("en")} of ${said(all.length, "picture")}${range}`;
    number.value = String(page);
    byId("page-back").disabled = page === 0;
    byId("page-forth").disabled = page === pages - 1;
    document.querySelector(".pager").hidden = pages === 1;
  };
  // Go to a picture, on whichever page it is.
  const go = (place) => {
    const to = Math.min(shown.length - 1, Math.max(0, place));
    if (Math.floor(to / PAGE) !== page) turn(Math.floor(to / PAGE));
    const cells = [...grid.querySelectorAll(".cell")];
    cells.forEach((one) => { one.tabIndex = -1; });
    const next = cells[to - page * PAGE];
    if (!next) return;
    next.tabIndex = 0;
    next.focus();
  };
  const columns = () => {
    const cells = [...grid.children];
    const below = cells.findIndex((one) => one.offsetTop > cells[0].offsetTop);
    return below < 0 ? cells.length : below;
  };

  const facts = (picture) => {
    const list = make("dl", undefined, "facts");
    const say = (name, text) => {
      if (!text) return;
      const row = make("div");
      row.append(make("dt", name), make("dd", text));
      list.append(row);
    };
    say("Size", `${picture.w} × ${picture.h} pixels`);
    say("Bucket", picture.b);
    say("Role", picture.r || "train");
    say("Concept", picture.k);
    say("Repeats", picture.x && String(picture.x));
    return list;
  };
  const captions = (picture) => {
    const lines = picture.c.split("\n").filter((line) => line.trim());
    const rest = picture.l ? [make("p", `The whole caption has ${picture.l.toLocaleString("en")} letters; these are the first ${picture.c.length.toLocaleString("en")}.`, "muted")] : [];
    if (!lines.length) return [make("p", "It has no caption.", "muted")];
    if (lines.length === 1) {
      const only = make("p", lines[0], "caption");
      only.dir = "auto";
      return [only, ...rest];
    }
    const list = make("ol", undefined, "captions");
    lines.forEach((line) => {
      const one = make("li", line);
      one.dir = "auto";
      list.append(one);
    });
    return [make("p", `${lines.length} captions, one a line`, "muted"), list, ...rest];
  };
  const found = (picture) => {
    const list = make("ul", undefined, "notes");
    (picture.f || []).forEach((at) => {
      const level = about.severities[at];
      const item = make("li");
      item.append(make("span", level === "info" ? "note" : level, `pill ${level}`), make("span", about.findings[at]));
      list.append(item);
    });
    return list;
  };
  const figure = (node, text) => {
    const one = make("figure");
    one.append(node, make("figcaption", text));
    return one;
  };
  const button = (text, act, cls = "button") => {
    const node = make("button", text, cls);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  };
  const draw = (index) => {
    const picture = all[index];
    const { picture: data, mask, references } = images(index);
    const pictures = make("div", undefined, "detail-pictures");
    pictures.append(figure(image(data, picture.n, picture, "detail-image"), "reduced"));
    if (mask) pictures.append(figure(image(mask, `Mask of ${picture.n}`, picture, "detail-image"), "its mask: white is trained"));
    else if (picture.m) pictures.append(figure(image("", "", picture, "detail-image"), "its mask is missing"));
    const frames = picture.z ? references.splice(-picture.z) : [];
    for (const [at, reference] of references.entries()) {
      const which = references.length > 1 ? `reference ${at + 1}` : "the reference";
      pictures.append(figure(image(reference, `${which} of ${picture.n}`, {}, "detail-image"), which));
    }
    for (const [at, frame] of frames.entries()) {
      const which = at === frames.length - 1 ? "its last frame" : `frame ${at + 2} of those shown`;
      pictures.append(figure(image(frame, `${which} of ${picture.n}`, {}, "detail-image"), which));
    }
    if (picture.v) pictures.append(make("p", picture.v, "muted"));
    const heading = make("h3", picture.n);
    heading.id = "detail-name";
    heading.tabIndex = -1;
    const bar = make("div", undefined, "detail-bar");
    if (opened >= 0) {
      const back = button("Previous", () => step(-1));
      const forth = button("Next", () => step(1));
      back.disabled = opened === 0;
      forth.disabled = opened === shown.length - 1;
      const place = make("span", `${(opened + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`, "muted");
      place.setAttribute("role", "status");
      bar.append(back, forth, place);
    }
    bar.append(button("Close", () => shut(), "button close"));
    const side = make("div", undefined, "detail-words");
    side.append(...captions(picture), found(picture), facts(picture));
    const body = make("div", undefined, "detail-body");
    body.append(pictures, side);
    dialog.replaceChildren(heading, body, bar);
  };
  const step = (by) => {
    const to = opened + by;
    if (opened < 0 || to < 0 || to >= shown.length) return;
    const on = document.activeElement && document.activeElement.textContent;
    opened = to;
    draw(shown[opened]);
    const again = [...dialog.querySelectorAll("button")].find((one) => one.textContent === on && !one.disabled);
    (again || byId("detail-name")).focus();
  };
  // The focus goes back to the picture that was looked at last, or to what opened it.
  const leave = () => {
    if (!opener) return;
    if (opened >= 0) go(opened);
    else opener.focus();
    opener = null;
  };
  const shut = () => {
    dialog.close();
    leave();
  };
  const open = (index, place, from) => {
    opened = place;
    opener = from;
    draw(index);
    dialog.showModal();
    byId("detail-name").focus();
  };

  grid.addEventListener("click", (event) => {
    const chosen = event.target.closest(".cell");
    if (!chosen) return;
    go(Number(chosen.dataset.place));
    open(shown[Number(chosen.dataset.place)], Number(chosen.dataset.place), chosen);
  });
  grid.addEventListener("keydown", (event) => {
    const at = event.target.closest(".cell");
    if (!at || event.altKey || event.ctrlKey || event.metaKey) return;
    const place = Number(at.dataset.place);
    const row = columns();
    const moves = {
      ArrowRight: place + 1, ArrowLeft: place - 1, ArrowDown: place + row, ArrowUp: place - row,
      Home: page * PAGE, End: (page + 1) * PAGE - 1, PageDown: (page + 1) * PAGE, PageUp: (page - 1) * PAGE,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    if (event.key === "ArrowUp" && moves.ArrowUp < 0) return;
    go(moves[event.key]);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });
  dialog.addEventListener("close", leave); // Escape closes it without us
  byId("page-back").addEventListener("click", () => { turn(page - 1); go(page * PAGE); });
  byId("page-forth").addEventListener("click", () => { turn(page + 1); go(page * PAGE); });
  number.addEventListener("change", () => turn(Number(number.value)));
  [sort, finding, ...kinds].forEach((select) => { if (select) select.addEventListener("change", filter); });

  let waiting = 0;
  words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  chips.forEach((chip) => chip.addEventListener("click", () => {
    const tag = phrase(chip.dataset.tag);
    const at = words.value.toLowerCase().indexOf(tag);
    words.value = (at < 0 ? `${words.value} ${tag}` : words.value.slice(0, at) + words.value.slice(at + tag.length)).replace(/ {2,}/g, " ").trim();
    filter();
  }));
  const clear = () => {
    words.value = "";
    [sort, finding, ...kinds].forEach((select) => { if (select) select.value = ""; });
  };
  byId("filter-clear").addEventListener("click", () => { clear(); filter(); words.focus(); });
  document.querySelectorAll("[data-show-finding]").forEach((button) => button.addEventListener("click", () => {
    clear();
    finding.value = button.dataset.showFinding;
    filter();
    byId("gallery").scrollIntoView();
    go(0);
  }));
  document.querySelectorAll("[data-open]").forEach((shot) => shot.addEventListener("click", () => open(Number(shot.dataset.open), -1, shot)));
  byId("gallery-frame").hidden = false;
  filter();
})();
