"""What this library's answers about trust are worth, on photos of clothes: each figure beside the one expected.

Run: ``python benchmarks/trust.py CLOTHES PHOTOS [--model MobileNet] [--parts flipped compare ...]``. ``CLOTHES`` has
``train``, ``validation`` and perhaps ``test``, each with a folder of images for each class; ``PHOTOS`` holds images of
none of these classes. The images are embedded once, with weights of ImageNet, and kept in the library's cache; then
heads are fitted to many random splits. The expected figures were measured in advance with other code, on the 3,781
photos of the published clothing set; those of planted copies on 786 of these photos.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import pretrained_cnn
from pretrained_cnn import Calibration, Classifier, Comparison, list_models
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.transfer.embeddings import embed_cached
from pretrained_cnn.trust.confident import find_wrong_labels
from pretrained_cnn.trust.ranking import select, unsureness

SPLITS = 40

COVERED_SPLITS = 200
"""Splits over which coverage is measured."""

SEEDS = 5
"""How often labels are flipped, and how often labeling is simulated, each time at random."""

LABELED = range(50, 451, 50)
"""The numbers of labels in a simulation of labeling."""

PLANTED = 150
"""The number of photos that get a changed copy."""

IN_TWO_CLASSES = "6075b4a5", "637a56e4"
"""One photo of the published set, once as shorts and once as skirt: what the names of both files begin with."""


@dataclass(frozen=True)
class Photos:
    """Embeddings ``(N, D)`` of the photos of clothes, their classes, and embeddings of photos of other things."""

    files: list[Path]
    clothes: NDArray[np.float32]
    classes: NDArray[Any]
    others: NDArray[np.float32]
    reduced: NDArray[np.float32]
    """The embeddings of clothes on their 128 main components, ``(N, 128)``, which is quick to fit heads on."""
    others_reduced: NDArray[np.float32]


def embed(clothes: Path, others: Path, model: str) -> Photos:
    """All photos through the network once."""
    files = sorted(file for part in ("train", "validation", "test") for file in (clothes / part).glob("*/*"))
    engine = Classifier(model).engine
    classes = np.array([file.parent.name for file in files])
    embeddings, of_others = (embed_cached(engine, list(iter_items(each))) for each in (files, sorted(others.iterdir())))
    components = PCA(128, random_state=0).fit(embeddings)
    return Photos(
        files, embeddings, classes, of_others, components.transform(embeddings), components.transform(of_others)
    )


def fit(x: NDArray[np.float32], y: NDArray[Any]) -> Any:
    """A linear head."""
    return LogisticRegression(C=0.01, max_iter=300).fit(x, y)


def splits(count: int, *sizes: int, number: int = SPLITS) -> Iterator[list[NDArray[np.intp]]]:
    """Random parts of this number of photos each, and the rest."""
    for seed in range(number):
        yield np.split(np.random.default_rng(seed).permutation(count), np.cumsum(sizes))


def show(what: str, found: str, expected: str = "") -> None:
    """One row of the table."""
    print(re.sub(r"(\d)%", r"\1 %", f"| {what} | {found} | {expected} |"), flush=True)


def compare(photos: Photos) -> None:
    """How often two equally good classifiers are told apart, and two that differ."""
    alarms, same, told, reversed_ = [], [], [], []
    for seed, (first, second, test) in enumerate(splits(len(photos.clothes), 250, 250, number=COVERED_SPLITS)):
        names, truth = [str(i) for i in test], photos.classes[test].tolist()
        a, b, weak = (
            fit(photos.reduced[part], photos.classes[part]).predict(photos.reduced[test])
            for part in (first, second, first[:50])
        )
        swap = np.random.default_rng(seed).random((25, len(test))) < 0.5
        alarms += [Comparison(names, truth, np.where(s, a, b), np.where(s, b, a)).p_value < 0.05 for s in swap]
        same.append(Comparison(names, truth, a, b).p_value < 0.05)
        told.append(Comparison(names, truth, weak, a).verdict == "better")
        half = len(test) // 2
        here, there = (Comparison(names[w], truth[w], a[w], b[w]) for w in (slice(half), slice(half, None)))
        if here.verdict != "not told apart":
            reversed_.append((here.b_accuracy - here.a_accuracy) * (there.b_accuracy - there.a_accuracy) < 0)
    count = len(photos.clothes) - 500
    found = f"{np.mean(alarms):.1%} of {len(alarms):,} times, on {count:,} photos"
    show("compare: told apart though answers were exchanged at random", found, "at most 5 %")
    found = f"{np.mean(same):.1%} of {len(same)} splits"
    show("compare: heads of two random sets of 250 photos told apart", found, "")
    found = f"{np.sum(reversed_)} of {len(reversed_)}"
    show("compare: such verdicts on half of the photos that the other half reverses", found, "")
    show("compare: a head of 250 photos found better than one of 50", f"{np.mean(told):.1%}", "")


def calibrate(photos: Photos) -> None:
    """How many photos of clothes are kept and of other things refused, and how often sets hold the true class."""
    rows: dict[str, list[float]] = {}

    def note(what: str, value: Any) -> None:
        rows.setdefault(what, []).append(float(value))

    names, count = sorted(set(photos.classes)), len(photos.clothes)
    targets = np.searchsorted(names, photos.classes)
    for train, held, test in splits(count, count // 2, count // 4, number=COVERED_SPLITS):
        head = fit(photos.reduced[train], photos.classes[train])
        held_scores, test_scores = (head.predict_proba(photos.reduced[part]) for part in (held, test))
        other_scores = head.predict_proba(photos.others_reduced)
        calibration = Calibration.fit(held_scores, photos.clothes[held], targets[held], 0.95)
        known, other = (calibration.p_values(x) for x in (photos.clothes[test], photos.others))
        note("kept", (known > 0.05 + 1e-12).mean())
        note("refused", (other <= 0.05 + 1e-12).mean())
        note("auroc", auroc(other, known))
        limit = np.quantile(held_scores.max(axis=1), 0.05)
        note("by score", (other_scores.max(axis=1) < limit).mean())
        note("auroc of the score", auroc(other_scores.max(axis=1), test_scores.max(axis=1)))
        alike = np.ones((len(held), 1), np.float32)  # sets depend on the scores alone
        for coverage in (0.9, 0.95, 0.98):
            sets = Calibration.fit(held_scores, alike, targets[held], coverage).in_set(test_scores)
            note(f"covered {coverage}", sets[np.arange(len(test)), targets[test]].mean())
            note(f"size {coverage}", sets.sum(axis=1).mean())
    mean = {what: float(np.mean(values)) for what, values in rows.items()}
    show("calibrate: known photos kept, 0.95 promised", f"{mean['kept']:.1%}", "90.3 %")
    show("calibrate: photos of other things refused", f"{mean['refused']:.1%}", "98.8 %")
    show("calibrate: the same by a threshold on the score", f"{mean['by score']:.1%}", "21.1 %")
    show("calibrate: AUROC of other photos against known ones", f"{mean['auroc']:.3f}", "0.995")
    show("calibrate: the same of the score", f"{mean['auroc of the score']:.3f}", "0.850")
    for coverage, expected in ((0.9, "0.898, 1.03"), (0.95, "0.968 and 0.952, 1.30"), (0.98, "0.984, 1.73")):
        found = f"{mean[f'covered {coverage}']:.3f}, {mean[f'size {coverage}']:.2f}"
        show(f"calibrate: sets of {coverage:.0%} hold the class; mean size", found, expected)
    low = np.quantile(rows["covered 0.95"], 0.05)
    show(f"calibrate: 5th percentile of the coverage of 95 % over {COVERED_SPLITS} splits", f"{low:.3f}", "0.925")


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
    for count in (60, 120, 240, 480, 960, 1920):
        if count > len(photos.clothes) * 2 / 3:
            break
        refused, kept = [], []
        for held, test in splits(len(photos.clothes), count):
            calibration = Calibration.fit(
                np.full((count, 2), 0.5), photos.clothes[held], np.zeros(count, np.intp), 0.95
            )
            refused.append(calibration.is_unknown(photos.others).mean())
            kept.append(1 - calibration.is_unknown(photos.clothes[test]).mean())
        show(f"calibrate: refused, kept with {count} references", f"{np.mean(refused):.1%}, {np.mean(kept):.1%}", "")


WAYS = {"at random": ".548 .706 .784 .794 .815", "by margin": ".548 .719 .803 .833 .841", "rank_unlabeled": ""}
"""What to label next, and the accuracy expected with 50, 150, ... 450 labels."""


def label_next(photos: Photos) -> None:
    """The accuracy after each number of labels, chosen at random, by margin alone, and as `rank_unlabeled` does."""
    found = simulate_labeling(photos, near=1)
    for (way, expected), each in zip(WAYS.items(), found, strict=True):
        expected += " (50, 150, ... 450)" if expected else ""
        show(f"label-next: accuracy with 50, 100, ... 450 labels {way}", _decimals(each.mean(axis=0)), expected)
    for number, way in list(enumerate(WAYS))[1:]:
        gain = 100 * (found[number] - found[0])[:, 1:-1]
        within = np.mean(gain.std(axis=0, ddof=1))
        means = " ".join(f"{x:+.1f}" for x in gain.mean(axis=0))
        ahead = f"{(gain > 0).sum()} of {gain.size} times ahead, standard deviation {within:.1f}"
        show(f"label-next: points above random with 100, 150, ... 400 labels {way}", f"{means}; {ahead}", "")
        labels = np.interp(found[0].mean(axis=0)[-1], np.maximum.accumulate(found[number].mean(axis=0)), LABELED)
        show(f"label-next: labels {way} that reach random's 450", f"{labels:.0f}", "300")
    for way, each in zip(WAYS, simulate_labeling(photos, near=4), strict=True):
        show(
            f"label-next: accuracy likewise, a quarter of the photos in four near copies, {way}",
            _decimals(each.mean(axis=0)),
        )


def simulate_labeling(photos: Photos, near: int) -> NDArray[np.float64]:
    """The accuracy of each way, split and number of labels, ``(3, SEEDS, 9)``.

    There are ``near`` times fewer photos to choose from, and ``near`` near copies of each. The embeddings of all copies
    except the first have noise of 15 % of their deviation.
    """
    count = len(photos.clothes)
    found = np.zeros((len(WAYS), SEEDS, len(LABELED)))
    for seed, (test, pool) in enumerate(splits(count, round(0.3 * count), number=SEEDS)):
        random = np.random.default_rng(seed)
        each = np.repeat(pool[: len(pool) // near], near)
        copied = (np.arange(len(each)) % near > 0)[:, np.newaxis]
        full, reduced = (
            x[each] + 0.15 * x.std() * copied * random.normal(size=(len(each), x.shape[1])).astype(np.float32)
            for x in (photos.clothes, photos.reduced)
        )
        for number, way in enumerate(WAYS):
            have = np.arange(LABELED[0]) * near
            for step in range(len(LABELED)):
                head = fit(reduced[have], photos.classes[each[have]])
                found[number, seed, step] = (head.predict(photos.reduced[test]) == photos.classes[test]).mean()
                rest = np.setdiff1d(np.arange(len(each)), have)
                unsure = unsureness(head.predict_proba(reduced[rest]))
                picked: Any = random.permutation(len(rest))[: LABELED.step]
                if way == "by margin":
                    picked = np.argsort(-unsure, kind="stable")[: LABELED.step]
                elif way == "rank_unlabeled":
                    picked = select(unsure, full[rest], LABELED.step)
                have = np.concatenate([have, rest[picked]])
    return found


def _decimals(values: NDArray[np.floating]) -> str:
    return " ".join(f"{value:.3f}"[1:] for value in values)


def choose(clothes: Path) -> None:
    """What is chosen by the train photos, and whether that holds on photos that had no part in the choice."""
    networks = {name: Classifier(name) for name in list_models(offline=True)}
    if "MobileNet" in networks:
        networks["MobileNet (2)"] = Classifier("MobileNet", alpha=0.25)
    choice = pretrained_cnn.choose(clothes / "train", networks.values())
    others = next(clothes / part for part in ("test", "validation") if (clothes / part).is_dir())
    tests = {
        name: Classifier.train(clothes / "train", network).compare(choice.classifier, others)
        for name, network in networks.items()
    }
    for each in choice.candidates:
        accuracy, (low, high) = each.accuracy or 0.0, each.interval or (0.0, 1.0)
        test = tests[each.name]
        measured = f"{accuracy:.1%} ({low:.1%} to {high:.1%}) of {each.judged:,}"
        later = f"{test.a_accuracy:.1%} of {test.count} others, where the chosen one is {test.verdict}"
        found = f"{each.milliseconds:.1f} ms, {each.verdict}, {measured}; {later}"
        show(f"choose: {each.name}", found)


def flipped(photos: Photos) -> None:
    """How many of 5 % flipped labels are among the first 10 % that an audit lists."""
    classes, truth = np.unique(photos.classes, return_inverse=True)
    count = len(truth)
    shares, real, listed = [], [], []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        wrong = random.choice(count, count // 20, replace=False)
        targets = truth.copy()
        targets[wrong] = (truth[wrong] + random.integers(1, len(classes), len(wrong))) % len(classes)
        suspects = find_wrong_labels(photos.clothes, targets, np.arange(count), len(classes), 0).images
        shares.append(np.isin(wrong, suspects[: count // 10]).mean())
        real.append(np.isin(suspects[: count // 20], wrong).mean())
        listed.append(len(suspects))
    found = f"{np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
    show(f"audit: flipped labels (5 %) in the first 10 % that are listed, {SEEDS} draws", found, "91 %")
    show("audit: flipped ones among the first 5 % that are listed", f"{np.mean(real):.1%}", "70 %")
    show("audit: labels listed in all", f"{np.mean(listed):.0f} of {count:,}", "")


def _cut(image: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """What is left after so much of each side is cut off, somewhere."""
    width, height = (round(side * (1 - share)) for side in image.size)
    x, y = (int(random.integers(0, whole - part + 1)) for whole, part in zip(image.size, (width, height), strict=True))
    return image.crop((x, y, x + width, y + height))


def _scaled(image: Image.Image, across: float, down: float) -> Image.Image:
    return image.resize((round(image.width * across), round(image.height * down)), Image.Resampling.LANCZOS)


Change = Callable[[Image.Image, np.random.Generator], Image.Image]
CHANGES: dict[str, tuple[Change, int, str]] = {
    "JPEG of quality 30": (lambda image, _: image, 30, "100 %"),
    "JPEG of quality 10": (lambda image, _: image, 10, "100 %"),
    "half the size": (lambda image, _: _scaled(image, 0.5, 0.5), 90, "100 %"),
    "a quarter of the size": (lambda image, _: _scaled(image, 0.25, 0.25), 90, "100 %"),
    "three quarters of the width": (lambda image, _: _scaled(image, 0.75, 1), 90, "100 %"),
    "10 % of each side cut off": (lambda image, random: _cut(image, 0.1, random), 90, "100 %"),
    "20 % of each side cut off": (lambda image, random: _cut(image, 0.2, random), 90, "93 %"),
    "30 % of each side cut off": (lambda image, random: _cut(image, 0.3, random), 90, "30 %"),
    "mirrored": (lambda image, _: ImageOps.mirror(image), 90, "100 %"),
    "brighter by 30 %": (lambda image, _: image.point(lambda value: min(255, round(1.3 * value))), 90, "99 %"),
    "gray": (lambda image, _: image.convert("L"), 90, "100 %"),
    "mirrored, 10 % cut off, JPEG of quality 50": (
        lambda image, random: _cut(ImageOps.mirror(image), 0.1, random),
        50,
        "100 %",
    ),
}
"""What is done to a copy, the quality of its JPEG file, and what was found of such copies in advance."""


def copies(photos: Photos, model: str) -> None:
    """How many planted copies are found as leaks, with the photo that each is a copy of."""
    clf = Classifier(model)
    originals = list(zip(map(str, photos.files), photos.classes.tolist(), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        for what, (change, quality, expected) in CHANGES.items():
            random = np.random.default_rng(0)
            of: dict[str, str] = {}
            pairs = []
            for number in random.choice(len(originals), PLANTED, replace=False).tolist():
                source, label = originals[number]
                path = os.path.join(folder, f"{number}.jpg")
                with Image.open(source) as image:
                    change(image.convert("RGB"), random).save(path, quality=quality)
                of[path] = source
                pairs.append((path, label))
            findings = pretrained_cnn.audit(pairs, clf, originals).findings
            leaks = [each for each in findings if each.kind == "leak"]
            right = sum(each.other == of[str(each.source)] for each in leaks)
            wrong = f"; {len(leaks) - right} more are taken for another photo" if right < len(leaks) else ""
            show(f"audit: {PLANTED} planted copies, {what}", f"{right / PLANTED:.1%}{wrong}", expected)


def two_classes(photos: Photos, model: str) -> None:
    """Whether the photo that stands in two classes is found."""
    originals = list(zip(map(str, photos.files), photos.classes.tolist(), strict=True))
    known = [(path, label) for path, label in originals if Path(path).name.startswith(IN_TWO_CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        planted = ""
        if len(known) == 1:  # the other one is not among these photos: it is planted, in another compression
            (path, label), again = known[0], os.path.join(folder, f"{IN_TWO_CLASSES[0]}.jpg")
            with Image.open(path) as image:
                image.save(again, quality=80)
            planted = ", one of them planted"
            originals.append((again, "shorts" if label == "skirt" else "skirt"))
        found = [
            f"{each.label}, suggested {each.suggested}"
            for each in pretrained_cnn.audit(originals, model).findings
            if each.kind == "duplicate" and Path(str(each.source)).name.startswith(IN_TWO_CLASSES)
        ]
    show(f"audit: the photo of the published set in two classes{planted}", "; ".join(found) or "not found", "both")


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
    parser.add_argument("--parts", nargs="+", default=EVERY, choices=EVERY)
    options = parser.parse_args()
    photos = embed(options.clothes, options.photos, options.model)
    others = f"{len(photos.others)} of other things"
    print(f"| {options.model}, {len(photos.clothes):,} photos of clothes, {others} | found | expected |")
    print("|---|--:|--:|")
    for part in options.parts:
        if part in PARTS:
            PARTS[part](photos)
        elif part == "choose":
            choose(options.clothes)
        else:
            BY_NETWORK[part](photos, options.model)


PARTS = {
    "flipped": flipped,
    "compare": compare,
    "calibrate": calibrate,
    "references": references,
    "leave-one-out": leave_one_out,
    "label-next": label_next,
}
BY_NETWORK = {"copies": copies, "two-classes": two_classes}
EVERY = [*PARTS, *BY_NETWORK, "choose"]


if __name__ == "__main__":
    main()
