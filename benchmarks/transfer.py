"""A classifier of your own classes: ours against the fit with a frozen backbone that people write with Keras.

Run: ``python benchmarks/transfer.py FOLDER [--weights FILE] [--part 160]``. The folder has ``train`` and
``validation``, each with a folder of images for each class. Keras's epochs all cost the same, so one is measured,
over ``--part`` images and after a warm-up, and the ten are calculated from it. Ours is measured whole: with an empty
cache, what OpenVINO takes to convert the network included, and once more with other settings and the cache full.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from pretrained_cnn import Classifier, get_spec

EPOCHS = 10
BATCH_SIZE = 32


class Clock:
    """Seconds since it was made: on the wall, and of the process on all cores, which other processes disturb less."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def by_hand(model: str, folder: Path, weights: str, part: int) -> list[tuple[float, float]]:
    """What an image costs in an epoch of the tutorial's fit, and in the validation after it: wall and CPU seconds."""
    size = get_spec(model).input_size
    builder = getattr(keras.applications, model)
    preprocess_input = importlib.import_module(builder.__module__.replace("keras.src", "keras")).preprocess_input
    images = keras.utils.image_dataset_from_directory(
        folder, image_size=size, batch_size=BATCH_SIZE, seed=0, verbose=False
    )
    classes = len(images.class_names)
    trunk = builder(weights=weights, include_top=False, pooling="avg", input_shape=(*size, 3))
    trunk.trainable = False
    inputs = keras.Input((*size, 3))
    features = trunk(preprocess_input(inputs), training=False)
    network = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(features))
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = part // BATCH_SIZE
    costs = []
    for work in (network.fit, network.evaluate):
        work(images.take(1), verbose=0)  # traces the graph
        clock = Clock()
        work(images.take(batches), verbose=0)
        wall, cpu = clock()
        costs.append((wall / (batches * BATCH_SIZE), cpu / (batches * BATCH_SIZE)))
    return costs


def ours(model: str, folder: Path, weights: str, runtime: str) -> tuple[list[tuple[float, float]], float]:
    """Wall and CPU seconds of a first training and of one with other settings; the first one's accuracy."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PRETRAINED_CNN_CACHE"] = cache
        costs, accuracy = [], []
        variants: list[Literal["balanced"] | None] = [None, "balanced"]
        for class_weight in variants:
            clock = Clock()
            clf = Classifier.train(
                folder / "train",
                model,
                folder / "validation",
                class_weight=class_weight,
                weights=weights,
                runtime=runtime,
            )
            costs.append(clock())
            assert clf.report is not None
            accuracy.append(clf.report.metrics["validation_accuracy"])
        return costs, accuracy[0]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="Xception")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--part", type=int, default=160)
    parser.add_argument("--runtimes", nargs="+", default=["keras", "openvino"])
    options = parser.parse_args()
    train, held = (
        sum(path.is_file() for path in (options.folder / part).rglob("*")) for part in ("train", "validation")
    )
    print("measuring Keras", file=sys.stderr)
    fit, validate = by_hand(options.model, options.folder / "train", options.weights, options.part)
    wall, cpu = (EPOCHS * (fit[i] * train + validate[i] * held) for i in range(2))
    print(f"| {options.model}, {train} + {held} images | seconds | times as fast | CPU seconds | ratio | accuracy |")
    print("|---|--:|--:|--:|--:|--:|")
    print(f"| Keras, {EPOCHS} epochs, from one over {options.part} | {wall:.0f} | | {cpu:.0f} | | |", flush=True)
    for runtime in options.runtimes:
        print(f"measuring {runtime}", file=sys.stderr)
        costs, accuracy = ours(options.model, options.folder, options.weights, runtime)
        for (seconds, cpu_seconds), when in zip(costs, ("the first time", "with other settings"), strict=True):
            print(
                f"| `{runtime}`, {when} | {seconds:.1f} | {wall / seconds:.0f} | {cpu_seconds:.1f} | "
                f"{cpu / cpu_seconds:.0f} | {f'{accuracy:.3f}' if when == 'the first time' else ''} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
