// Theme and keys, and what starts the page.

import { $, make, plural, say } from "./dom.js";
import { facts, rows } from "./data.js";
import { toggleAllHeat, toggleHeat } from "./heat.js";
import { restore } from "./state.js";
import { openRow, step } from "./detail.js";
import { openView } from "./tabs.js";

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
  [["\u2190", "\u2191", "\u2192", "\u2193"], "Move between images"],
  [["Home", "End"], "First and last image"],
  [["Enter"], "Open the image"],
  [["\u2190", "\u2192"], "In an open image: previous and next"],
  [["h"], "Heat map of the image"],
  [["Shift", "h"], "Heat maps of all images"],
  [["Esc"], "Close, or clear the search"],
  [["?"], "Keyboard shortcuts"],
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
    openView("images");
    $("search").focus();
    $("search").select();
  } else if (event.key === "H") toggleAllHeat();
  else if (event.key === "h") {
    const row = event.target.closest?.(".card")?.row;
    if (row) toggleHeat(row);
    else toggleAllHeat();
  }
});

$("heat-all").addEventListener("click", toggleAllHeat);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on what is behind it
}
$("theme").addEventListener("click", () => setTheme(themes[document.documentElement.dataset.theme]));
$("help").addEventListener("click", () => $("keys").showModal());
addEventListener("hashchange", restore);

setTheme(savedTheme());
document.documentElement.style.setProperty("--shape", `${facts.size[1]} / ${facts.size[0]}`);
const date = facts.date.replaceAll(" ", "\u00a0");
$("subtitle").textContent = [plural(rows.length, "image"), facts.model, date].join(" \u00b7 ");
for (const [names, text] of keys) {
  $("key-list").append(make("dt", {}, ...names.map((name) => say("kbd", name))), say("dd", text));
}
$("content").hidden = false;
$("opening").remove();
restore();
