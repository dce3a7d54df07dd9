"""From paths to labels: ours with each runtime against the pipelines that people write.

Run: ``python benchmarks/latency.py [--rounds 15] [--runtimes keras,openvino] [--checks] [NAME ...]``. 1 image, and 16.
By hand is Keras: `load_img`, `preprocess_input`, `model.predict`, and the best five labels. Where torch and
transformers are installed, their image-classification pipeline is measured as well, for the architectures that it has.
Weights are random: what a network answers does not change how long it takes. All sides of a network take turns, so that
whatever else the machine does meets all of them. The tables give medians, and how many times as fast as by hand. Each
network has a process of its own, which takes its memory along. With ``--checks`` each of our sides is also measured
without the checks of what the network gives.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from pretrained_cnn import Classifier, engine, get_spec, imagenet_labels
from pretrained_cnn.runtimes import get_runtime

NAMES = ["MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121", "ConvNeXtTiny", "NASNetMobile", "Xception"]
RUNTIMES = ["keras", "openvino", "onnxruntime", "litert"]
IMAGES = Path(__file__).parent.parent / "examples" / "images"
BATCH = 16
HAND, TRANSFORMERS = "by hand with Keras", "transformers on torch"

Side = Callable[[list[Path]], Any]
"""From paths to the best five labels of each."""


def by_hand(name: str) -> Side:
    """The tutorial."""
    builder = getattr(keras.applications, name)
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
    if find_spec("torch") is None or find_spec("transformers") is None:
        return None
    import transformers as tf

    crop = tf.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875)
    networks: dict[str, Callable[[], tuple[Any, Any]]] = {
        "ResNet50": lambda: (tf.ResNetForImageClassification(tf.ResNetConfig(num_labels=1000)), crop),
        "MobileNetV2": lambda: (
            tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(num_labels=1000)),
            tf.MobileNetV2ImageProcessorPil(),
        ),
        "ConvNeXtTiny": lambda: (tf.ConvNextForImageClassification(tf.ConvNextConfig(num_labels=1000)), crop),
    }
    if name not in networks:
        return None
    model, processor = networks[name]()
    pipe: Any = tf.pipeline("image-classification", model=model.eval(), image_processor=processor, device="cpu")
    return lambda paths: pipe([str(path) for path in paths], batch_size=len(paths), top_k=5)


def milliseconds(side: Side, paths: list[Path]) -> float:
    time.sleep(0.05)  # until the threads of the side before no longer spin
    start = time.perf_counter()
    side(paths)
    return (time.perf_counter() - start) * 1000 / len(paths)


def measure(
    name: str, runtimes: list[str], inputs: list[list[Path]], rounds: int, checks: bool = False
) -> list[dict[str, float]]:
    """For each input the median milliseconds an image of each side, measured in turns."""
    clf = Classifier(name, weights=None)
    sides = {HAND: by_hand(name)}
    with tempfile.TemporaryDirectory() as folder:
        for runtime in runtimes:
            bundle, format = Path(folder, runtime), get_runtime(runtime).format
            if format != "keras":
                clf.save(bundle, format=format)
            sides[f"`{runtime}`"] = ours(clf if format == "keras" else Classifier.load(bundle))
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
    lines = [f"| {title} | {' | '.join(sides)} |", "|---" * (len(sides) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[side]:.1f} ({row[HAND] / row[side]:.1f})" if side in row else "" for side in sides[1:]]
        lines.append(f"| {name} | {row[HAND]:.1f} | {' | '.join(cells)} |")
    for peer in (HAND, TRANSFORMERS) if TRANSFORMERS in sides else (HAND,):
        means = []
        for side in sides:
            ratios = [row[peer] / row[side] for row in rows.values() if side != peer and peer in row and side in row]
            means.append(f"**{statistics.geometric_mean(ratios):.1f}**" if ratios else "")
        lines.append(f"| times as fast as {peer}, geometric mean | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    """Print two tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runtimes", type=lambda names: names.split(","), default=RUNTIMES)
    parser.add_argument("--images", type=Path, default=IMAGES, help="a folder")
    parser.add_argument("--checks", action="store_true", help="also measure without the checks of outputs")
    options = parser.parse_args()
    images = sorted(path for path in options.images.iterdir() if path.is_file())
    titles = ["one image, path to labels (ms)", f"{BATCH} images at once (ms each)"]
    inputs = [images[:1], list(itertools.islice(itertools.cycle(images), BATCH))]
    tables: list[dict[str, dict[str, float]]] = [{} for _ in titles]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as process:
        for name in options.names:
            print(f"measuring {name}", file=sys.stderr)
            task = process.submit(measure, name, options.runtimes, inputs, options.rounds, options.checks)
            medians = task.result()
            for rows, row in zip(tables, medians, strict=True):
                rows[name] = row
    print("\n\n".join(itertools.starmap(table, zip(titles, tables, strict=True))))


if __name__ == "__main__":
    main()
