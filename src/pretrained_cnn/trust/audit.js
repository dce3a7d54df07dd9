(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const marks = new Map(); // from the place of an image to its right class, or to null if it is dropped
  const cards = [...document.querySelectorAll("li[data-place]")];
  const status = document.getElementById("status");
  const save = document.getElementById("save");
  save.disabled = data.images.some(([path]) => path === null);

  const option = (value, text) => {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
  };

  // The classes are listed when they are needed: thousands of cards may have a thousand of them each. The suggested one
  // comes first.
  const fill = (card) => {
    const choice = card.querySelector("select");
    const { label, suggested } = card.dataset;
    if (choice.length > 2) return;
    const others = data.classes.filter((name) => name !== label && name !== suggested);
    const wrong = document.createElement("optgroup");
    wrong.label = "Wrong label";
    const names = suggested === undefined ? others : [suggested, ...others];
    wrong.append(...names.map((name) => option(`is ${name}`, `is ${name}`)));
    choice.append(wrong);
  };

  const show = () => {
    for (const card of cards) {
      const place = Number(card.dataset.place);
      const mark = marks.get(place);
      if (mark) fill(card);
      card.querySelector("select").value = mark === undefined ? "keep" : mark === null ? "drop" : `is ${mark}`;
      card.classList.toggle("marked", mark !== undefined);
    }
    const dropped = [...marks.values()].filter((mark) => mark === null).length;
    const counts = `${dropped} dropped, ${marks.size - dropped} with another class`;
    status.textContent = save.disabled ? `${counts}; no CSV file can name images without a path in UTF-8` : counts;
  };

  for (const card of cards) {
    const place = Number(card.dataset.place);
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", "What to do with the image");
    choice.append(option("keep", "Keep"), option("drop", "Drop"));
    for (const event of ["pointerenter", "pointerdown", "focus"]) choice.addEventListener(event, () => fill(card));
    choice.addEventListener("change", () => {
      if (choice.value === "keep") marks.delete(place);
      else marks.set(place, choice.value === "drop" ? null : choice.value.slice(3));
      show();
    });
    card.append(choice);
  }

  const order = document.getElementById("order");
  order.addEventListener("change", () => {
    for (const list of document.querySelectorAll("ul.cards")) {
      const sorted = [...list.children].sort((a, b) =>
        order.value === "score"
          ? Number(b.dataset.score) - Number(a.dataset.score)
          : a.dataset[order.value].localeCompare(b.dataset[order.value]),
      );
      list.append(...sorted);
    }
  });

  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const weight = (place) => (data.weights ? [data.weights[place]] : []);
  save.addEventListener("click", () => {
    const rows = data.images
      .map(([path, label], place) => [path, marks.has(place) ? marks.get(place) : label, ...weight(place)])
      .filter(([, label]) => label !== null);
    const header = ["path", "label", ...(data.weights ? ["weight"] : [])];
    const text = [header, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "clean.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  show();
})();
