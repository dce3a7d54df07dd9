"""What OpenVINO's precisions cost and give, and what a second output costs.

Run: ``python benchmarks/precision.py FOLDER [--rounds 40] [NAME ...]``. FOLDER has photos whose file names begin with a
WordNet id, such as ``n02123045_tabby.JPEG``; some hundreds of them. Four fifths of the photos quantize the network, the
others judge it. The network runs alone, without decoding, and all precisions take turns, so that whatever else the
machine does meets all of them. A precision that this machine lacks is left out.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn import Classifier, list_precisions
from pretrained_cnn.bundle.store import HELD_BACK
from pretrained_cnn.engine import Network

NAMES = ["MobileNet", "EfficientNetLite0"]
BATCH = 16
BOTH = "scores and embedding"


def in_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 2):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[2:]) for name, seconds in times.items()}  # without warming up


def ratios(networks: dict[str, Network], size: tuple[int, int], count: int, rounds: int) -> dict[str, float]:
    """How many times as fast as float32 each network is, on ``count`` images at once."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    seconds = in_turns({name: functools.partial(network.run, pixels) for name, network in networks.items()}, rounds)
    return {name: seconds["float32"] / value for name, value in seconds.items()}


def right(scores: NDArray[np.float32], classes: NDArray[np.intp]) -> float:
    return float((scores.argmax(axis=1) == classes).mean())


def measure(name: str, photos: list[Path], rounds: int) -> Iterable[str]:
    """The rows of the table for one backbone."""
    clf = Classifier(name)
    ids = [label.id for label in clf.spec.labels]
    truth = np.array([ids.index(photo.name.partition("_")[0]) for photo in photos])
    held = np.arange(len(photos)) % HELD_BACK == HELD_BACK - 1
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized, both = (Path(folder, kind) for kind in ("plain", "quantized", "both"))
        clf.save(plain, format="openvino")
        clf.save(both, format="openvino", output=["scores", "embedding"])
        check = clf.save(quantized, format="openvino", quantize=photos, min_agreement=0)
        available: list[Any] = [info.name for info in list_precisions() if info.available and info.name != "int8"]
        loaded = {precision: Classifier.load(plain, precision=precision) for precision in available}
        loaded["int8"] = Classifier.load(quantized)
        networks = {precision: each.engine.open() for precision, each in loaded.items()}
        networks[BOTH] = Classifier.load(both).engine.open(("scores", "embedding"))
        single, batch = (ratios(networks, clf.spec.input_size, count, rounds) for count in (1, BATCH))
        best = loaded["float32"].predict_proba(photos).argmax(axis=1)
        for precision in networks:
            times = f"| {name} | {precision} | {single[precision]:.2f} | {batch[precision]:.2f} |"
            if precision == BOTH:
                yield f"{times} | | |"
                continue
            scores = loaded[precision].predict_proba(photos)
            same = float((scores.argmax(axis=1) == best)[held].mean())
            yield f"{times} {right(scores, truth):.3f} | {right(scores[held], truth[held]):.3f} | {same:.3f} |"
        low, high = check.loss_interval
        yield f"| {name} | int8, best class changed | | | | | {check.loss:.3f} ({low:.3f} to {high:.3f}) |"


def main() -> None:
    """Print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    photos = sorted(path for path in options.folder.iterdir() if path.is_file())
    columns = ("backbone", "precision", "one image", f"{BATCH} at once", "top-1", "top-1, held back", "same best class")
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for name in options.names:
        for row in measure(name, photos, options.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
