"""A folder of photos, from their paths to their classes: ours on each runtime, what people write, and the limit.

Run: ``python benchmarks/throughput.py FOLDER [--images 300] [--by-hand 24] [--runtimes keras,openvino:bfloat16]
[--kinds 500,12] [--work FOLDER] [NAME ...]`` with a folder of photos. They are linked to until there are enough: as
they are (``500``), and enlarged to 12 megapixels (``12``). A name behind a colon is a precision. Each side is measured
in a process of its own, with random weights, three times over all photos; the median counts, and building the network
and the first batch do not. With ``--work`` the enlarged photos and the converted networks are kept in a folder;
``--images 0`` only makes them.

- By hand: ``load_img``, ``preprocess_input`` and ``model.predict``, an image at a time.
- Dataset: ``image_dataset_from_directory`` and ``model.predict``.
- DataLoader: torch's, with a process for each core, which resize by Pillow as the transforms of torchvision do, and the
  network of the same architecture of transformers, where it has one.
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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from large_photos import enlarge
from networks import in_transformers, opened, prepare, transformers_network
from PIL import Image

from pretrained_cnn import Classifier, ImagePolicy, get_spec
from pretrained_cnn.images.batch import BATCH_SIZE, default_workers, load
from pretrained_cnn.images.sources import single_item

NAMES = ["MobileNetV2", "ResNet50", "Xception"]
RUNTIMES = ["keras", "openvino", "openvino:bfloat16", "openvino:int8", "onnxruntime", "litert"]
ROUNDS = 3
KINDS = {"500": "as they are", "12": "12 megapixels"}
MEAN, STD = (255 * np.array(each, np.float32) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

Measured = tuple[float, float, float | None]
"""Images a second, the peak of megabytes, and the limit in images a second."""


def fill(folder: Path, photos: list[Path], images: int) -> Path:
    """A folder with this number of links to the photos."""
    folder.mkdir()
    for number, photo in zip(range(images), itertools.cycle(photos), strict=False):
        (folder / f"{number:06}.jpeg").symlink_to(photo.resolve())
    return folder


def seconds(work: Callable[[], Any], rounds: int = 1) -> float:
    """The median over the rounds."""
    return statistics.median(_once(work) for _ in range(rounds))


def _once(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(photos: list[Path], taken: float) -> Measured:
    """The memory is that of this process until now; other processes, as those of a DataLoader, do not count."""
    return len(photos) / taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, None


def by_hand(name: str, photos: list[Path]) -> Measured:
    import keras

    model, preprocess_input = _with_keras(name)
    size = get_spec(name).input_size

    def classify(photo: Path) -> Any:
        image = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=size))
        return model.predict(preprocess_input(image[np.newaxis]), verbose=0)

    classify(photos[0])
    return measured(photos, seconds(lambda: [classify(photo) for photo in photos]))


def dataset(name: str, photos: list[Path]) -> Measured:
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
    return measured(photos, seconds(lambda: classify(photos[0].parent), ROUNDS))


class Photos:
    """A dataset of torch: each photo as normalized float32 ``(3, H, W)``."""

    def __init__(self, photos: list[Path], side: int) -> None:
        self.photos = photos
        self.side = side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.photos[index]) as image:
            rgb = image.convert("RGB")
        scale = self.side / 0.875 / min(rgb.size)
        width, height = (round(side * scale) for side in rgb.size)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        small = rgb.resize((width, height), Image.Resampling.BILINEAR)
        crop = np.asarray(small.crop((left, top, left + self.side, top + self.side)), np.float32)
        return ((crop - MEAN) / STD).transpose(2, 0, 1)


def data_loader(name: str, photos: list[Path]) -> Measured:
    import torch

    model, _ = transformers_network(name)
    side = get_spec(name).input_size[0]

    def classify(some: list[Path]) -> list[Any]:
        loader = torch.utils.data.DataLoader(Photos(some, side), BATCH_SIZE, num_workers=default_workers())
        with torch.inference_mode():
            return [model(batch).logits.softmax(dim=1).argmax(dim=1) for batch in loader]

    classify(photos[:BATCH_SIZE])
    return measured(photos, seconds(lambda: classify(photos), ROUNDS))


def ours(clf: Classifier, photos: list[Path]) -> Measured:
    """The rate, the memory, and then the rate if every core were busy with nothing but decoding and the runtime."""
    clf.predict_batch(photos[:BATCH_SIZE])
    taken = seconds(lambda: [result.top for result in clf.stream(photos[0].parent)], ROUNDS)
    rate, peak, _ = measured(photos, taken)
    network = clf.engine.open()
    batch = np.zeros((BATCH_SIZE, *clf.spec.input_size, 3), np.uint8)
    run = min(seconds(lambda: network.run(batch)) for _ in range(10)) / BATCH_SIZE
    some = photos[:50]
    decode = seconds(
        lambda: [load(single_item(photo), clf.spec.input_size, clf.spec.resize, ImagePolicy()) for photo in some]
    ) / len(some)
    print(f"{clf.spec.name}: decode {decode * 1000:.1f} ms, runtime {run * 1000:.1f} ms", file=sys.stderr)
    return rate, peak, 1 / (decode / default_workers() + run)


PEERS = {"by hand": by_hand, "dataset": dataset, "DataLoader": data_loader}


def _with_keras(name: str) -> tuple[Any, Any]:
    import keras

    builder = getattr(keras.applications, name)
    module = importlib.import_module(builder.__module__.replace("keras.src", "keras"))
    return builder(weights=None), module.preprocess_input


def in_a_process(side: str, name: str, folder: Path, work: Path) -> Measured:
    """What a side measures, in a process of its own."""
    command = [sys.executable, __file__, str(folder), name, "--side", side, "--work", str(work)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    rate, peak, limit = json.loads(done.stdout.splitlines()[-1])
    return rate, peak, limit


def compare(name: str, kind: str, photos: list[Path], work: Path, options: argparse.Namespace) -> Iterator[str]:
    """The rows of the table for one network and one kind of photos."""
    peers = [peer for peer in PEERS if peer != "DataLoader" or in_transformers(name)]
    rates = {}
    for side in [*peers, *options.runtimes]:
        images = options.by_hand if side == "by hand" else options.images
        with tempfile.TemporaryDirectory() as folder:
            rate, peak, limit = in_a_process(side, name, fill(Path(folder, "photos"), photos, images), work)
        rates[side] = rate
        ratios = [f"{rate / rates[peer]:.2f}" if side not in peers and peer in peers else "" for peer in PEERS]
        share = f"{rate / limit:.2f}" if limit else ""
        label = side if side in peers else f"ours, `{side}`"
        yield f"| {name}, {KINDS[kind]} | {label} | {rate:.1f} | {share} | {' | '.join(ratios)} | {peak:,.0f} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--by-hand", type=int, default=24, help="of so many images, since it is slow")
    parser.add_argument("--runtimes", type=lambda names: names.split(","), default=RUNTIMES)
    parser.add_argument("--kinds", type=lambda names: names.split(","), default=list(KINDS))
    parser.add_argument("--work", type=Path, help="keep the enlarged photos and the converted networks in this folder")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    photos = sorted(options.folder.iterdir())
    if options.side:
        name = options.names[0]
        peer = PEERS.get(options.side)
        found = ours(opened(name, options.side, options.work), photos) if peer is None else peer(name, photos)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        large = work / "enlarged"
        if "12" in options.kinds and not large.exists():
            large.mkdir(parents=True)
            for photo in photos:
                enlarge(photo, large)
        for name, runtime in itertools.product(options.names, options.runtimes):
            prepare(name, runtime, work, photos)
        if not options.images:
            return
        peers = [f"times {peer}" for peer in PEERS]
        columns = ["photos", "side", "images a second", "of the limit", *peers, "peak MiB"]
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        for name, kind in itertools.product(options.names, options.kinds):
            some = photos if kind == "500" else sorted(large.iterdir())
            for row in compare(name, kind, some, work, options):
                print(row, flush=True)


if __name__ == "__main__":
    main()
