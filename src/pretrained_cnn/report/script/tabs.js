// The tabs, and what is in the small ones.

import { $, make, number, plural, say } from "./dom.js";
import { facts, rows } from "./data.js";
import { save, state, views, whenChanged } from "./state.js";
import { grid } from "./grid.js";
import { buildEvaluation } from "./evaluation.js";

function buildErrors() {
  if (!facts.errors.length) {
    $("errors").append(say("p", "Every image could be read.", "empty"));
    return;
  }
  const items = facts.errors.map(([name, reason]) => make("li", {}, say("b", name), say("span", reason, "soft")));
  $("errors").append(say("p", `${plural(items.length, "image")} could not be read.`, "lead"),
    make("ul", { class: "failures" }, ...items));
}

function buildAbout() {
  const terms = facts.about.flatMap(([term, text]) => [say("dt", term), say("dd", text)]);
  $("about").append(make("dl", { class: "terms" }, ...terms));
}

const counted = { images: rows.length, errors: facts.errors.length };

/** What fills a view when it is first looked at. */
const builders = new Map([["evaluation", buildEvaluation], ["errors", buildErrors], ["about", buildAbout]]);

function buildTabs() {
  for (const [key, label] of Object.entries(views)) {
    const count = counted[key];
    $("tabs").append(make("button", { id: `tab-${key}`, role: "tab", type: "button", "aria-controls": key,
      click: () => openView(key) },
      label, ...(count === undefined ? [] : [make("span", {}, number(count))])));
  }
  $("tabs").addEventListener("keydown", (event) => {
    const keys = Object.keys(views);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    openView(keys[(keys.indexOf(state.view) + by + keys.length) % keys.length]);
    $(`tab-${state.view}`).focus();
  });
}

export function openView(view) {
  state.view = view;
  showView();
  save();
}

let shownView = null;
function showView() {
  shownView = state.view;
  for (const key of Object.keys(views)) {
    const chosen = key === state.view;
    $(`tab-${key}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${key}`).tabIndex = chosen ? 0 : -1;
    $(key).hidden = !chosen;
    if (chosen) {
      builders.get(key)?.();
      builders.delete(key);
    }
  }
  grid.layout();
}

whenChanged(() => state.view !== shownView && showView());
buildTabs();
