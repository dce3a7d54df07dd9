// What is shown: the state, which also stands in the address, and the rows that fit it.

import { collator, plain } from "./dom.js";
import { classes, facts, labelOf, rows } from "./data.js";

export const defaults = { view: "images", q: "", sort: "given", show: "all", from: 0, to: 100, classes: [], truth: null };
export const state = { ...defaults };
export let list = rows;

const byName = (a, b) => collator.compare(a.name, b.name) || a.index - b.index;
export const byScore = (a, b) => (b.score ?? -1) - (a.score ?? -1) || a.index - b.index;
export const sorts = {
  given: ["As given", (a, b) => a.index - b.index],
  name: ["Name", byName],
  best: ["Highest score", byScore],
  least: ["Lowest score", (a, b) => byScore(b, a)],
  class: ["Class", (a, b) => collator.compare(labelOf(a.top), labelOf(b.top)) || byScore(a, b)],
  ...(facts.labeled && { wrong: ["Worst mistakes first", (a, b) => b.wrong - a.wrong || byScore(a, b)] }),
};
export const shows = {
  all: ["All", () => true],
  ...(facts.labeled && { right: ["Right", (row) => !row.wrong], wrong: ["Wrong", (row) => row.wrong] }),
  ...(facts.min_score !== null && { unsure: ["Uncertain", (row) => row.doubt === "uncertain"] }),
  ...(facts.coverage !== null && { unknown: ["Unknown", (row) => row.doubt === "unknown"] }),
};

export const views = {
  images: "Images",
  ...(facts.labeled && { evaluation: "Evaluation" }),
  errors: "Errors",
  about: "About",
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

const listeners = [];

/** Call the listener whenever the state has changed. */
export const whenChanged = (listener) => listeners.push(listener);

export function change(changes) {
  Object.assign(state, changes);
  select();
  for (const listener of listeners) listener();
  save();
}

let saving;
export function save() {
  clearTimeout(saving); // browsers mind an address that changes with each letter
  saving = setTimeout(() => {
    const isDefault = ([key, value]) => String(value ?? "") === String(defaults[key] ?? "");
    const changed = Object.entries(state).filter((entry) => !isDefault(entry));
    history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
  }, 250);
}

/** The address is the user's to edit: what makes no sense in it is left out. */
export function restore() {
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
  for (const [key, known] of [["sort", sorts], ["show", shows], ["view", views]]) {
    if (Object.hasOwn(known, given.get(key) ?? "")) state[key] = given.get(key);
  }
  select();
  for (const listener of listeners) listener();
}
