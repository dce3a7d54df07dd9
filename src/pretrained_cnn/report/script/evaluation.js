// The tab of a labeled report: how often the network is right, and where it is wrong.

import { $, collator, make, number, percent, plural, say } from "./dom.js";
import { facts, labelOf, rows } from "./data.js";
import { byScore, change, defaults, state } from "./state.js";
import { cardOf } from "./grid.js";
import { showDetail } from "./detail.js";

export function buildEvaluation() {
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
  if (wrong.length) view.append(mistakes(wrong));
  view.append(met.length <= 50 ? confusion(met, cells) : pairs(cells));
}

function mistakes(wrong) {
  const cards = wrong.slice(0, 12).map((row, position) => {
    const card = cardOf(row, true);
    card.querySelector(".open").addEventListener("click", () => showDetail(position, wrong));
    return card;
  });
  return make("div", { class: "part" }, say("h2", "Worst mistakes"),
    say("p", "The wrong predictions with the highest scores.", "soft"), make("div", { class: "mistakes" }, ...cards));
}

function tiles(wrong) {
  const { top1, top1_interval, top5, top5_interval, ece } = facts.evaluation;
  const interval = ([low, high]) => `95 %: ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;
  const tile = (name, value, note) =>
    make("div", { class: "tile" }, say("h3", name), say("b", value), say("p", note));
  return make("div", { class: "tiles" },
    tile("Best class right", percent(top1), interval(top1_interval)),
    tile("Among the first five", percent(top5), interval(top5_interval)),
    tile("Calibration error", ece.toFixed(3), "mean difference between score and accuracy (ECE); 0 is best"),
    tile("Wrong", number(wrong), `of ${plural(rows.length, "image")}`));
}

/** Go to the images of one class that were given another, or the same. */
function showPair(truth, top) {
  change({ ...defaults, sort: state.sort, truth, classes: top === null ? [] : [top] });
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
    make("thead", {}, make("tr", {}, say("th", "true \\ predicted"), ...heads)), make("tbody", {}, ...body));
  return make("div", { class: "part" }, say("h2", "Confusion matrix"),
    say("p", "A row for each true class, a column for each predicted class. Click a number to see its images.", "lead"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, table));
}

function cell(truth, top, count, share) {
  const spoken = `${labelOf(truth)} predicted as ${labelOf(top)}: ${count}`;
  const button = make("button", { type: "button", title: spoken, "aria-label": spoken,
    class: share > 0.6 ? "strong" : null, click: () => showPair(truth, top) }, number(count));
  button.style.setProperty("--share", share);
  return button;
}

const MOST_PAIRS = 10;

function pairs(cells) {
  const found = [...cells].map(([key, count]) => [...key.split(",").map(Number), count]);
  const confused = found.filter(([truth, top]) => truth !== top).sort((a, b) => b[2] - a[2]).slice(0, MOST_PAIRS);
  const part = make("div", { class: "part" }, say("h2", "Most confused"));
  if (!confused.length) {
    part.append(say("p", "Every prediction is right.", "soft"));
    return part;
  }
  const heads = [["True class"], ["Predicted"], ["Images", "count"]].map(([text, kind = null]) =>
    make("th", { scope: "col", class: kind }, text));
  const body = confused.map(([truth, top, count]) => {
    const spoken = `Show ${plural(count, "image")} of ${labelOf(truth)} predicted as ${labelOf(top)}`;
    const show = make("button", { class: "link", type: "button", "aria-label": spoken,
      click: () => showPair(truth, top) }, number(count));
    return make("tr", {}, say("td", labelOf(truth)), say("td", labelOf(top)), make("td", { class: "count" }, show));
  });
  part.append(make("table", { class: "pairs" }, make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...body)));
  return part;
}
