// The filters beside the images.

import { $, collator, make, number, plain, plural, say } from "./dom.js";
import { classes, facts, labelOf, rows } from "./data.js";
import { change, defaults, list, shows, sorts, state, whenChanged } from "./state.js";
import { grid } from "./grid.js";

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
  for (const [bin, bar] of [...$("histogram").children].entries()) {
    bar.classList.toggle("in", bin * 5 >= state.from - 4 && bin * 5 + 5 <= state.to + 4);
  }
  const chip = (label, changes) => make("button", { class: "chip", type: "button", click: () => change(changes),
    "aria-label": `Remove the filter: ${label}` }, label);
  const chips = state.classes.map((index) =>
    chip(`predicted ${classes[index].label}`, { classes: state.classes.filter((each) => each !== index) }));
  if (state.truth !== null) chips.unshift(chip(`true class ${classes[state.truth].label}`, { truth: null }));
  if (state.show !== "all") chips.push(chip(shows[state.show][0], { show: "all" }));
  if (state.from > 0 || state.to < 100) chips.push(chip(`${state.from} to ${state.to} %`, { from: 0, to: 100 }));
  $("chips").replaceChildren(...chips);
  const many = make("b", {}, number(list.length));
  $("count").replaceChildren(
    ...(list.length === rows.length ? [many, rows.length === 1 ? " image" : " images"]
      : [many, ` of ${plural(rows.length, "image")}`]));
  $("none").hidden = list.length > 0;
  if (rows.length) $("none").replaceChildren(say("p", "No matching images."), make("p", {}, clearing()));
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
whenChanged(showFilters);
buildFilters();
