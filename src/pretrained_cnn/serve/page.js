const element = (id) => document.getElementById(id);
const [drop, image, heat, message, classes] = ["drop", "image", "heat", "message", "classes"].map(element);
const UNKNOWN = "Unknown: this image is probably of none of the classes.";
let key = "";
let current = null; // the file that is shown
let explains = false;

/** Post an image; the response, or the reason for which there is none as an Error. */
async function post(path, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { method: "POST", body: file, headers });
  if (response.ok) return response;
  element("key-form").hidden = response.status !== 401;
  const { detail } = await response.json().catch(() => ({ detail: `the service answered ${response.status}` }));
  throw new Error(detail.replace(/^image: /, ""));
}

function say(text, kind = "") {
  message.textContent = text;
  message.className = kind;
  message.hidden = !text;
}

function row({ label, score }) {
  const [item, name, percent, meter] = ["li", "span", "span", "meter"].map((tag) => document.createElement(tag));
  name.textContent = label;
  percent.textContent = `${(100 * score).toFixed(1)} %`;
  meter.value = score;
  meter.setAttribute("aria-label", label);
  item.append(name, percent, meter);
  return item;
}

function show(result) {
  say(result.status === "unknown" ? UNKNOWN : "", result.status);
  classes.className = result.status;
  classes.replaceChildren(...result.predictions.map(row));
  const set = result.label_set?.map(({ label }) => label) ?? [];
  element("label-set").hidden = result.status === "unknown" || set.length < 2;
  element("label-set").textContent = `It may be any of: ${set.join(", ")}.`;
}

function showHeat(shown) {
  heat.hidden = !shown;
  image.hidden = shown;
  element("heat-map").setAttribute("aria-pressed", String(shown));
}

/** Take an image: show it, and what is in it. */
async function take(file) {
  if (!file) return;
  current = file;
  for (const each of [image, heat]) {
    URL.revokeObjectURL(each.src);
    each.removeAttribute("src");
  }
  showHeat(false);
  image.src = URL.createObjectURL(file);
  element("shown").hidden = false;
  element("hint").hidden = true;
  element("heat-map").hidden = true;
  element("label-set").hidden = true;
  classes.replaceChildren();
  say("Looking at it \u2026");
  try {
    const result = await (await post("predict", file)).json();
    if (file !== current) return; // another one was chosen meanwhile
    show(result);
    element("heat-map").hidden = !explains;
  } catch (error) {
    if (file === current) say(error.message, "failed");
  }
}

async function toggleHeat() {
  const file = current;
  if (heat.hidden && !heat.src) {
    say("Drawing the heat map \u2026");
    try {
      const drawn = await (await post("explain", file)).blob();
      if (file !== current) return;
      heat.src = URL.createObjectURL(drawn);
      say("");
    } catch (error) {
      if (file === current) say(error.message, "failed");
      return;
    }
  }
  showHeat(heat.hidden);
}

/** Take a photo with the camera of a computer; a phone without a secure address opens its own camera. */
async function photograph() {
  if (!navigator.mediaDevices?.getUserMedia) return element("capture").click();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    element("video").srcObject = stream;
    element("camera").addEventListener("close", () => stream.getTracks().map((track) => track.stop()), { once: true });
    element("camera").showModal();
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, "failed");
  }
}

function shoot() {
  const video = element("video");
  if (!video.videoWidth) return; // it has not begun yet
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(take, "image/png");
  element("camera").close();
}

const first = (data) => [...data.files].find(({ type }) => type.startsWith("image/")) ?? data.files[0];

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
  });
}
document.addEventListener("drop", (event) => take(first(event.dataTransfer)));
document.addEventListener("paste", (event) => take(first(event.clipboardData)));
for (const id of ["file", "capture"]) {
  element(id).addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
}
image.addEventListener("error", () => {
  image.hidden = true; // a format that the service reads and the browser does not
});
element("choose").addEventListener("click", () => element("file").click());
element("photograph").addEventListener("click", photograph);
element("shoot").addEventListener("click", shoot);
element("cancel").addEventListener("click", () => element("camera").close());
element("heat-map").addEventListener("click", toggleHeat);
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("key").value;
  element("key-form").hidden = true;
  take(current);
});

fetch("health")
  .then((response) => response.json())
  .then((facts) => {
    explains = facts.heat_maps;
    element("subtitle").textContent = `What is in this image? ${facts.classes.toLocaleString("en")} classes are known.`;
  });
