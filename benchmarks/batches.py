"""What the batch size, the number of workers and the prefetch are worth, and how far threads can carry.

Run: ``python benchmarks/batches.py FOLDER [--model MobileNetV2] [--images 256] [--rounds 3] [--runtime keras]``, with
a folder of photos. Settings take turns, and the best of each one's rounds counts: what else the machine does only slows
it down. Then measures which part of the time for a photo needs Python's interpreter lock. Only that part cannot
continue in two threads at once, so its inverse is the number of workers beyond which no more come to bear.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from pretrained_cnn import Classifier, ImagePolicy
from pretrained_cnn.images.batch import BATCH_SIZE, default_workers, load
from pretrained_cnn.images.sources import single_item

BATCH_SIZES = [1, 4, 8, 16, 32, 64, 128]


def milliseconds(clf: Classifier, photos: list[Path], settings: dict[str, int]) -> tuple[float, float]:
    """For an image: by the clock, and of all processors together."""
    start, used = time.perf_counter(), time.process_time()
    for result in clf.stream(photos, errors="raise", **settings):
        assert result.predictions
    spent = time.perf_counter() - start, time.process_time() - used
    return spent[0] * 1000 / len(photos), spent[1] * 1000 / len(photos)


def compare(clf: Classifier, photos: list[Path], cases: list[dict[str, int]], rounds: int) -> None:
    """Print a row for each of the settings."""
    times = [[milliseconds(clf, photos, case) for case in cases] for _ in range(rounds)]
    for case, *found in zip(cases, *times, strict=True):
        clock, processors = map(min, zip(*found, strict=True))
        print(f"| {case['batch_size']} | {case['workers']} | {case['prefetch']} | {clock:.1f} | {processors:.1f} |")


def locked_part(clf: Classifier, photos: list[Path]) -> float:
    """The share of the time for a photo that is spent in Python, where only one thread can be at a time.

    Decoders and resizing let go of the interpreter. An image of 8 x 8 leaves them nothing to do.
    """
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")

    def busy(images: list[Any], size: tuple[int, int]) -> float:
        start = time.process_time()
        for image in images:
            load(single_item(image), size, clf.spec.resize, ImagePolicy())
        return (time.process_time() - start) / len(images)

    return busy([stream.getvalue()] * 1000, (8, 8)) / busy(photos, clf.spec.input_size)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="MobileNetV2")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", default="keras")
    options = parser.parse_args()
    originals = sorted(options.folder.iterdir())
    photos = list(itertools.islice(itertools.cycle(originals), options.images))
    clf = Classifier(options.model, weights=None, runtime=options.runtime)
    clf.predict_batch(photos[:BATCH_SIZE])
    workers = default_workers()
    cases = [{"batch_size": size, "workers": workers, "prefetch": 3} for size in BATCH_SIZES]
    cases += [{"batch_size": BATCH_SIZE, "workers": number, "prefetch": 3} for number in (1, 2 * workers, 4 * workers)]
    cases += [{"batch_size": BATCH_SIZE, "workers": workers, "prefetch": number} for number in (1, 2, 4)]
    print(
        f"| {options.model}: batch size | workers | prefetch | ms an image | ms of processors |\n|---|---|---|---|---|"
    )
    compare(clf, photos, cases, options.rounds)
    parts = [locked_part(clf, originals) for _ in range(options.rounds)]
    print(f"\nOf decoding and resizing, {statistics.median(parts):.0%} needs the interpreter lock.")


if __name__ == "__main__":
    main()
