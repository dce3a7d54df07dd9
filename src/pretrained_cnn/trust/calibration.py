"""Recognizes images of none of the classes, and computes the sets of possible classes: `Calibration`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._check import number
from pretrained_cnn.errors import BundleError, DataError
from pretrained_cnn.labels import Label, Prediction

__all__ = ["Calibration"]

NEIGHBOR = 3
"""An image is as far away as its third nearest reference: one odd reference, and its near copy, say nothing."""

MAX_REFERENCE_BYTES = 9_000_000
"""Bytes of the references that are kept, at most, so that a bundle grows by less than 10 MB."""

SAME = 1e-3
"""Distances below count as this one: batches of another size give the same image another embedding by rounding."""

BLOCK = 256
"""Rows of distances that are in memory at once."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The guarantee behind the status ``"unknown"`` and label sets.

    The guarantee holds on average over images like those of the calibration: drawn independently, from the same cameras
    and the same mix of classes. Then at most ``1 - coverage`` of the images of known classes get the status unknown,
    and at least ``coverage`` of the label sets contain the true class. Both together hold for at least ``2 * coverage -
    1``. Neither is guaranteed for a single class, or after the kind of images has changed. Nothing is guaranteed for
    images of other classes: one that looks like a known class is predicted as this class.

    An image is unknown if its conformal p-value is at most ``1 - coverage`` (Vovk, Gammerman and Shafer, Algorithmic
    Learning in a Random World, 2005). The p-value rests on its distance to the third nearest calibration image, by the
    cosine of their embeddings. A label set contains the best class, and every class whose score is at least
    `threshold`. These are the smallest sets of this coverage on average, the "least ambiguous" sets of Sadinle, Lei and
    Wasserman (arXiv:1609.00451). The same image always gets the same set.

    >>> random = np.random.default_rng(0)
    >>> scores, embeddings = random.dirichlet((1, 1, 1), 100), random.normal(1, 0.1, (100, 16))
    >>> calibration = Calibration.fit(scores, embeddings, scores.argmax(axis=1), coverage=0.9)
    >>> calibration
    Calibration(coverage=0.9, images=100, threshold=0.419)
    >>> calibration.is_unknown(np.stack([np.ones(16), np.eye(16)[0]]))
    array([False,  True])
    >>> calibration.in_set(np.array([[0.5, 0.45, 0.05], [0.4, 0.3, 0.3]]))
    array([[ True,  True, False],
           [ True, False, False]])
    """

    coverage: float
    """The share of images, 0 to 1, for which each guarantee holds."""
    images: int
    """Number of calibration images."""
    threshold: float
    """The score, 0 to 1, from which a class is in the label set."""
    references: NDArray[np.float16] = field(repr=False)
    """``(R, D)``: embeddings of length 1 of calibration images; of many, a random part."""
    distances: NDArray[np.float32] = field(repr=False)
    """``(R, 2)``: how far each reference is from its second and third nearest others."""

    @classmethod
    def fit(
        cls,
        scores: NDArray[np.floating],
        embeddings: NDArray[np.floating],
        targets: NDArray[np.intp],
        coverage: float = 0.95,
    ) -> Calibration:
        """Calibrate by images that the classifier has not seen.

        Args:
            scores: ``(N, C)``: probabilities, 0 to 1.
            embeddings: ``(N, D)``: the embeddings of the same images.
            targets: ``(N,)``: the column of each image's class.
            coverage: The share of images, above 0 and below 1, for which each guarantee must hold.

        Raises DataError for too few images, and InvalidArgumentError for an invalid coverage.
        """
        count = len(scores)
        coverage, needed = check_count(count, coverage)
        true = np.sort(scores[np.arange(count), targets])
        rank = math.floor(round((count + 1) * (1 - coverage), 9))  # this many of the scores may lie below the threshold
        most = max(needed, MAX_REFERENCE_BYTES // (2 * embeddings.shape[1]))
        kept = np.random.default_rng(0).permutation(count)[:most]
        references = _unit(embeddings[np.sort(kept)])
        distances = np.empty((len(references), 2), np.float32)
        for i, row in _rows(references, references):
            row[i] = np.inf  # it is not its own neighbor
            distances[i] = np.partition(row, (NEIGHBOR - 2, NEIGHBOR - 1))[NEIGHBOR - 2 : NEIGHBOR]
        return cls(coverage, count, float(true[rank - 1]), references, distances)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """What `to_arrays` gave. Raises BundleError for anything else.

        >>> references, distances = np.eye(4, 8, dtype=np.float16), np.ones((4, 2), np.float32)
        >>> Calibration.from_arrays(Calibration(0.9, 4, 0.3, references, distances).to_arrays())
        Calibration(coverage=0.9, images=4, threshold=0.300)
        """
        try:
            found = cls(
                coverage=arrays["coverage"].item(),
                images=arrays["images"].item(),
                threshold=arrays["threshold"].item(),
                references=arrays["references"],
                distances=arrays["distances"],
            )
            count = len(found.references)
            fits = (
                0 < found.coverage < 1
                and 0 <= found.threshold <= 1
                and isinstance(found.images, int)
                and found.references.dtype == np.float16
                and found.distances.dtype == np.float32
                and found.references.ndim == 2
                and NEIGHBOR < count <= found.images
                and found.distances.shape == (count, 2)
                and np.isfinite(found.references).all()
                and np.isfinite(found.distances).all()
                and (found.distances >= 0).all()
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            raise BundleError("its calibration does not hold what this release expects; calibrate the bundle again")
        return found

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, as a bundle keeps them.

        >>> references, distances = np.eye(4, 8, dtype=np.float16), np.ones((4, 2), np.float32)
        >>> sorted(Calibration(0.9, 4, 0.3, references, distances).to_arrays())
        ['coverage', 'distances', 'images', 'references', 'threshold']
        """
        return {
            "coverage": np.array(self.coverage),
            "images": np.array(self.images),
            "threshold": np.array(self.threshold),
            "references": self.references,
            "distances": self.distances,
        }

    def digest(self) -> str:
        """What tells calibrations apart: a checksum of all that is in this one, in hexadecimal.

        >>> references, distances = np.eye(4, 8, dtype=np.float16), np.ones((4, 2), np.float32)
        >>> [len(Calibration(0.9, 4, t, references, distances).digest()) for t in (0.3, 0.4)]
        [16, 16]
        """
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in self.to_arrays().values())
        return hashlib.sha256(content).hexdigest()[:16]

    @property
    def width(self) -> int:
        """``D``, how many numbers an embedding has.

        >>> random = np.random.default_rng(0)
        >>> Calibration.fit(np.full((99, 2), 0.5), random.normal(size=(99, 16)), np.zeros(99, int)).width
        16
        """
        return int(self.references.shape[1])

    def p_values(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """``(N,)``: of images like those of the calibration, the share that is at least as far away, above 0 to 1.

        ``embeddings`` are ``(N, D)``. For images like those of the calibration, a value is at most ``x`` with a
        probability of at most ``x``.

        >>> references, distances = np.eye(4, 8, dtype=np.float16), np.ones((4, 2), np.float32)
        >>> Calibration(0.9, 4, 0.3, references, distances).p_values(np.ones((1, 8)))
        array([1.])
        """
        found = np.empty(len(embeddings))
        second, third = self.distances.T
        for i, row in _rows(_unit(embeddings), self.references):
            distance = np.partition(row, NEIGHBOR - 1)[NEIGHBOR - 1]
            # The image counts among the neighbors of each reference, so that all of them are treated alike.
            others = np.minimum(third, np.maximum(second, row))
            found[i] = (1 + np.count_nonzero(others >= distance)) / (1 + len(others))
        return found

    def is_unknown(self, embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Bool ``(N,)``: which images are of none of the classes, by their embeddings ``(N, D)``."""
        return np.asarray(self.p_values(embeddings) <= 1 - self.coverage + 1e-12)

    def in_set(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Bool ``(N, C)``: which classes are in the label set of each image, by its scores ``(N, C)``."""
        best = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, np.newaxis]
        return np.asarray((scores >= self.threshold) | best)

    def label_sets(self, scores: NDArray[np.floating], labels: Sequence[Label]) -> list[tuple[Prediction, ...]]:
        """The label set of each image, best first, by its scores ``(N, C)``; ``labels`` name the columns.

        >>> calibration = Calibration(0.9, 4, 0.3, np.eye(4, 8, dtype=np.float16), np.ones((4, 2), np.float32))
        >>> calibration.label_sets(np.array([[0.4, 0.6]]), [Label("cat", "cat"), Label("dog", "dog")])
        [(Prediction(id='dog', label='dog', score=0.6, index=1), Prediction(id='cat', label='cat', score=0.4, index=0))]
        """
        found = []
        for row, inside in zip(scores, self.in_set(scores), strict=True):
            columns = np.flatnonzero(inside)
            order = columns[np.argsort(-row[columns], kind="stable")].tolist()
            found.append(tuple(Prediction(labels[i].id, labels[i].name, float(row[i]), i) for i in order))
        return found

    @override
    def __repr__(self) -> str:
        return f"Calibration(coverage={self.coverage:g}, images={self.images}, threshold={self.threshold:.3f})"


def check_count(count: int, coverage: float) -> tuple[float, int]:
    """The coverage, and how many images it takes. Raises as `Calibration.fit` does."""
    coverage = number("coverage", coverage, least=1e-6, most=1 - 1e-6)
    needed = images_needed(coverage)
    if count < needed:
        raise DataError(
            f"coverage={coverage:g} needs at least {needed} images to calibrate with, and {count} could be read; give "
            "more, or ask for a lower coverage"
        )
    return coverage, needed


def images_needed(coverage: float) -> int:
    """How many images it takes at least to promise a coverage.

    >>> images_needed(0.95), images_needed(0.99)
    (19, 99)
    """
    return max(NEIGHBOR + 1, math.ceil(round(coverage / (1 - coverage), 6)))


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float16]:
    """Embeddings of length 1, all rounded as references are kept: so images and references are treated alike."""
    lengths = np.linalg.norm(embeddings.astype(np.float32), axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, 1e-12), np.float16)


def _rows(images: NDArray[np.float16], references: NDArray[np.float16]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """For each image its number, and float32 ``(R,)``: 1 less the cosine of its angle to each reference."""
    columns = references.astype(np.float32).T
    for start in range(0, len(images), BLOCK):
        cosines = images[start : start + BLOCK].astype(np.float32) @ columns
        yield from enumerate(np.maximum(1 - cosines, np.float32(SAME)), start)
