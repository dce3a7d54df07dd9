"""The linear head of `Classifier.train` against scikit-learn's logistic regression on the same embeddings.

Run: ``python benchmarks/few_shot.py FOLDER [--models MobileNet EfficientNetLite0] [--sizes 2 5 10] [--seeds 3]``. The
folder has ``train`` and ``test``, each with a folder of images for each class. For every number of images a class, and
for all of them, heads are fitted on as many images drawn from ``train``; the table has the mean accuracy and log loss
on ``test`` over the seeds. ``LogisticRegression`` is as it comes (C=1), on embeddings as they are and standardized, and
with one of seven C chosen by its own cross-validation, of five folds or as many as a class has images. A number in bold
is worse than the best in its row beyond noise: by more than twice the standard error of the difference, over the test
images and over the seeds.

All columns of all sizes take long on two cores, mostly for scikit-learn's cross-validation. With ``--scores FOLDER``,
the scores of each head on ``test`` are kept there: an interrupted run resumes. So the table can be computed in
pieces, with some ``--models``, ``--sizes`` and ``--heads`` at a time, and then printed as a whole. What is done is
logged to standard error.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pretrained_cnn import Classifier
from pretrained_cnn.transfer.data import hold_out
from pretrained_cnn.transfer.heads import HeadData
from pretrained_cnn.transfer.linear import fit_linear

log = logging.getLogger("few_shot")

Fit = Callable[[NDArray[np.float32], NDArray[np.intp], int], Callable[[NDArray[np.float32]], NDArray[np.floating]]]


def ours(vectors: NDArray[np.float32], targets: NDArray[np.intp], seed: int) -> Any:
    """The head that `Classifier.train` fits without validation images."""
    train = HeadData(vectors, targets, np.ones(len(targets)))
    held = hold_out(targets, np.arange(len(targets)), seed)
    return fit_linear(train, [(train.keep(~which), train.keep(which)) for which in held], len(set(targets))).head


def theirs(*steps: Any) -> Fit:
    """A pipeline of scikit-learn."""

    def fit(vectors: NDArray[np.float32], targets: NDArray[np.intp], seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge
            return make_pipeline(*(step(targets) for step in steps)).fit(vectors, targets).predict_proba

    return fit


def scaled(targets: NDArray[np.intp]) -> StandardScaler:
    """Each feature by its own mean and deviation."""
    return StandardScaler()


def plain(targets: NDArray[np.intp]) -> LogisticRegression:
    """Logistic regression as it comes, except its number of iterations."""
    return LogisticRegression(max_iter=1000)


def by_cross_validation(targets: NDArray[np.intp]) -> LogisticRegressionCV:
    """The same with C chosen by log loss; it has no more folds than the smallest class has images."""
    folds = min(5, int(np.bincount(targets).min()))
    return LogisticRegressionCV(Cs=np.logspace(-4, 2, 7), cv=folds, scoring="neg_log_loss", max_iter=300)


HEADS: dict[str, Fit] = {
    "ours": ours,
    "plain": theirs(plain),
    "scaled": theirs(scaled, plain),
    "plain, CV": theirs(by_cross_validation),
    "scaled, CV": theirs(scaled, by_cross_validation),
}


def embeddings(model: str, folder: Path, cache: Path | None) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The embeddings of a folder of class folders, and the number of each image's class."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    targets = np.unique([path.parent.name for path in paths], return_inverse=True)[1]
    kept = None if cache is None else cache / f"{model}-{folder.name}.npy"
    if kept is not None and kept.exists():
        return np.load(kept), targets
    vectors = Classifier(model, runtime="openvino").embed(paths)
    if kept is not None:
        np.save(kept, vectors)
    return vectors, targets


def main() -> None:
    """Print a table for each backbone as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["MobileNet", "EfficientNetLite0"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 3, 5, 10, 30, 100, 10**6])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--embeddings", type=Path, help="folder to keep embeddings in")
    parser.add_argument("--scores", type=Path, help="folder to keep the scores on test in")
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=list(HEADS))
    options = parser.parse_args()
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    for model in options.models:
        vectors, targets = embeddings(model, options.folder / "train", options.embeddings)
        test, truth = embeddings(model, options.folder / "test", options.embeddings)
        print(f"\n| {model}: accuracy / log loss | {' | '.join(options.heads)} | seconds of each |")
        print("|---" + "|--:" * (len(options.heads) + 1) + "|")
        for size in options.sizes:
            losses: dict[str, list[NDArray[np.floating]]] = {}
            hits: dict[str, list[NDArray[np.floating]]] = {}
            seconds = dict.fromkeys(options.heads, 0.0)
            seeds = range(1 if size >= len(targets) else options.seeds)
            draws = [_drawn(targets, size, seed) for seed in seeds]
            for name in options.heads:
                fitted = [
                    _scores(name, vectors[drawn], targets[drawn], seed, test, options.scores, f"{model}-{size}")
                    for seed, drawn in zip(seeds, draws, strict=True)
                ]
                scores = [each for each, _ in fitted]
                seconds[name] = float(np.mean([took for _, took in fitted]))
                true = [each[np.arange(len(truth)), truth] for each in scores]
                losses[name] = [-np.log(np.maximum(each, 1e-12)) for each in true]
                hits[name] = [(each.argmax(axis=1) == truth).astype(float) for each in scores]
                log.info("%s, %s of a class, %s: %.1f s", model, size, name, seconds[name])
            cells = [f"{_cell(hits, name, 1)} / {_cell(losses, name, -1)}" for name in options.heads]
            row = "all" if size >= len(targets) else f"{size} a class"
            times = ", ".join(f"{value:.2g}" for value in seconds.values())
            print(f"| {row} | {' | '.join(cells)} | {times} |", flush=True)


def _scores(
    head: str,
    vectors: NDArray[np.float32],
    targets: NDArray[np.intp],
    seed: int,
    test: NDArray[np.float32],
    folder: Path | None,
    what: str,
) -> tuple[NDArray[np.floating], float]:
    """What a head gives on ``test``, and the seconds that fitting it took; from the folder, if it is known there."""
    kept = None if folder is None else folder / f"{what}-{head.replace(', ', '-')}-{seed}.npz"
    if kept is not None and kept.exists():
        with np.load(kept) as known:
            return known["scores"], float(known["seconds"])
    start = time.perf_counter()
    scores = HEADS[head](vectors, targets, seed)(test)
    seconds = time.perf_counter() - start
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, scores=scores, seconds=seconds)
    return scores, seconds


def _drawn(targets: NDArray[np.intp], size: int, seed: int) -> NDArray[np.intp]:
    """The places of ``size`` images of each class, or of all that it has."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [generator.permutation(np.flatnonzero(targets == target))[:size] for target in np.unique(targets)]
    )


def _cell(of: dict[str, list[NDArray[np.floating]]], name: str, sign: int) -> str:
    """The mean of a head, in bold if it is worse than the best one's beyond noise."""
    best = max(of.values(), key=lambda values: sign * np.mean(values))
    lost = sign * (np.array(best) - np.array(of[name]))  # (seeds, images)
    variance = sum(lost.mean(axis=axis).var() / lost.shape[1 - axis] for axis in (0, 1))
    worse = lost.mean() > 2 * np.sqrt(variance)
    mean = f"{np.mean(of[name]):.3f}"
    return f"**{mean}**" if worse else mean


if __name__ == "__main__":
    main()
