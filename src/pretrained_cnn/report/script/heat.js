// Heat maps: a small grid of bytes, drawn as an image over the thumbnail.

import { $, make, pressed } from "./dom.js";
import { facts, stored } from "./data.js";

let allHot = false;
const except = new Set();
export const isHot = (row) => facts.heat_maps !== null && allHot !== except.has(row.index);

export function toggleHeat(row) {
  if (facts.heat_maps === null) return;
  if (!except.delete(row.index)) except.add(row.index);
  refreshHeat();
}

export function toggleAllHeat() {
  if (facts.heat_maps === null) return;
  allHot = !allHot;
  except.clear();
  refreshHeat();
}

function refreshHeat() {
  pressed($("heat-all"), allHot);
  for (const image of document.querySelectorAll(".image")) if (image.row) heat(image);
  const { row } = $("detail-image");
  if (row) pressed($("heat"), isHot(row));
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
  const cells = Uint8Array.from(atob(stored(row).map), (letter) => letter.charCodeAt(0));
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

export function fillImage(image, row) {
  const source = `data:image/webp;base64,${stored(row).thumbnail}`;
  image.replaceChildren(make("img", { src: source, alt: "", decoding: "async", draggable: "false" }));
  image.row = row;
  if (isHot(row)) image.append(painted(row));
}
