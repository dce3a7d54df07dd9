"""What this library's answers about trust are worth, on photos of clothes: each figure beside the one expected.

Run: ``python benchmarks/trust.py CLOTHES PHOTOS [--model MobileNet]``. ``CLOTHES`` has ``train`` and ``validation``,
each with a folder of images for each class; ``PHOTOS`` holds images of none of these classes. The images are embedded
once, with weights of ImageNet; then heads are fitted to many random splits. The expected figures were measured in
advance with other code and five times as many photos of clothes, so they are near these and not the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pretrained_cnn import Classifier, Comparison

SPLITS = 40


@dataclass(frozen=True)
class Photos:
    """Embeddings ``(N, D)`` of the photos of clothes, their classes, and embeddings of photos of other things."""

    clothes: NDArray[np.float32]
    classes: NDArray[Any]
    others: NDArray[np.float32]


def embed(clothes: Path, others: Path, model: str) -> Photos:
    """All photos through the network once."""
    files = sorted(file for part in ("train", "validation") for file in (clothes / part).glob("*/*"))
    clf = Classifier(model)
    classes = np.array([file.parent.name for file in files])
    return Photos(clf.embed(files), classes, clf.embed(sorted(others.iterdir())))


def fit(x: NDArray[np.float32], y: NDArray[Any]) -> Any:
    """A linear head."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(x, y)


def splits(count: int, *sizes: int) -> Iterator[list[NDArray[np.intp]]]:
    """Random parts of so many photos each, and the rest."""
    for seed in range(SPLITS):
        yield np.split(np.random.default_rng(seed).permutation(count), np.cumsum(sizes))


def show(what: str, found: str, expected: str = "") -> None:
    """One row of the table."""
    print(f"| {what} | {found} | {expected} |", flush=True)


def compare(photos: Photos) -> None:
    """How often two classifiers of which neither is better are told apart; and two of which one is."""
    alarms, same, told = [], [], []
    for seed, (first, second, test) in enumerate(splits(len(photos.clothes), 250, 250)):
        names, truth = [str(i) for i in test], photos.classes[test].tolist()
        a, b, weak = (
            fit(photos.clothes[part], photos.classes[part]).predict(photos.clothes[test])
            for part in (first, second, first[:50])
        )
        swap = np.random.default_rng(seed).random((25, len(test))) < 0.5
        alarms += [Comparison(names, truth, np.where(s, a, b), np.where(s, b, a)).p_value < 0.05 for s in swap]
        same.append(Comparison(names, truth, a, b).p_value < 0.05)
        told.append(Comparison(names, truth, weak, a).verdict == "better")
    count = len(photos.clothes) - 500
    show(
        f"compare: told apart though answers were exchanged at random ({count} photos)",
        f"{np.mean(alarms):.1%}",
        "<= 5 %",
    )
    show("compare: heads of two random sets of 250 photos told apart", f"{np.mean(same):.1%}", "about 5 %")
    show("compare: a head of 250 photos found better than one of 50", f"{np.mean(told):.1%}", "")


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clothes", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="MobileNet")
    options = parser.parse_args()
    photos = embed(options.clothes, options.photos, options.model)
    print(
        f"| {options.model}, {len(photos.clothes)} photos of clothes, {len(photos.others)} others | found | expected |"
    )
    print("|---|--:|--:|")
    compare(photos)


if __name__ == "__main__":
    main()
