// Classify PNG images with a bundle in ONNX: node classify.mjs BUNDLE IMAGE...
//
// In a page, take the pixels from a canvas (getImageData) and fetch the two files of the bundle; the rest is the same.

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";
import { resize } from "./resize.mjs";

const [bundle, ...files] = process.argv.slice(2);
const says = JSON.parse(await readFile(`${bundle}/labels.json`));
const session = await ort.InferenceSession.create(await readFile(`${bundle}/model.onnx`));

const size = says.input.shape.slice(1, 3);
for (const file of files) {
  const pixels = resize(PNG.sync.read(await readFile(file)), size, says.resize);
  const images = new ort.Tensor("uint8", pixels, [1, ...size, 3]);
  const { scores } = await session.run({ images });
  const best = [...scores.data.keys()].sort((a, b) => scores.data[b] - scores.data[a]).slice(0, 5);
  for (const i of best) console.log(`${file}\t${says.labels[i][1]}\t${scores.data[i]}`);
}
