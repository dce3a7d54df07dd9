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
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import pretrained_cnn
from pretrained_cnn import Calibration, Classifier, Comparison, list_models
from pretrained_cnn.trust.confident import find_wrong_labels
from pretrained_cnn.trust.ranking import select, unsureness

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
    """A linear head on at most 128 principal components, which is quick to fit many times."""
    components = PCA(min(128, len(x) - 1), random_state=0)
    return make_pipeline(components, LogisticRegression(C=0.01, max_iter=300)).fit(x, y)


def splits(count: int, *sizes: int) -> Iterator[list[NDArray[np.intp]]]:
    """Random parts of this number of photos each, and the rest."""
    for seed in range(SPLITS):
        yield np.split(np.random.default_rng(seed).permutation(count), np.cumsum(sizes))


def show(what: str, found: str, expected: str = "") -> None:
    """One row of the table."""
    print(f"| {what} | {found} | {expected} |", flush=True)


def compare(photos: Photos) -> None:
    """How often two equally good classifiers are told apart, and two that differ."""
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
    show("compare: heads of two random sets of 250 photos told apart", f"{np.mean(same):.1%}", "")
    show("compare: a head of 250 photos found better than one of 50", f"{np.mean(told):.1%}", "")


def calibrate(photos: Photos) -> None:
    """How many photos of clothes are kept and of other things refused, and how often sets hold the true class."""
    rows: dict[str, list[float]] = {}

    def note(what: str, value: Any) -> None:
        rows.setdefault(what, []).append(float(value))

    names = sorted(set(photos.classes))
    for train, held, test in splits(len(photos.clothes), 400, 186):
        head = fit(photos.clothes[train], photos.classes[train])
        targets = np.searchsorted(names, photos.classes)
        scores = [head.predict_proba(photos.clothes[part]) for part in (held, test)]
        calibration = Calibration.fit(scores[0], photos.clothes[held], targets[held], 0.95)
        note("kept", 1 - calibration.is_unknown(photos.clothes[test]).mean())
        note("refused", calibration.is_unknown(photos.others).mean())
        known, other = (calibration.p_values(x) for x in (photos.clothes[test], photos.others))
        note("auroc", auroc(other, known))
        best = [each.max(axis=1) for each in (*scores, head.predict_proba(photos.others))]
        note("by score", (best[2] < np.quantile(best[0], 0.05)).mean())
        for coverage in (0.9, 0.95, 0.98):
            sets = Calibration.fit(scores[0], photos.clothes[held], targets[held], coverage).in_set(scores[1])
            note(f"covered {coverage}", sets[np.arange(len(test)), targets[test]].mean())
            note(f"size {coverage}", sets.sum(axis=1).mean())
    mean = {what: float(np.mean(values)) for what, values in rows.items()}
    show("calibrate: known photos kept, 0.95 promised", f"{mean['kept']:.1%}", "90.3 %")
    show(f"calibrate: {len(photos.others)} other photos refused", f"{mean['refused']:.1%}", "98.8 %")
    show("calibrate: the same by a threshold on the score", f"{mean['by score']:.1%}", "21.1 %")
    show("calibrate: AUROC of other photos against known ones", f"{mean['auroc']:.3f}", "0.995")
    for coverage, expected in ((0.9, "0.898, 1.03"), (0.95, "0.968 and 0.952, 1.30"), (0.98, "0.984, 1.73")):
        found = f"{mean[f'covered {coverage}']:.3f}, {mean[f'size {coverage}']:.2f}"
        show(f"calibrate: sets of {coverage:.0%} hold the class; mean size", found, expected)
    low = np.quantile(rows["covered 0.95"], 0.05)
    show(f"calibrate: 5th percentile of the coverage of 95 % over {SPLITS} splits", f"{low:.3f}", "0.925")


def leave_one_out(photos: Photos) -> None:
    """How many photos of a class are refused by a classifier that has never seen this class."""
    expected = {"skirt": "AUROC 0.55", "shoes": "AUROC 0.98", "hat": "AUROC 0.95"}
    for name in sorted(set(photos.classes)):
        left, known = photos.clothes[photos.classes == name], photos.clothes[photos.classes != name]
        refused, areas = [], []
        for held, test in splits(len(known), len(known) // 2):
            dummy = np.full((len(held), 2), 0.5), known[held], np.zeros(len(held), np.intp)
            calibration = Calibration.fit(*dummy, 0.95)
            refused.append(calibration.is_unknown(left).mean())
            areas.append(auroc(calibration.p_values(left), calibration.p_values(known[test])))
        found = f"{np.mean(refused):.1%}, AUROC {np.mean(areas):.2f}"
        show(f"calibrate: photos of {name} refused where the classifier has no {name}", found, expected.get(name, ""))


def references(photos: Photos) -> None:
    """What it costs to keep only some of the references."""
    for count in (60, 120, 240, 480):
        refused, kept = [], []
        for held, test in splits(len(photos.clothes), count):
            calibration = Calibration.fit(
                np.full((count, 2), 0.5), photos.clothes[held], np.zeros(count, np.intp), 0.95
            )
            refused.append(calibration.is_unknown(photos.others).mean())
            kept.append(1 - calibration.is_unknown(photos.clothes[test]).mean())
        show(f"calibrate: refused, kept with {count} references", f"{np.mean(refused):.1%}, {np.mean(kept):.1%}", "")


def label_next(photos: Photos) -> None:
    """The accuracy after each number of labels, chosen at random, by margin alone, and as `rank_unlabeled` does."""
    steps = range(50, 451, 50)
    ways = {
        "at random": np.zeros(len(steps)),
        "by margin": np.zeros(len(steps)),
        "rank_unlabeled": np.zeros(len(steps)),
    }
    for seed, (test, pool) in enumerate(splits(len(photos.clothes), 236)):
        for way, found in ways.items():
            random, have = np.random.default_rng(seed), pool[:50]
            for step in range(len(steps)):
                head = fit(photos.clothes[have], photos.classes[have])
                found[step] += (head.predict(photos.clothes[test]) == photos.classes[test]).mean() / SPLITS
                rest = np.setdiff1d(pool, have)
                unsure = unsureness(head.predict_proba(photos.clothes[rest]))
                picked: Any = random.permutation(len(rest))[:50]
                if way == "by margin":
                    picked = np.argsort(-unsure, kind="stable")[:50]
                elif way == "rank_unlabeled":
                    picked = select(unsure, photos.clothes[rest], 50)
                have = np.concatenate([have, rest[picked]])
    expected = ".548 .706 .784 .794 .815", ".548 .719 .803 .833 .841", "random's 450 with 300"
    for (way, found), advance in zip(ways.items(), expected, strict=True):
        show(f"label-next: accuracy with 50 to 450 labels {way}", " ".join(f"{x:.3f}"[1:] for x in found), advance)


def choose(clothes: Path) -> None:
    """What is chosen by the train photos, and whether that holds on photos that had no part in the choice."""
    networks = {name: Classifier(name) for name in list_models(offline=True)}
    if "MobileNet" in networks:
        networks["MobileNet (2)"] = Classifier("MobileNet", alpha=0.25)
    choice = pretrained_cnn.choose(clothes / "train", networks.values())
    tests = {
        name: Classifier.train(clothes / "train", network).compare(choice.classifier, clothes / "validation")
        for name, network in networks.items()
    }
    for each in choice.candidates:
        accuracy, (low, high) = each.accuracy or 0.0, each.interval or (0.0, 1.0)
        print(
            f"| choose: {each.name}, {each.milliseconds:.1f} ms, {each.verdict}, of {each.judged} photos "
            f"| {accuracy:.1%}, {low:.1%} to {high:.1%} | on {tests[each.name].count} others "
            f"{tests[each.name].a_accuracy:.1%}, the chosen one is {tests[each.name].verdict} |",
            flush=True,
        )


def audit(photos: Photos) -> None:
    """How many of 5 % flipped labels are among the first 10 % that an audit lists."""
    classes, truth = np.unique(photos.classes, return_inverse=True)
    count = len(truth)
    shares, listed = [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        flipped = random.choice(count, count // 20, replace=False)
        targets = truth.copy()
        targets[flipped] = (truth[flipped] + random.integers(1, len(classes), len(flipped))) % len(classes)
        found = find_wrong_labels(photos.clothes, targets, np.arange(count), len(classes), 0).images
        shares.append(np.isin(flipped, found[: count // 10]).mean())
        listed.append(len(found))
    show("audit: flipped labels (5 %) in the first 10 % that are listed", f"{np.mean(shares):.1%}", "91 %")
    show("audit: labels listed in all", f"{np.mean(listed):.0f} of {count}", "")


def auroc(low: NDArray[np.floating], high: NDArray[np.floating]) -> float:
    """How often a value of ``low`` is below one of ``high``, 0 to 1; ties count half."""
    less, same = low[:, np.newaxis] < high, low[:, np.newaxis] == high
    return float((less + same / 2).mean())


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
    audit(photos)
    compare(photos)
    calibrate(photos)
    references(photos)
    leave_one_out(photos)
    label_next(photos)
    choose(options.clothes)


if __name__ == "__main__":
    main()
