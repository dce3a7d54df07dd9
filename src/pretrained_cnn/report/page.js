"use strict";
// The report's page. Names, labels and errors are other people's: they are only ever set as text, never as HTML.
(() => {
  const $ = (id) => document.getElementById(id);

  /** An element with attributes and children; an attribute of null or false is left out, a function listens. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value !== null && value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const say = (tag, text, kind = null) => make(tag, { class: kind }, text);
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const shown = (score) => (score === null ? "no score" : percent(score));
  const number = (count) => count.toLocaleString("en");
  const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
  const plain = (text) => text.toLowerCase().replaceAll("_", " ");
  const collator = new Intl.Collator("en", { numeric: true });
  const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));

  // The data: a block of rows for each batch of images, and beside it a block of their thumbnails and heat maps.

  const facts = JSON.parse($("facts").textContent);
  const classes = facts.classes.map(([id, label]) => ({ id, label }));
  const blocks = [...document.querySelectorAll(".images")];
  const rows = [];
  document.querySelectorAll(".rows").forEach((element, block) => {
    JSON.parse(element.textContent).forEach((row, offset) => rows.push(toRow(row, block, offset)));
    element.remove();
  });

  function toRow({ name, best, truth, unsure = false }, block, offset) {
    const [top, score] = best.length ? best[0] : [null, null];
    const words = [name];
    for (const each of [top, truth]) if (each != null) words.push(classes[each].label, classes[each].id);
    return {
      name, best, truth, unsure, block, offset, top, score,
      index: rows.length,
      short: name.split(/[\\/]/).pop() || name,
      wrong: facts.labeled && top !== truth,
      text: plain(words.join(" ")),
    };
  }

  const labelOf = (index) => (index == null ? "no class" : classes[index].label);

  /** Thumbnails and maps stay text until they are looked at; the blocks that were used last are kept. */
  const opened = new Map();
  function images(row) {
    const found = opened.get(row.block) ?? JSON.parse(blocks[row.block].textContent);
    opened.delete(row.block);
    opened.set(row.block, found);
    if (opened.size > 48) opened.delete(opened.keys().next().value);
    return { thumbnail: found.thumbnails[row.offset], map: found.maps?.[row.offset] };
  }

  // Heat maps: a small grid of bytes, drawn as an image over the thumbnail.

  let allHot = false;
  const except = new Set();
  const isHot = (row) => facts.heat_maps !== null && allHot !== except.has(row.index);

  function toggleHeat(row) {
    if (facts.heat_maps === null) return;
    if (!except.delete(row.index)) except.add(row.index);
    refreshHeat();
  }

  function toggleAllHeat() {
    if (facts.heat_maps === null) return;
    allHot = !allHot;
    except.clear();
    refreshHeat();
  }

  function refreshHeat() {
    pressed($("heat-all"), allHot);
    for (const image of document.querySelectorAll(".image")) if (image.row) heat(image);
    if (openRow) pressed($("heat"), isHot(openRow));
  }

  function heat(image) {
    image.querySelector(".heat")?.remove();
    if (isHot(image.row)) image.append(painted(image.row));
    const eye = image.closest(".card")?.querySelector(".eye");
    if (eye) pressed(eye, isHot(image.row));
  }

  /** The color of each level, 0 to 255, and how opaque it is: four bytes each. */
  let palette = null;
  function makePalette() {
    const stops = facts.heat_maps.colors;
    return Uint8ClampedArray.from({ length: 1024 }, (_, byte) => {
      const [level, channel] = [byte >> 2, byte & 3];
      if (channel === 3) return 0.6 * level;
      const at = (level / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      return stops[low][channel] + (at - low) * (stops[low + 1][channel] - stops[low][channel]);
    });
  }

  const canvas = document.createElement("canvas"); // one for all: Chromium stalls where there are many

  /** The map of an image: bilinear between the centers of its cells, and the more opaque the hotter. */
  function painted(row) {
    palette ??= makePalette();
    const [height, width] = facts.heat_maps.size;
    const cells = Uint8Array.from(atob(images(row).map), (letter) => letter.charCodeAt(0));
    const scale = 8; // the browser does the rest
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const image = context.createImageData(canvas.width, canvas.height);
    const between = (count) => Array.from({ length: count * scale }, (_, pixel) => {
      const at = Math.min(Math.max((pixel + 0.5) / scale - 0.5, 0), count - 1);
      const low = Math.floor(at);
      return [low, Math.min(low + 1, count - 1), at - low];
    });
    const columns = between(width);
    let out = 0;
    for (const [up, down, below] of between(height)) {
      for (const [left, right, beside] of columns) {
        const above = cells[up * width + left] * (1 - beside) + cells[up * width + right] * beside;
        const under = cells[down * width + left] * (1 - beside) + cells[down * width + right] * beside;
        const level = 4 * Math.round(above * (1 - below) + under * below);
        for (let channel = 0; channel < 4; channel++) image.data[out++] = palette[level + channel];
      }
    }
    context.putImageData(image, 0, 0);
    return make("img", { src: canvas.toDataURL(), class: "heat", alt: "" });
  }

  function fillImage(image, row) {
    const source = `data:image/webp;base64,${images(row).thumbnail}`;
    image.replaceChildren(make("img", { src: source, alt: "", decoding: "async", draggable: "false" }));
    image.row = row;
    if (isHot(row)) image.append(painted(row));
  }

  // What is shown: the state, which also stands in the address, and the rows that fit it.

  const defaults = { view: "images", q: "", sort: "given", show: "all", from: 0, to: 100, classes: [], truth: null };
  const state = { ...defaults };
  let list = rows;

  const byName = (a, b) => collator.compare(a.name, b.name) || a.index - b.index;
  const byScore = (a, b) => (b.score ?? -1) - (a.score ?? -1) || a.index - b.index;
  const sorts = {
    given: ["As given", (a, b) => a.index - b.index],
    name: ["Name", byName],
    best: ["Highest score", byScore],
    least: ["Lowest score", (a, b) => byScore(b, a)],
    class: ["Class", (a, b) => collator.compare(labelOf(a.top), labelOf(b.top)) || byScore(a, b)],
    ...(facts.labeled && { wrong: ["Worst mistakes first", (a, b) => b.wrong - a.wrong || byScore(a, b)] }),
  };
  const shows = {
    all: ["All", () => true],
    ...(facts.labeled && { right: ["Right", (row) => !row.wrong], wrong: ["Wrong", (row) => row.wrong] }),
    ...(facts.min_score !== null && { unsure: ["Uncertain", (row) => row.unsure] }),
  };

  function select() {
    const words = plain(state.q).split(/\s+/).filter(Boolean);
    const wanted = new Set(state.classes);
    const [low, high] = [state.from / 100 - 5e-5, state.to / 100 + 5e-5]; // scores have four digits
    const inRange = ({ score }) => (score === null ? state.from === 0 : score > low && score < high);
    list = rows.filter(
      (row) =>
        shows[state.show][1](row) &&
        inRange(row) &&
        (!wanted.size || wanted.has(row.top)) &&
        (state.truth === null || row.truth === state.truth) &&
        words.every((word) => row.text.includes(word)),
    );
    if (state.sort !== "given") list.sort(sorts[state.sort][1]);
  }

  let saving;
  function change(changes) {
    Object.assign(state, changes);
    select();
    showFilters();
    grid.reset();
    save();
  }

  function save() {
    clearTimeout(saving); // browsers mind an address that changes with each letter
    saving = setTimeout(() => {
      const isDefault = ([key, value]) => String(value ?? "") === String(defaults[key] ?? "");
      const changed = Object.entries(state).filter((entry) => !isDefault(entry));
      history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
    }, 250);
  }

  /** The address is the user's to edit: what makes no sense in it is left out. */
  function restore() {
    const given = new URLSearchParams(location.hash.slice(1));
    const whole = (key, low, high) => {
      const value = given.has(key) ? Number(given.get(key)) : NaN;
      return Number.isInteger(value) && value >= low && value <= high ? value : defaults[key];
    };
    const isClass = (index) => Number.isInteger(index) && index >= 0 && index < classes.length;
    Object.assign(state, defaults, {
      q: given.get("q") ?? "",
      from: whole("from", 0, 100),
      to: whole("to", 0, 100),
      truth: whole("truth", 0, classes.length - 1),
      classes: given.get("classes") ? given.get("classes").split(",").map(Number).filter(isClass) : [],
    });
    for (const [key, known] of [["sort", sorts], ["show", shows], ["view", tabs]]) {
      if (Object.hasOwn(known, given.get(key) ?? "")) state[key] = given.get(key);
    }
    select();
    showFilters();
    showView();
    grid.reset();
  }

  // The filters beside the images.

  const counts = new Map();
  for (const { top } of rows) counts.set(top, (counts.get(top) ?? 0) + 1);
  const choices = new Map();

  function choice(type, group, label, count, listener) {
    const input = make("input", { type, name: group, change: listener });
    const text = make("span", { class: "label", title: label }, label);
    const box = make("label", { class: "choice" }, input, text, make("span", { class: "number" }, number(count)));
    return { box, input };
  }

  function buildFilters() {
    for (const [key, [label]] of Object.entries(sorts)) $("sort").append(make("option", { value: key }, label));
    for (const [key, [label, test]] of Object.entries(shows)) {
      const { box, input } = choice("radio", "show", label, rows.filter(test).length, () => change({ show: key }));
      input.value = key;
      $("states").append(box);
    }
    $("states").hidden = Object.keys(shows).length === 1;
    const found = [...counts].filter(([index]) => index !== null);
    found.sort(([a, m], [b, n]) => n - m || collator.compare(labelOf(a), labelOf(b)));
    for (const [index, count] of found) {
      const toggle = () => {
        const others = state.classes.filter((each) => each !== index);
        change({ classes: others.length < state.classes.length ? others : [...others, index] });
      };
      choices.set(index, choice("checkbox", "class", classes[index].label, count, toggle));
      $("classes").append(choices.get(index).box);
    }
    $("find-class").hidden = found.length < 10;
    const bins = new Array(20).fill(0);
    for (const { score } of rows) if (score !== null) bins[Math.min(19, Math.floor(score * 20))]++;
    const most = Math.max(1, ...bins);
    for (const count of bins) {
      const bar = make("i");
      bar.style.height = `${count ? 4 + (96 * count) / most : 0}%`;
      $("histogram").append(bar);
    }
    $("heat-all").hidden = $("heat").hidden = facts.heat_maps === null;
  }

  function showFilters() {
    if ($("search").value !== state.q) $("search").value = state.q;
    $("sort").value = state.sort;
    for (const input of $("states").querySelectorAll("input")) input.checked = input.value === state.show;
    for (const [index, { input }] of choices) input.checked = state.classes.includes(index);
    $("from").value = state.from;
    $("to").value = state.to;
    $("range").textContent = `${state.from} to ${state.to} %`;
    [...$("histogram").children].forEach((bar, bin) =>
      bar.classList.toggle("in", bin * 5 >= state.from - 4 && bin * 5 + 5 <= state.to + 4),
    );
    const chip = (label, changes) => make("button", { class: "chip", type: "button", click: () => change(changes),
      "aria-label": `Remove the filter: ${label}` }, label);
    const chips = state.classes.map((index) =>
      chip(`named ${classes[index].label}`, { classes: state.classes.filter((each) => each !== index) }));
    if (state.truth !== null) chips.unshift(chip(`is ${classes[state.truth].label}`, { truth: null }));
    if (state.show !== "all") chips.push(chip(shows[state.show][0], { show: "all" }));
    if (state.from > 0 || state.to < 100) chips.push(chip(`${state.from} to ${state.to} %`, { from: 0, to: 100 }));
    $("chips").replaceChildren(...chips);
    const many = make("b", {}, number(list.length));
    $("count").replaceChildren(
      ...(list.length === rows.length ? [many, rows.length === 1 ? " image" : " images"]
        : [many, ` of ${plural(rows.length, "image")}`]));
    $("none").hidden = list.length > 0;
    if (rows.length) $("none").replaceChildren(say("p", "No image fits."), make("p", {}, clearing()));
    else {
      const why = facts.errors.length ? "None of the images could be read. The reasons are under Errors."
        : "There are no images.";
      $("none").replaceChildren(say("p", why));
    }
    $("cards").hidden = list.length === 0;
  }

  function clearing() {
    const clear = () => {
      change({ ...defaults, view: state.view, sort: state.sort });
      $("search").focus();
    };
    return make("button", { class: "toggle", type: "button", click: clear }, "Clear search and filters");
  }

  // The cards: only those near the window are in the page.

  function cardOf(row, small = false) {
    const image = make("span", { class: "image" });
    image.style.display = "block";
    fillImage(image, row);
    const truth = row.wrong ? `is ${labelOf(row.truth)}` : "";
    if (row.wrong) image.append(make("span", { class: "badge cut" }, truth));
    else if (row.unsure) image.append(make("span", { class: "badge unsure" }, "uncertain"));
    const meter = make("span", { class: "meter" }, make("i"));
    meter.style.setProperty("--score", row.score ?? 0);
    const spoken = [row.name, labelOf(row.top), shown(row.score), row.wrong && `wrong, ${truth}`,
      row.unsure && "uncertain"].filter(Boolean).join(", ");
    const open = make("button", { class: "open", type: "button", tabindex: small ? "0" : "-1", "aria-label": spoken,
      title: row.name });
    const line = make("span", { class: "line" }, say("b", labelOf(row.top), "cut"), say("span", shown(row.score)));
    open.append(image, line, meter, say("small", row.short, "cut soft"));
    const kind = row.wrong ? " wrong" : row.unsure ? " unsure" : "";
    const card = make(small ? "div" : "li", { class: `card${kind}` }, open);
    if (facts.heat_maps !== null) {
      card.append(make("button", { class: "eye", type: "button", tabindex: "-1", "aria-pressed": String(isHot(row)),
        "aria-label": `Heat map of ${row.name}`, title: "Heat map (h)", click: () => toggleHeat(row) }));
    }
    card.row = row;
    return card;
  }

  const grid = {
    element: $("cards"),
    cards: new Map(),
    active: 0,
    columns: 1,
    pitch: 1,

    /** How many columns there are, and how large a card is. */
    layout() {
      const width = this.element.clientWidth;
      if (!width) return;
      const gap = width < 500 ? 14 : 20;
      this.columns = Math.max(2, Math.floor((width + gap) / (172 + gap)));
      const card = Math.floor((width - gap * (this.columns - 1)) / this.columns);
      const [high, wide] = facts.size;
      this.pitch = Math.round((card * high) / wide) + 58 + 26;
      this.across = card + gap;
      this.element.style.setProperty("--card", `${card}px`);
      this.element.style.height = `${Math.ceil(list.length / this.columns) * this.pitch}px`;
      for (const [position, card] of this.cards) this.place(card, position);
      this.render();
    },

    place(card, position) {
      const x = (position % this.columns) * this.across;
      const y = Math.floor(position / this.columns) * this.pitch;
      card.style.transform = `translate(${x}px, ${y}px)`;
    },

    /** Begin anew, because the list is another one. */
    reset() {
      for (const card of this.cards.values()) card.remove();
      this.cards.clear();
      this.active = 0;
      if (this.element.getBoundingClientRect().top < 0) {
        scrollTo({ top: $("images").getBoundingClientRect().top + scrollY });
      }
      this.layout();
    },

    render() {
      if (!list.length || $("images").hidden || this.printing) return;
      const top = this.element.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor((-top - 600) / this.pitch)) * this.columns;
      const last = Math.min(list.length, Math.ceil((innerHeight - top + 600) / this.pitch) * this.columns);
      for (const [position, card] of this.cards) {
        if ((position < first || position >= last) && position !== this.active) {
          card.remove();
          this.cards.delete(position);
        }
      }
      for (let position = first; position < last; position++) this.need(position);
      this.need(this.active);
    },

    /** The card at a position of the list, made if need be, and in the place where Tab and readers expect it. */
    need(position) {
      if (!this.cards.has(position)) {
        const card = cardOf(list[position]);
        card.setAttribute("aria-setsize", list.length);
        card.setAttribute("aria-posinset", position + 1);
        card.position = position;
        this.place(card, position);
        const later = [...this.element.children].find((other) => other.position > position);
        this.element.insertBefore(card, later ?? null);
        this.cards.set(position, card);
        if (position === this.active) this.button(card).tabIndex = 0;
      }
      return this.cards.get(position);
    },

    button: (card) => card.querySelector(".open"),

    activate(position) {
      const before = this.cards.get(this.active);
      if (before) this.button(before).tabIndex = -1;
      this.active = position;
      this.button(this.need(position)).tabIndex = 0;
    },

    /** Bring the keyboard to a card, and the card into the window. */
    go(position) {
      this.activate(Math.min(Math.max(position, 0), list.length - 1));
      const top = this.element.getBoundingClientRect().top + Math.floor(this.active / this.columns) * this.pitch;
      const ceiling = document.querySelector(".bar").offsetHeight + 12;
      if (top < ceiling) scrollBy({ top: top - ceiling });
      else if (top + this.pitch > innerHeight) scrollBy({ top: top + this.pitch - innerHeight });
      this.render();
      this.button(this.need(this.active)).focus({ preventScroll: true });
    },

    /** On paper there is no window to be near to. */
    print(on) {
      this.printing = on;
      if (on) for (let position = 0; position < Math.min(list.length, 500); position++) this.need(position);
      else this.reset();
    },
  };

  grid.element.addEventListener("click", (event) => {
    const open = event.target.closest(".open");
    if (open) showDetail(open.closest(".card").position);
  });
  grid.element.addEventListener("focusin", (event) => {
    const { position } = event.target.closest(".card");
    if (position !== grid.active) grid.activate(position);
  });
  grid.element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = grid.columns * Math.max(1, Math.floor((innerHeight - 80) / grid.pitch));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns,
      PageUp: -page, PageDown: page, Home: -grid.active, End: list.length - 1 - grid.active };
    if (!Object.hasOwn(steps, event.key)) return;
    event.preventDefault();
    const to = grid.active + steps[event.key];
    if (event.key === "ArrowUp" && to < 0) $("search").focus();
    else grid.go(to);
  });

  // One image, large.

  let openRow = null;
  let walk = []; // the rows that the arrows go through
  let place = 0;

  function showDetail(position, within = list) {
    [walk, place, openRow] = [within, position, within[position]];
    const row = openRow;
    fillImage($("detail-image"), row);
    $("detail-place").textContent = `${number(place + 1)} of ${number(walk.length)}`;
    $("detail-name").textContent = row.short;
    $("detail-path").textContent = row.name;
    $("detail-path").hidden = row.short === row.name;
    const truth = $("detail-truth");
    truth.hidden = !facts.labeled && !row.unsure;
    truth.className = row.wrong ? "bad" : facts.labeled ? "good" : "soft";
    truth.textContent = [facts.labeled && (row.wrong ? `Wrong: it is ${labelOf(row.truth)}` : "Right"),
      row.unsure && "Uncertain"].filter(Boolean).join(", ");
    $("bars").replaceChildren(...row.best.map(([index, score]) => {
      const { id, label } = classes[index];
      const meter = make("span", { class: "meter" }, make("i"));
      meter.style.setProperty("--score", score ?? 0);
      const name = make("span", { class: "cut", title: label }, index === row.truth ? make("b", {}, label) : label,
        ...(id === label ? [] : [make("small", {}, id)]));
      return make("li", {}, make("span", { class: "line" }, name, make("span", {}, shown(score))), meter);
    }));
    $("previous").disabled = place === 0;
    $("next").disabled = place === walk.length - 1;
    $("copy").textContent = "Copy name";
    pressed($("heat"), isHot(row));
    if (!$("detail").open) {
      $("detail").showModal();
      $("detail-name").focus({ preventScroll: true }); // what a screen reader begins with
    }
  }

  const step = (by) => walk[place + by] && showDetail(place + by, walk);

  function closed() {
    const last = openRow;
    openRow = null;
    $("detail-image").row = null;
    if (state.view === "images" && walk === list && last) grid.go(place);
  }

  async function copyName() {
    const row = openRow;
    try {
      await navigator.clipboard.writeText(row.name);
      $("copy").textContent = "Copied";
    } catch { // the clipboard is closed to this page: then it is ready for Ctrl+C
      getSelection().selectAllChildren($(row.short === row.name ? "detail-name" : "detail-path"));
      $("copy").textContent = "Selected";
    }
  }

  // Errors, evaluation, about.

  function buildErrors() {
    if (!facts.errors.length) {
      $("errors").append(say("p", "Every image could be read.", "empty"));
      return;
    }
    const items = facts.errors.map(([name, reason]) => make("li", {}, say("b", name), say("span", reason, "soft")));
    $("errors").append(say("p", `${plural(items.length, "image")} could not be read.`, "lead"),
      make("ul", { class: "failures" }, ...items));
  }

  function buildEvaluation() {
    const view = $("evaluation");
    if (facts.evaluation === null) {
      view.append(say("p", "No image could be read, so there is nothing to evaluate.", "empty"));
      return;
    }
    const wrong = rows.filter((row) => row.wrong).sort(byScore);
    view.append(tiles(wrong.length));
    const cells = new Map();
    for (const { truth, top } of rows) cells.set(`${truth},${top}`, (cells.get(`${truth},${top}`) ?? 0) + 1);
    const met = [...new Set(rows.flatMap(({ truth, top }) => [truth, top]))];
    met.sort((a, b) => collator.compare(labelOf(a), labelOf(b)));
    view.append(met.length <= 50 ? confusion(met, cells) : pairs(cells));
    if (!wrong.length) return;
    const cards = wrong.slice(0, 12).map((row, position) => {
      const card = cardOf(row, true);
      card.querySelector(".open").addEventListener("click", () => showDetail(position, wrong));
      return card;
    });
    view.append(make("div", { class: "part" }, say("h2", "Worst mistakes"),
      say("p", "The wrong classes with the highest scores.", "soft"), make("div", { class: "mistakes" }, ...cards)));
  }

  function tiles(wrong) {
    const { top1, top1_interval, top5, top5_interval, ece } = facts.evaluation;
    const interval = ([low, high]) => `95 %: ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;
    const tile = (name, value, note) =>
      make("div", { class: "tile" }, say("h3", name), say("b", value), say("p", note));
    return make("div", { class: "tiles" },
      tile("Best class right", percent(top1), interval(top1_interval)),
      tile("Among the first five", percent(top5), interval(top5_interval)),
      tile("Calibration error", ece.toFixed(3), "how far scores are from how often they are right"),
      tile("Wrong", number(wrong), `of ${plural(rows.length, "image")}`));
  }

  /** Go to the images of one class that were given another, or the same. */
  function showPair(truth, top) {
    change({ ...defaults, sort: state.sort, truth, classes: top === null ? [] : [top] });
    showView();
    $("images").focus();
  }

  function confusion(met, cells) {
    const heads = met.map((top) => make("th", { scope: "col", title: labelOf(top) }, say("span", labelOf(top))));
    const body = met.map((truth) => {
      const found = met.map((top) => cells.get(`${truth},${top}`) ?? 0);
      const all = found.reduce((sum, count) => sum + count, 0);
      const row = met.map((top, column) => make("td", { class: truth === top ? "right" : null },
        found[column] ? cell(truth, top, found[column], found[column] / all) : make("i")));
      return make("tr", {}, make("th", { scope: "row", title: labelOf(truth) }, labelOf(truth)), ...row);
    });
    const table = make("table", { class: "confusion" },
      make("thead", {}, make("tr", {}, say("th", "is \\ named"), ...heads)), make("tbody", {}, ...body));
    return make("div", { class: "part" }, say("h2", "Confusion matrix"),
      say("p", "A row for each class as it is, a column for what it was named. A number shows its images.", "lead"),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, table));
  }

  function cell(truth, top, count, share) {
    const spoken = `${labelOf(truth)} named ${labelOf(top)}: ${count}`;
    const button = make("button", { type: "button", title: spoken, "aria-label": spoken,
      class: share > 0.6 ? "strong" : null, click: () => showPair(truth, top) }, number(count));
    button.style.setProperty("--share", share);
    return button;
  }

  function pairs(cells) {
    const found = [...cells].map(([key, count]) => [...key.split(",").map(Number), count]);
    const confused = found.filter(([truth, top]) => truth !== top).sort((a, b) => b[2] - a[2]).slice(0, 30);
    const part = make("div", { class: "part" }, say("h2", "Most confused"));
    if (!confused.length) {
      part.append(say("p", "No image was named wrongly.", "soft"));
      return part;
    }
    const heads = [["Is"], ["Was named"], ["Images", "count"]].map(([text, kind = null]) =>
      make("th", { scope: "col", class: kind }, text));
    const body = confused.map(([truth, top, count]) => {
      const spoken = `Show ${plural(count, "image")} of ${labelOf(truth)} named ${labelOf(top)}`;
      const show = make("button", { class: "link", type: "button", "aria-label": spoken,
        click: () => showPair(truth, top) }, number(count));
      return make("tr", {}, say("td", labelOf(truth)), say("td", labelOf(top)), make("td", { class: "count" }, show));
    });
    part.append(make("table", { class: "pairs" }, make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...body)));
    return part;
  }

  function buildAbout() {
    const terms = facts.about.flatMap(([term, text]) => [say("dt", term), say("dd", text)]);
    $("about").append(make("dl", { class: "terms" }, ...terms));
  }

  // Tabs, theme, keys.

  const tabs = {
    images: { label: "Images", count: rows.length },
    ...(facts.labeled && { evaluation: { label: "Evaluation", build: buildEvaluation } }),
    errors: { label: "Errors", count: facts.errors.length, build: buildErrors },
    about: { label: "About", build: buildAbout },
  };

  function buildTabs() {
    for (const [key, { label, count }] of Object.entries(tabs)) {
      $("tabs").append(make("button", { id: `tab-${key}`, role: "tab", type: "button", "aria-controls": key,
        click: () => { state.view = key; showView(); save(); } },
        label, ...(count === undefined ? [] : [make("span", {}, number(count))])));
    }
    $("tabs").addEventListener("keydown", (event) => {
      const keys = Object.keys(tabs);
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      state.view = keys[(keys.indexOf(state.view) + by + keys.length) % keys.length];
      showView();
      save();
      $(`tab-${state.view}`).focus();
    });
  }

  function showView() {
    for (const [key, tab] of Object.entries(tabs)) {
      const chosen = key === state.view;
      $(`tab-${key}`).setAttribute("aria-selected", String(chosen));
      $(`tab-${key}`).tabIndex = chosen ? 0 : -1;
      $(key).hidden = !chosen;
      if (chosen && tab.build) {
        tab.build();
        delete tab.build; // it is built once, when it is first looked at
      }
    }
    grid.layout();
  }

  const themes = { auto: "light", light: "dark", dark: "auto" };
  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = theme;
    $("theme").setAttribute("aria-label", `Theme: ${theme}`);
    try {
      localStorage.setItem("pretrained-cnn-theme", theme);
    } catch { /* it will be asked for again */ }
  }

  function savedTheme() {
    try {
      const theme = localStorage.getItem("pretrained-cnn-theme");
      return Object.hasOwn(themes, theme ?? "") ? theme : "auto";
    } catch {
      return "auto";
    }
  }

  const keys = [
    [["/"], "Search"],
    [["\u2190", "\u2191", "\u2192", "\u2193"], "Go from image to image"],
    [["Home", "End"], "First and last image"],
    [["Enter"], "Open the image"],
    [["\u2190", "\u2192"], "In an open image: previous and next"],
    [["h"], "Heat map of the image"],
    [["Shift", "h"], "Heat maps of all images"],
    [["Esc"], "Close, or clear the search"],
    [["?"], "These keys"],
  ].filter(([, text]) => facts.heat_maps !== null || !text.startsWith("Heat"));

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest?.("input:not([type=range], [type=checkbox], [type=radio]), select");
    if ($("keys").open) return;
    if ($("detail").open) {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) { event.preventDefault(); step(by); }
      else if (event.key === "h") toggleHeat(openRow);
      else if (event.key === "H") toggleAllHeat();
      return;
    }
    if (typing) return;
    if (event.key === "?") $("keys").showModal();
    else if (event.key === "/") {
      event.preventDefault();
      state.view = "images";
      showView();
      $("search").focus();
      $("search").select();
    } else if (event.key === "H") toggleAllHeat();
    else if (event.key === "h") {
      const row = event.target.closest?.(".card")?.row;
      if (row) toggleHeat(row);
      else toggleAllHeat();
    }
  });

  $("search").addEventListener("input", () => change({ q: $("search").value }));
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.q) {
      event.preventDefault();
      change({ q: "" });
    } else if (event.key === "Escape" && list.length) grid.go(grid.active);
    else if ((event.key === "ArrowDown" || event.key === "Enter") && list.length) {
      event.preventDefault();
      grid.go(grid.active);
    }
  });
  $("sort").addEventListener("change", () => change({ sort: $("sort").value }));
  $("from").addEventListener("input", () => change({ from: Math.min(Number($("from").value), state.to) }));
  $("to").addEventListener("input", () => change({ to: Math.max(Number($("to").value), state.from) }));
  $("find-class").addEventListener("input", () => {
    const text = plain($("find-class").value);
    for (const [index, { box }] of choices) {
      box.hidden = !plain(`${classes[index].label} ${classes[index].id}`).includes(text);
    }
  });
  $("filters").addEventListener("click", () => {
    const open = $("facets").classList.toggle("open");
    $("filters").setAttribute("aria-expanded", String(open));
    grid.layout();
  });
  $("heat-all").addEventListener("click", toggleAllHeat);
  $("heat").addEventListener("click", () => toggleHeat(openRow));
  $("copy").addEventListener("click", copyName);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => $("detail").close());
  $("detail").addEventListener("close", closed);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on what is behind it
  }
  $("theme").addEventListener("click", () => setTheme(themes[document.documentElement.dataset.theme]));
  $("help").addEventListener("click", () => $("keys").showModal());
  let drawing = 0;
  addEventListener("scroll", () => {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => grid.render());
  }, { passive: true });
  new ResizeObserver(() => grid.layout()).observe(document.querySelector(".status")); // as wide as the cards are
  addEventListener("hashchange", restore);
  addEventListener("beforeprint", () => grid.print(true));
  addEventListener("afterprint", () => grid.print(false));

  setTheme(savedTheme());
  document.documentElement.style.setProperty("--shape", `${facts.size[1]} / ${facts.size[0]}`);
  const date = facts.date.replaceAll(" ", "\u00a0");
  $("subtitle").textContent = [plural(rows.length, "image"), facts.model, date].join(" \u00b7 ");
  for (const [names, text] of keys) {
    $("key-list").append(make("dt", {}, ...names.map((name) => say("kbd", name))), say("dd", text));
  }
  buildTabs();
  buildFilters();
  $("content").hidden = false;
  $("opening").remove();
  restore();
})();
