(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const marks = new Map(); // from the place of an image to its right class, or to null if it is dropped
  const cards = [...document.querySelectorAll("li[data-place]")];
  const status = document.getElementById("status");

  const option = (value, text) => {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
  };

  const show = () => {
    for (const card of cards) {
      const place = Number(card.dataset.place);
      const mark = marks.get(place);
      card.querySelector("select").value = mark === undefined ? "keep" : mark === null ? "drop" : `is ${mark}`;
      card.classList.toggle("marked", mark !== undefined);
    }
    const dropped = [...marks.values()].filter((mark) => mark === null).length;
    status.textContent = `${dropped} dropped, ${marks.size - dropped} with another class`;
  };

  for (const card of cards) {
    const place = Number(card.dataset.place);
    const own = data.images[place][1];
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", "What to do with the image");
    choice.append(option("keep", "Keep"), option("drop", "Drop"));
    for (const name of data.classes.filter((name) => name !== own)) {
      choice.append(option(`is ${name}`, `Wrong label, is ${name}`));
    }
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
  const save = document.getElementById("save");
  save.disabled = data.images.some(([path]) => path === null);
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
