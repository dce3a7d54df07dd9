// One image, large.

import { $, make, number, pressed, shown } from "./dom.js";
import { classes, facts, labelOf } from "./data.js";
import { fillImage, isHot, toggleHeat } from "./heat.js";
import { list, state } from "./state.js";
import { grid } from "./grid.js";

export let openRow = null;
let walk = []; // the rows that the arrows go through
let place = 0;

export function showDetail(position, within = list) {
  [walk, place, openRow] = [within, position, within[position]];
  const row = openRow;
  fillImage($("detail-image"), row);
  $("detail-place").textContent = `${number(place + 1)} of ${number(walk.length)}`;
  $("detail-name").textContent = row.short;
  $("detail-path").textContent = row.name;
  $("detail-path").hidden = row.short === row.name;
  const truth = $("detail-truth");
  truth.hidden = !facts.labeled && !row.doubt;
  truth.className = row.wrong ? "bad" : facts.labeled ? "good" : "soft";
  truth.textContent = [facts.labeled && (row.wrong ? `Wrong; true class: ${labelOf(row.truth)}` : "Right"),
    row.doubt && row.doubt[0].toUpperCase() + row.doubt.slice(1)].filter(Boolean).join(", ");
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

export const step = (by) => walk[place + by] && showDetail(place + by, walk);

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

grid.element.addEventListener("click", (event) => {
  const open = event.target.closest(".open");
  if (open) showDetail(open.closest(".card").position);
});
$("heat").addEventListener("click", () => toggleHeat(openRow));
$("copy").addEventListener("click", copyName);
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("close", closed);
