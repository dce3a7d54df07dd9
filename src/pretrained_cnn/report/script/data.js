// The data: a block of rows for each batch of images, and beside it a block of their thumbnails and heat maps.

import { $, plain } from "./dom.js";

export const facts = JSON.parse($("facts").textContent);
export const classes = facts.classes.map(([id, label]) => ({ id, label }));
const blocks = [...document.querySelectorAll(".images")];
export const rows = [];
for (const [block, element] of document.querySelectorAll(".rows").entries()) {
  for (const [offset, row] of JSON.parse(element.textContent).entries()) rows.push(toRow(row, block, offset));
  element.remove();
}

function toRow({ name, best, truth, doubt = "" }, block, offset) {
  const [top, score] = best.length ? best[0] : [null, null];
  const words = [name];
  for (const each of [top, truth]) if (each != null) words.push(classes[each].label, classes[each].id);
  return {
    name, best, truth, doubt, block, offset, top, score,
    index: rows.length,
    short: name.split(/[\\/]/).pop() || name,
    wrong: facts.labeled && top !== truth,
    text: plain(words.join(" ")),
  };
}

export const labelOf = (index) => (index == null ? "no class" : classes[index].label);

/** Thumbnails and maps stay text until they are looked at; the blocks that were used last are kept. */
const opened = new Map();
export function stored(row) {
  const found = opened.get(row.block) ?? JSON.parse(blocks[row.block].textContent);
  opened.delete(row.block);
  opened.set(row.block, found);
  if (opened.size > 48) opened.delete(opened.keys().next().value);
  return { thumbnail: found.thumbnails[row.offset], map: found.maps?.[row.offset] };
}
