"""A classifier of one's own classes: ours against the fit with a frozen trunk that people write with Keras.

Run: ``python benchmarks/transfer.py FOLDER [--weights FILE] [--part 160]``. The folder has ``train`` and
``validation``, each with a folder of pictures for each class. Keras's epochs all cost the same, so one is measured,
over ``--part`` pictures and after a warm-up, and the ten are calculated from it. Ours is measured whole: with an empty
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from pretrained_cnn import Classifier, get_spec

EPOCHS = 10
BATCH_SIZE = 32


def by_hand(model: str, folder: Path, weights: str, part: int) -> tuple[float, float]:
    """Seconds that one picture takes in an epoch of the tutorial's fit, and in the validation after it."""
    size = get_spec(model).input_size
    builder = getattr(keras.applications, model)
    preprocess_input = importlib.import_module(builder.__module__.replace("keras.src", "keras")).preprocess_input
    pictures = keras.utils.image_dataset_from_directory(
        folder, image_size=size, batch_size=BATCH_SIZE, seed=0, verbose=False
    )
    classes = len(pictures.class_names)
    trunk = builder(weights=weights, include_top=False, pooling="avg", input_shape=(*size, 3))
    trunk.trainable = False
    inputs = keras.Input((*size, 3))
    features = trunk(preprocess_input(inputs), training=False)
    network = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(features))
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = part // BATCH_SIZE
    network.fit(pictures.take(1), verbose=0)  # traces the graph
    start = time.perf_counter()
    network.fit(pictures.take(batches), verbose=0)
    fitted = time.perf_counter()
    network.evaluate(pictures.take(1), verbose=0)
    begun = time.perf_counter()
    network.evaluate(pictures.take(batches), verbose=0)
    return (fitted - start) / (batches * BATCH_SIZE), (time.perf_counter() - begun) / (batches * BATCH_SIZE)


def ours(model: str, folder: Path, weights: str, runtime: str) -> tuple[float, float, float]:
    """Seconds of a first training and of a second one with other settings, and the accuracy on validation."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PRETRAINED_CNN_CACHE"] = cache
        seconds = []
        for balanced in (None, "balanced"):
            start = time.perf_counter()
            clf = Classifier.train(
                folder / "train",
                model,
                validation=folder / "validation",
                class_weight=balanced,
                weights=weights,
                runtime=runtime,
            )
            seconds.append(time.perf_counter() - start)
        return seconds[0], seconds[1], clf.evaluate(folder / "validation").top1


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="Xception")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--part", type=int, default=160)
    parser.add_argument("--runtimes", nargs="+", default=["keras", "openvino"])
    options = parser.parse_args()
    count, held = (
        sum(path.is_file() for path in (options.folder / part).rglob("*")) for part in ("train", "validation")
    )
    print("measuring Keras", file=sys.stderr)
    fit, validate = by_hand(options.model, options.folder / "train", options.weights, options.part)
    hand = EPOCHS * (fit * count + validate * held)
    print(f"| {options.model}, {count} + {held} pictures | seconds | times as fast | accuracy on validation |")
    print("|---|--:|--:|--:|")
    print(
        f"| by hand with Keras, {EPOCHS} epochs, calculated from one over {options.part} | {hand:.0f} | | |", flush=True
    )
    for runtime in options.runtimes:
        print(f"measuring {runtime}", file=sys.stderr)
        first, second, accuracy = ours(options.model, options.folder, options.weights, runtime)
        print(f"| ours, `{runtime}`, the first time | {first:.1f} | {hand / first:.0f} | {accuracy:.3f} |")
        print(f"| ours, `{runtime}`, with other settings | {second:.2f} | {hand / second:.0f} | |", flush=True)


if __name__ == "__main__":
    main()
