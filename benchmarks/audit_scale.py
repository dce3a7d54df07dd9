"""What an audit of many images, and a calibration with them, take beside the network: the time and the memory.

Run: ``python benchmarks/audit_scale.py [--images 1000 10000 50000] [--classes 10 100] [--parts audit ...]``. The part
``audit`` is all that an audit does after it has read the images and has their embeddings; other parts are steps of it.
The embeddings are random, of 512 numbers as an audit reduces them to (a calibration has 1,024), in classes that
overlap; the thumbnails are random, and one image in a hundred is a copy of another one with noise. Each part of each
size is a process of its own, and its memory is what it takes at most on top of what there was before, as Linux counts
it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.images.sources import Item
from pretrained_cnn.transfer.data import Images
from pretrained_cnn.trust import Calibration
from pretrained_cnn.trust.auditing import WIDTH, Part, find_problems
from pretrained_cnn.trust.confident import find_wrong_labels
from pretrained_cnn.trust.copies import find_copies, nearest
from pretrained_cnn.trust.looks import SIDE, Looks

COPIED = 100
"""One image in this number is a copy of the image before it."""


def draw(images: int, classes: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Embeddings of length 1, ``(images, width)``, and their classes."""
    random = np.random.default_rng(0)
    targets = random.integers(0, classes, images)
    centers = random.normal(size=(classes, width)).astype(np.float32)
    units = random.normal(size=(images, width)).astype(np.float32)
    units *= 1 / np.sqrt(1 + np.arange(width, dtype=np.float32))  # the first axes have most of the variance
    units += 0.05 * centers[targets] + 0.5
    copies = np.arange(COPIED - 1, images, COPIED)
    units[copies] = units[copies - 1] + 0.002 * random.normal(size=(len(copies), width)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return units, targets


def draw_thumbnails(images: int) -> NDArray[np.uint8]:
    """Thumbnails, ``(images, SIDE, SIDE)``; copies have that of the image before them."""
    random = np.random.default_rng(1)
    thumbnails = np.empty((images, SIDE, SIDE), np.uint8)
    for i in range(images):
        coarse = random.integers(0, 256, (8, 8), np.uint8)
        thumbnails[i] = thumbnails[i - 1] if i % COPIED == COPIED - 1 else np.kron(coarse, np.ones((4, 4), np.uint8))
    return thumbnails


def flip(targets: NDArray[np.intp], classes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The classes with 5 % of them wrong, and which ones are."""
    random = np.random.default_rng(1)
    wrong = random.choice(len(targets), len(targets) // 20, replace=False)
    flipped = targets.copy()
    flipped[wrong] = (targets[wrong] + random.integers(1, classes, len(wrong))) % classes
    return flipped, wrong


def audit(images: int, classes: int) -> Callable[[], str]:
    """All findings, from embeddings, thumbnails and what was seen in the pixels."""
    units, truth = draw(images, classes, WIDTH)
    targets, wrong = flip(truth, classes)
    random = np.random.default_rng(2)
    items = [Item(i, f"images/{i:06}.jpg", f"images/{i:06}.jpg") for i in range(images)]
    digests: list[bytes | None] = [i.to_bytes(32, "big") for i in range(images)]
    seen = random.uniform(0.3, 1, (3, images)).astype(np.float32)
    looks = Looks(1000 * seen[0], seen[1], seen[2], draw_thumbnails(images))
    part = Part(Images("images", items, targets, digests, np.ones(images)), looks, units)
    names = [f"class {i:04}" for i in range(classes)]

    def work() -> str:
        found = list(find_problems([part], names, set(names), 224, 0))
        labels = sorted((each for each in found if each.kind == "label"), key=lambda each: -each.score)
        share = np.isin(wrong, np.array([each.place for each in labels[: images // 10]])).mean()
        copied = {each.place for each in found if each.kind == "duplicate"}
        right = sum(place % COPIED == COPIED - 1 for place in copied if place is not None)
        return f"{right:,} of {images // COPIED:,} copies; {share:.0%} of the wrong labels in the first 10 %"

    return work


def copies(images: int, classes: int) -> Callable[[], str]:
    """Near duplicates, by embedding and by hash."""
    units, _ = draw(images, classes, WIDTH)
    thumbnails = draw_thumbnails(images)

    def work() -> str:
        pairs = find_copies(units, thumbnails).pairs
        right = int(((pairs[:, 1] - pairs[:, 0] == 1) & (pairs[:, 1] % COPIED == COPIED - 1)).sum())
        return f"{right:,} of {images // COPIED:,} copies, and {len(pairs) - right:,} other pairs"

    return work


def outliers(images: int, classes: int) -> Callable[[], str]:
    """The nearest neighbors of each image."""
    units, _ = draw(images, classes, WIDTH)
    return lambda: f"{sum(len(values) for _, values in nearest(units, units, 3, same=True)):,} images"


def labels(images: int, classes: int) -> Callable[[], str]:
    """Wrong labels, by cross-validation: 5 % are wrong."""
    units, truth = draw(images, classes, WIDTH)
    targets, wrong = flip(truth, classes)

    def work() -> str:
        found = find_wrong_labels(units, targets, np.arange(images), classes, 0).images
        return f"{np.isin(wrong, found[: images // 10]).mean():.0%} of the wrong ones in the first 10 %"

    return work


def calibrate(images: int, classes: int) -> Callable[[], str]:
    """The references of a calibration, and the distances between them."""
    units, targets = draw(images, classes, 1024)
    scores = np.random.default_rng(1).dirichlet(np.ones(classes), images).astype(np.float32)
    return lambda: f"{len(Calibration.fit(scores, units, targets).references):,} references are kept"


PARTS = {"audit": audit, "copies": copies, "outliers": outliers, "labels": labels, "calibrate": calibrate}


def memory(of: str) -> float:
    """The memory of this process in MB, now (``"VmRSS"``) or at most (``"VmHWM"``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(of)).split()[1]) / 1024


def measure(part: str, images: int, classes: int) -> dict[str, Any]:
    """Do one part in this process."""
    work = PARTS[part](images, classes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of what follows
    before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "before": before, "more": memory("VmHWM") - before, "found": found}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.parts[0], options.images[0], options.classes[0])))
        return
    print("| part | images | classes | seconds | of CPU | memory before (MB) | on top (MB) | found |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for part, images, classes in itertools.product(options.parts, options.images, options.classes):
        numbers = ["--images", str(images), "--classes", str(classes)]
        command = [sys.executable, __file__, "--here", "--parts", part, *numbers]
        took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"| {part} | {images:,} | {classes:,} | {took['seconds']:.1f} | {took['cpu']:.1f} | {took['before']:.0f} "
            f"| {took['more']:.0f} | {took['found']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
