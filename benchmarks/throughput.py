"""A folder of photos, from their paths to their classes: ours, what people write with Keras, and the machine's limit.

Run: ``python benchmarks/throughput.py FOLDER [--images 1000] [--by-hand 200] [--runtime keras] [NAME ...]`` with a
folder of photos. They are linked to until there are enough, as they are and enlarged to 12 megapixels. Each
measurement is a process of its own, with random weights; building the network and the first batch are not counted.

- By hand: ``load_img``, ``preprocess_input`` and ``model.predict``, an image at a time.
- Dataset: ``image_dataset_from_directory`` and ``model.predict``.
- Ours: ``Classifier.stream``.
- Limit: 1 / (seconds to decode and resize an image in one thread / cores + seconds that the runtime takes for one).
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from large_photos import enlarge

from pretrained_cnn import Classifier, ImagePolicy, get_spec
from pretrained_cnn.images.batch import BATCH_SIZE, default_workers, load
from pretrained_cnn.images.sources import single_item

NAMES = ["MobileNetV2", "Xception"]


def fill(folder: Path, photos: list[Path], images: int) -> Path:
    """A folder with this number of links to the photos."""
    folder.mkdir()
    for number, photo in zip(range(images), itertools.cycle(photos), strict=False):
        (folder / f"{number:06}.jpeg").symlink_to(photo.resolve())
    return folder


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_hand(name: str, photos: list[Path], runtime: str) -> float:
    """Seconds for all photos."""
    import keras

    model, preprocess_input = _with_keras(name)
    size = get_spec(name).input_size

    def classify(photo: Path) -> Any:
        image = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=size))
        return model.predict(preprocess_input(image[np.newaxis]), verbose=0)

    classify(photos[0])
    return seconds(lambda: [classify(photo) for photo in photos])


def dataset(name: str, photos: list[Path], runtime: str) -> float:
    """Seconds for all photos."""
    import keras
    import tensorflow as tf

    model, preprocess_input = _with_keras(name)

    def classify(folder: Path) -> Any:
        images = keras.utils.image_dataset_from_directory(
            folder, labels=None, image_size=get_spec(name).input_size, shuffle=False, verbose=False
        )
        return model.predict(images.map(preprocess_input).prefetch(tf.data.AUTOTUNE), verbose=0)

    with tempfile.TemporaryDirectory() as first:
        classify(fill(Path(first, "first"), photos, BATCH_SIZE))
    return seconds(lambda: classify(photos[0].parent))


def ours(name: str, photos: list[Path], runtime: str) -> float:
    """Seconds for all photos."""
    clf = Classifier(name, weights=None, runtime=runtime)
    clf.predict_batch(photos[:BATCH_SIZE])
    return seconds(lambda: [result.top for result in clf.stream(photos[0].parent)])


def limit(name: str, photos: list[Path], runtime: str) -> float:
    """Seconds for all photos if every core were busy all the time, with nothing but decoding and the runtime."""
    clf = Classifier(name, weights=None, runtime=runtime)
    clf.predict_batch(photos[:BATCH_SIZE])
    network = clf.engine.open()
    batch = np.zeros((BATCH_SIZE, *clf.spec.input_size, 3), np.uint8)
    run = min(seconds(lambda: network.run(batch)) for _ in range(10)) / BATCH_SIZE
    some = photos[:100]
    decode = seconds(
        lambda: [load(single_item(photo), clf.spec.input_size, clf.spec.resize, ImagePolicy()) for photo in some]
    ) / len(some)
    print(f"{name}: decode {decode * 1000:.1f} ms, runtime {run * 1000:.1f} ms", file=sys.stderr)
    return len(photos) * (decode / default_workers() + run)


SIDES = {"by hand": by_hand, "dataset": dataset, "ours": ours, "limit": limit}


def _with_keras(name: str) -> tuple[Any, Any]:
    import keras

    builder = getattr(keras.applications, name)
    module = importlib.import_module(builder.__module__.replace("keras.src", "keras"))
    return builder(weights=None), module.preprocess_input


def measure(side: str, name: str, folder: Path, runtime: str) -> tuple[float, float]:
    """Images a second and peak megabytes, in a process of its own."""
    command = [sys.executable, __file__, str(folder), name, "--side", side, "--runtime", runtime]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    rate, peak = json.loads(done.stdout.splitlines()[-1])
    return rate, peak


def compare(name: str, kind: str, photos: list[Path], work: Path, options: argparse.Namespace) -> None:
    """Print a row of the table."""
    counts = {side: options.by_hand if side == "by hand" else options.images for side in SIDES}
    found = {}
    for side, images in counts.items():
        folder = work / f"{kind} {images}"
        found[side] = measure(side, name, folder if folder.exists() else fill(folder, photos, images), options.runtime)
    hand, peer, own, ideal = (rate for rate, _ in found.values())
    memory = " / ".join(f"{found[side][1]:,.0f}" for side in ("by hand", "dataset", "ours"))
    print(
        f"| {name}, {kind} | {hand:.1f} | {peer:.1f} | {own:.1f} | {ideal:.1f} "
        f"| {own / hand:.1f} | {own / peer:.2f} | {own / ideal:.2f} | {memory} |",
        flush=True,
    )


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--by-hand", type=int, default=200, help="of so many images, since it is slow")
    parser.add_argument("--runtime", default="keras")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    photos = sorted(options.folder.iterdir())
    if options.side:
        taken = SIDES[options.side](options.names[0], photos, options.runtime)
        print(json.dumps([len(photos) / taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    print(f"{options.images:,} images, by hand {options.by_hand:,}; runtime {options.runtime}\n")
    print("| images a second | by hand | dataset | ours | limit | ours / by hand | / dataset | / limit ", end="")
    print("| peak memory of the three (MiB) |\n|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "enlarged").mkdir()
        kinds = {"as they are": photos, "12 megapixels": [enlarge(photo, work / "enlarged") for photo in photos]}
        for name, (kind, some) in itertools.product(options.names, kinds.items()):
            compare(name, kind, some, work, options)


if __name__ == "__main__":
    main()
