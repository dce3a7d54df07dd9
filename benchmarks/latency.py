"""One photo, from its path to its labels: ours against the pipeline that people write with Keras.

Run: ``python benchmarks/latency.py [--rounds 15] [NAME ...]``. Weights are random: what a network answers does not
change how long it takes. The two sides take turns, so that whatever else the machine does meets both; a
row gives the median of each and their ratio.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from pretrained_cnn import Classifier, get_spec, imagenet_labels

NAMES = ["MobileNetV2", "EfficientNetB0", "ResNet50", "Xception"]
PHOTO = Path(__file__).parent.parent / "examples" / "images" / "clock.png"


def by_hand(name: str, photo: Path) -> Callable[[], Any]:
    """The tutorial: load_img, preprocess_input, predict, and the best five labels."""
    model = getattr(keras.applications, name)(weights=None)
    builder = getattr(keras.applications, name)
    preprocess_input = importlib.import_module(builder.__module__.replace("keras.src", "keras")).preprocess_input
    size, labels = get_spec(name).input_size, imagenet_labels()

    def classify() -> Any:
        image = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=size))
        scores = model.predict(preprocess_input(image[np.newaxis]), verbose=0)[0]
        return [labels[i] for i in scores.argsort()[-5:][::-1]]

    return classify


def ours(name: str, photo: Path) -> Callable[[], Any]:
    clf = Classifier(name, weights=None)
    return lambda: clf.predict(photo)


def milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def compare(name: str, photo: Path, rounds: int) -> tuple[float, float]:
    """Median milliseconds by hand and of ours, measured in turns."""
    calls = by_hand(name, photo), ours(name, photo)
    for call in calls:
        call(), call(), call()
    times = [[milliseconds(call) for call in calls] for _ in range(rounds)]
    hand, own = (statistics.median(column) for column in zip(*times, strict=True))
    return hand, own


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    options = parser.parse_args()
    print("| one photo, path to labels (ms) | by hand with Keras | ours | times as fast |")
    print("|---|---|---|---|")
    ratios = []
    for name in options.names:
        print(f"measuring {name}", file=sys.stderr)
        hand, own = compare(name, options.photo, options.rounds)
        ratios.append(hand / own)
        print(f"| {name} | {hand:.0f} | {own:.0f} | {hand / own:.1f} |", flush=True)
        keras.backend.clear_session()
    print(f"| geometric mean | | | **{statistics.geometric_mean(ratios):.1f}** |")


if __name__ == "__main__":
    main()
