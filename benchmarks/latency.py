"""From paths to labels: ours with each runtime against the pipelines that people write.

Run: ``python benchmarks/latency.py [--rounds 15] [--runtimes keras,openvino,openvino:bfloat16] [--inputs photo,large]
[--bundles FOLDER] [--rows FILE] [--checks] [NAME ...]``. A name behind a colon is a precision. Inputs are one drawn PNG
of 480 x 360, one JPEG of 500 x 375 (``photo``), one of 4032 x 3024 (``large``), and 16 of the second kind (``batch``).
With ``--bundles`` the converted networks are kept in a folder, so that a second run does not convert them again;
``--rounds 0`` only converts. With ``--rows`` the medians are kept in a JSON file, and the tables are of all of them.

By hand is Keras: `load_img`, `preprocess_input`, `model.predict`, and the best five labels. Where torch and
transformers are installed, their image-classification pipeline is also measured, for the architectures that it has.
Weights are random: what a network answers does not change how long it takes. All sides of a network take turns, so that
whatever else the machine does meets all of them. The tables give medians, how many times as fast as by hand, and for
each of our sides what of an image's time is neither decoding nor the network, both measured alone in the same turns.
Each network has a process of its own, which takes its memory along. With ``--checks`` each of our sides is also
measured without the checks of what the network gives.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from networks import in_transformers, opened, prepare, transformers_network
from PIL import Image

from pretrained_cnn import Classifier, engine, get_spec, imagenet_labels
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item

NAMES = ["MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121", "ConvNeXtTiny", "NASNetMobile", "Xception"]
RUNTIMES = ["keras", "openvino", "onnxruntime", "litert"]
IMAGES = Path(__file__).parent.parent / "examples" / "images"
BATCH = 16
INPUTS = {
    "drawn": "one PNG of 480 x 360 (ms)",
    "photo": "one JPEG of 500 x 375 (ms)",
    "large": "one JPEG of 4032 x 3024 (ms)",
    "batch": f"{BATCH} JPEGs of 500 x 375 at once (ms each)",
}
HAND, TRANSFORMERS = "by hand with Keras", "transformers on torch"
DECODING, ALONE = "decoding alone", ", network alone"

Side = Callable[[list[Path]], Any]
"""From paths to the best five labels of each."""


def by_hand(name: str) -> Side | None:
    """The tutorial; None for a network that Keras does not have."""
    builder = getattr(keras.applications, name, None)
    if builder is None:
        return None
    model = builder(weights=None)
    preprocess_input = importlib.import_module(builder.__module__.replace("keras.src", "keras")).preprocess_input
    size, labels = get_spec(name).input_size, imagenet_labels()

    def classify(paths: list[Path]) -> Any:
        images = [keras.utils.img_to_array(keras.utils.load_img(path, target_size=size)) for path in paths]
        scores = model.predict(preprocess_input(np.stack(images)), verbose=0)
        return [[labels[i] for i in row.argsort()[-5:][::-1]] for row in scores]

    return classify


def ours(clf: Classifier) -> Side:
    return lambda paths: [clf.predict(paths[0])] if len(paths) == 1 else clf.predict_batch(paths, batch_size=BATCH)


def network_alone(clf: Classifier) -> Side:
    """The network on pixels that are there already: what no library can save but by another runtime."""
    network = clf.engine.open()
    pixels = np.full((BATCH, *clf.spec.input_size, 3), 127, np.uint8)

    def run(paths: list[Path]) -> Any:
        network.run(pixels[: len(paths)])
        return paths

    return run


def decoding_alone(clf: Classifier) -> Side:
    """Decoding and resizing: of several images by as many threads as `predict_batch` has."""
    spec = clf.spec

    def run(paths: list[Path]) -> Any:
        if len(paths) == 1:
            load(single_item(paths[0]), spec.input_size, spec.resize, clf.engine.image_policy)
            return paths
        for batch in clf.engine.batches(paths, BATCH):
            assert not any(batch.errors)
        return paths

    return run


def unchecked(side: Side) -> Side:
    """The same without the checks of what the network gives, to see what they cost."""
    original = engine.check_outputs

    def classify(paths: list[Path]) -> Any:
        engine.check_outputs = lambda spec, outputs, found, shapes, tolerance=0.0: [None] * shapes[0][0]
        try:
            return side(paths)
        finally:
            engine.check_outputs = original

    return classify


def with_transformers(name: str) -> Side | None:
    """The pipeline of transformers on a network of the same architecture; None if it has none."""
    if not in_transformers(name):
        return None
    import transformers

    model, processor = transformers_network(name)
    pipe: Any = transformers.pipeline("image-classification", model=model, image_processor=processor, device="cpu")
    return lambda paths: pipe([str(path) for path in paths], batch_size=len(paths), top_k=5)


def milliseconds(side: Side, paths: list[Path]) -> float:
    time.sleep(0.05)  # until the threads of the side before no longer spin
    start = time.perf_counter()
    side(paths)
    return (time.perf_counter() - start) * 1000 / len(paths)


def measure(
    name: str,
    runtimes: list[str],
    inputs: list[list[Path]],
    photos: list[Path],
    folder: Path,
    rounds: int,
    checks: bool = False,
) -> list[dict[str, float]]:
    """For each input the median milliseconds an image of each side, measured in turns."""
    for runtime in runtimes:
        prepare(name, runtime, folder, photos)
    if not rounds:
        return []
    clf = Classifier(name, weights=None)
    classifiers = {runtime: opened(name, runtime, folder) for runtime in runtimes}
    sides = {DECODING: decoding_alone(clf)}
    hand = by_hand(name)
    if hand is not None:
        sides = {HAND: hand, **sides}
    for runtime, mine in classifiers.items():
        sides[f"`{runtime}`"] = ours(mine)
        sides[f"`{runtime}`{ALONE}"] = network_alone(mine)
        if checks:
            sides[f"`{runtime}`, unchecked"] = unchecked(sides[f"`{runtime}`"])
    pipeline = with_transformers(name)
    if pipeline is not None:
        sides[TRANSFORMERS] = pipeline
    medians = []
    for paths in inputs:
        for side in sides.values():
            for answer in (side(paths), side(paths), side(paths)):
                assert len(answer) == len(paths)
        times = [[milliseconds(side, paths) for side in sides.values()] for _ in range(rounds)]
        columns = map(statistics.median, zip(*times, strict=True))
        medians.append(dict(zip(sides, columns, strict=True)))
    return medians


def table(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """The rows as Markdown, and the geometric means of their ratios."""
    sides = list(dict.fromkeys(itertools.chain.from_iterable(rows.values())))
    sides = [side for side in sides if side != DECODING and not side.endswith(ALONE)]
    lines = [f"| {title} | {' | '.join(sides)} |", "|---" * (len(sides) + 1) + "|"]
    for name, row in rows.items():
        ratios = {side: f" ({row[HAND] / row[side]:.1f})" if HAND in row and side != HAND else "" for side in sides}
        cells = [f"{row[side]:.1f}{ratios[side]}" if side in row else "" for side in sides]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for peer in (HAND, TRANSFORMERS) if TRANSFORMERS in sides else (HAND,):
        means = []
        for side in sides:
            found = [row[peer] / row[side] for row in rows.values() if side != peer and peer in row and side in row]
            means.append(f"**{statistics.geometric_mean(found):.1f}**" if found else "")
        lines.append(f"| times as fast as {peer}, geometric mean | {' | '.join(means)} |")
    return "\n".join(lines)


def beyond(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """What part of an image's time is neither decoding nor the network, for each of our sides, as Markdown."""
    sides = [side.removesuffix(ALONE) for side in next(iter(rows.values())) if side.endswith(ALONE)]
    lines = [f"| {title}: decoding, then network alone (time beyond both) | {DECODING} | {' | '.join(sides)} |"]
    lines.append("|---" * (len(sides) + 2) + "|")
    for name, row in rows.items():
        parts = {side: 1 - (row[DECODING] + row[side + ALONE]) / row[side] for side in sides}
        cells = [f"{row[side + ALONE]:.1f} ({100 * parts[side]:.0f} %)" for side in sides]
        lines.append(f"| {name} | {row[DECODING]:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEGs of that size as a camera writes them: our drawings, with the noise that real photos have."""
    drawings, generator = sorted(IMAGES.iterdir()), np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number}-{size[0]}.jpg"
        with Image.open(drawings[number % len(drawings)]) as image:
            pixels = np.asarray(image.convert("RGB").resize(size), np.int16)
        noise = generator.integers(-12, 13, pixels.shape, np.int16)
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def main() -> None:
    """Print two tables for each kind of input as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runtimes", type=lambda names: names.split(","), default=RUNTIMES)
    parser.add_argument("--inputs", type=lambda names: names.split(","), default=list(INPUTS))
    parser.add_argument("--bundles", type=Path, help="keep the converted networks in this folder")
    parser.add_argument("--rows", type=Path, help="keep the medians in this JSON file")
    parser.add_argument("--checks", action="store_true", help="also measure without the checks of outputs")
    options = parser.parse_intermixed_args()
    tables: dict[str, dict[str, dict[str, float]]] = {}
    if options.rows and options.rows.exists():
        tables = json.loads(options.rows.read_text("utf-8"))
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as process,
    ):
        folder, bundles = Path(name), options.bundles or Path(name, "bundles")
        bundles.mkdir(parents=True, exist_ok=True)
        photos = draw(folder, (500, 375), BATCH)
        made = {"drawn": sorted(IMAGES.iterdir())[:1], "photo": photos[:1], "batch": photos}
        made["large"] = draw(folder, (4032, 3024), 1)
        inputs = [made[kind] for kind in options.inputs]
        for name in options.names:
            print(f"measuring {name}", file=sys.stderr)
            how = (options.runtimes, inputs, photos, bundles, options.rounds, options.checks)
            medians = process.submit(measure, name, *how).result()
            for kind, row in zip(options.inputs, medians, strict=bool(options.rounds)):
                tables.setdefault(kind, {})[name] = row
            if options.rows:
                options.rows.write_text(json.dumps(tables, indent=1), "utf-8")
    for kind, rows in tables.items():
        print(f"{table(INPUTS[kind], rows)}\n\n{beyond(INPUTS[kind], rows)}\n")


if __name__ == "__main__":
    main()
