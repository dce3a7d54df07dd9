// The cards: only those near the window are in the page.

import { $, make, say, shown } from "./dom.js";
import { facts, labelOf } from "./data.js";
import { fillImage, isHot, toggleHeat } from "./heat.js";
import { list, whenChanged } from "./state.js";

export function cardOf(row, small = false) {
  const image = make("span", { class: "image" });
  image.style.display = "block";
  fillImage(image, row);
  const truth = row.wrong ? `true: ${labelOf(row.truth)}` : "";
  if (row.wrong) image.append(make("span", { class: "badge cut" }, truth));
  else if (row.doubt) image.append(make("span", { class: "badge unsure" }, row.doubt));
  const meter = make("span", { class: "meter" }, make("i"));
  meter.style.setProperty("--score", row.score ?? 0);
  const spoken = [row.name, labelOf(row.top), shown(row.score), row.wrong && `wrong, ${truth}`,
    row.doubt].filter(Boolean).join(", ");
  const open = make("button", { class: "open", type: "button", tabindex: small ? "0" : "-1", "aria-label": spoken,
    title: row.name });
  const line = make("span", { class: "line" }, say("b", labelOf(row.top), "cut"), say("span", shown(row.score)));
  open.append(image, line, meter, say("small", row.short, "cut soft"));
  const kind = row.wrong ? " wrong" : row.doubt ? " unsure" : "";
  const card = make(small ? "div" : "li", { class: `card${kind}` }, open);
  if (facts.heat_maps !== null) {
    card.append(make("button", { class: "eye", type: "button", tabindex: "-1", "aria-pressed": String(isHot(row)),
      "aria-label": `Heat map of ${row.name}`, title: "Heat map (h)", click: () => toggleHeat(row) }));
  }
  card.row = row;
  return card;
}

export const grid = {
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

  /** Begin again, because the list is another one. */
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

let drawing = 0;
addEventListener("scroll", () => {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => grid.render());
}, { passive: true });
new ResizeObserver(() => grid.layout()).observe(document.querySelector(".status")); // as wide as the cards are
addEventListener("beforeprint", () => grid.print(true));
addEventListener("afterprint", () => grid.print(false));
whenChanged(() => grid.reset());
