// An image at the size of a network, pixel for pixel as Pillow resizes it in Python.

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

// How far each filter reaches, and its weight at a distance, both in pixels of the smaller of the two images.
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0)],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

// What Pillow multiplies weights by, to compute with integers.
const ONE = 2 ** 22;

// For each of `goal` pixels between `start` and `end` of a side: the first pixel that counts, and weights from there on.
function weights(side, goal, start, end, [reach, filter]) {
  const ratio = (end - start) / goal;
  const scale = Math.max(1, ratio);
  return Array.from({ length: goal }, (_, i) => {
    const center = start + (i + 0.5) * ratio;
    const first = Math.max(0, Math.trunc(center - reach * scale + 0.5));
    const last = Math.min(side, Math.trunc(center + reach * scale + 0.5));
    const raw = Array.from({ length: last - first }, (_, k) => filter((first + k - center + 0.5) / scale));
    const sum = raw.reduce((a, b) => a + b, 0);
    return { first, weights: raw.map((w) => Math.trunc((w / sum) * ONE + (w < 0 ? -0.5 : 0.5))) };
  });
}

// One direction: `lines` lines of pixels, `step` apart from each other, whose own pixels are `stride` apart.
function along(pixels, places, lines, step, stride, out, outStep, outStride) {
  for (let line = 0; line < lines; line++) {
    places.forEach(({ first, weights }, i) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = ONE / 2;
        for (let k = 0; k < weights.length; k++) {
          sum += pixels[line * step + (first + k) * stride + channel] * weights[k];
        }
        out[line * outStep + i * outStride + channel] = Math.min(255, Math.max(0, Math.floor(sum / ONE)));
      }
    });
  }
  return out;
}

// `image` is {data, width, height} with four bytes a pixel, as a canvas gives it; `policy` is "resize" of labels.json.
// Gives height * width * 3 bytes.
export function resize(image, [height, width], policy) {
  if (!FILTERS[policy.interpolation] || !policy.antialias || policy.method === "pad") {
    throw new Error(`resize ${JSON.stringify(policy)} is not written here`);
  }
  let [left, top, right, bottom] = [0, 0, image.width, image.height];
  if (policy.method === "crop") {
    const scale = Math.min(image.width / width, image.height / height) * policy.crop_fraction;
    left = Math.max(0, (image.width - width * scale) / 2);
    top = Math.max(0, (image.height - height * scale) / 2);
    right = Math.min(image.width, left + width * scale);
    bottom = Math.min(image.height, top + height * scale);
  }
  const filter = FILTERS[policy.interpolation];
  const across = weights(image.width, width, left, right, filter);
  const down = weights(image.height, height, top, bottom, filter);
  const resized = new Uint8Array(height * width * 3);
  // Each direction rounds, so their order counts. Pillow 13 shrinks tall images vertically first; older ones never do.
  if (image.height > height && image.height - height > 2 * (image.width - width)) {
    const columns = new Uint8Array(height * image.width * 3);
    along(image.data, down, image.width, 4, image.width * 4, columns, 3, image.width * 3);
    return along(columns, across, height, image.width * 3, 3, resized, width * 3, 3);
  }
  const rows = new Uint8Array(image.height * width * 3);
  along(image.data, across, image.height, image.width * 4, 4, rows, width * 3, 3);
  return along(rows, down, width, 3, width * 3, resized, 3, width * 3);
}
