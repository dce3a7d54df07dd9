"""What a second output costs: scores alone against scores and embedding in one pass, which a calibrated bundle runs.

Run: ``python benchmarks/outputs.py [--rounds 15] [NAME ...]``; without names, all backbones. One image on OpenVINO, the
network alone, with random weights; the two take turns.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn import Classifier, list_models
from pretrained_cnn.engine import Network
from pretrained_cnn.spec import Output

BOTH: tuple[Output, ...] = ("scores", "embedding")


def seconds(network: Network, pixels: NDArray[np.uint8]) -> float:
    """What one pass takes."""
    start = time.perf_counter()
    network.run(pixels)
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> tuple[float, float]:
    """The median milliseconds of the scores alone, and the median ratio of the time for both to that."""
    with tempfile.TemporaryDirectory() as folder:
        clf = Classifier(name, weights=None)
        clf.save(Path(folder, "scores"), format="openvino")
        clf.save(Path(folder, "both"), format="openvino", output=BOTH)
        alone, both = (
            Classifier.load(Path(folder, kind)).engine.open(outputs)
            for kind, outputs in (("scores", BOTH[:1]), ("both", BOTH))
        )
        pixels = np.random.default_rng(0).integers(0, 256, (1, *clf.spec.input_size, 3), np.uint8)
        time_of = functools.partial(seconds, pixels=pixels)
        turns = [(time_of(alone), time_of(both)) for _ in range(rounds + 2)][2:]
    return 1000 * statistics.median(first for first, _ in turns), statistics.median(b / a for a, b in turns)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list_models())
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("| one image, OpenVINO | scores (ms) | scores and embedding: times as long |\n|---|--:|--:|")
    for name in options.names:
        alone, ratio = measure(name, options.rounds)
        print(f"| {name} | {alone:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
