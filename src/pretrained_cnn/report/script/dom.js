// Elements and texts. Names, labels and errors are other people's: they are only ever set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; an attribute of null or false is left out, a function listens. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const say = (tag, text, kind = null) => make(tag, { class: kind }, text);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const shown = (score) => (score === null ? "no score" : percent(score));
export const number = (count) => count.toLocaleString("en");
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
export const plain = (text) => text.toLowerCase().replaceAll("_", " ");
export const collator = new Intl.Collator("en", { numeric: true });
export const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));
