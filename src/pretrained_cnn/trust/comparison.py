"""Tests whether one classifier is better than another on the same images: `Comparison`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._statistics import LEVEL, Z, exact_mcnemar, format_p_value, wilson
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.results import drawing
from pretrained_cnn.trust.answers import Competitor, ask_both
from pretrained_cnn.trust.comparison_page import ClassCounts, Shown, write_page

__all__ = ["Comparison", "Disagreement", "compare"]

POWER_Z = 0.8416212335729143
"""The normal distribution's 80th percentile: `Comparison.images_needed` is for a power of 80 %."""


class Disagreement(NamedTuple):
    """An image that exactly one of the two classifiers classifies correctly.

    >>> Disagreement(source="a.jpg", label="cat", a="cat", b="dog").b
    'dog'
    """

    source: str
    """The image's name, as in `Result.source`."""
    label: str
    """The id of its class; with several labels, their ids between commas."""
    a: str
    """The class that A predicts."""
    b: str
    """The class that B predicts."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of a test whether B is better than A on the same images.

    Only images that exactly one of the two classifies correctly count (McNemar's test). The test assumes that images
    are drawn independently: near copies, or frames of one video, make a difference look more certain than it is. It is
    valid for images like those in ``sources`` only. "Not told apart" does not say that both are equally good. Comparing
    many candidates finds a "better" one by chance in one of twenty pairs.

    If images may have several labels, an image counts as right if exactly its labels are predicted. Images that one of
    the two could not read are in `failed` and do not count.

    Raises DataError for no images, or for columns that do not have one entry for each image.

    >>> names = [f"{i}.jpg" for i in range(10)]
    >>> truth = ["cat"] * 10
    >>> result = Comparison(names, truth, a=["dog"] * 8 + ["cat"] * 2, b=["cat"] * 9 + ["dog"])
    >>> result.only_a, result.only_b, round(result.p_value, 3), result.verdict
    (1, 8, 0.039, 'better')
    >>> result.a_accuracy, result.b_accuracy, result.count
    (0.2, 0.9, 10)
    >>> [round(end, 2) for interval in (result.a_interval, result.b_interval) for end in interval]
    [0.06, 0.51, 0.6, 0.98]
    >>> result.difference, result.images_needed, round(result.detectable, 1)
    (0.7, 12, 0.7)
    >>> result.a_right.sum().item(), result.b_right.sum().item()
    (2, 9)
    >>> result.right_only_in_a()
    [Disagreement(source='9.jpg', label='cat', a='cat', b='dog')]
    """

    sources: Sequence[str] = field(repr=False)
    """The name of each image."""
    truth: Sequence[str] = field(repr=False)
    """The id of each image's class; with several labels, their ids between commas."""
    a: Sequence[str] = field(repr=False)
    """The class that A predicts for each image."""
    b: Sequence[str] = field(repr=False)
    """The class that B predicts for each image."""
    failed: Sequence[ImageError] = ()
    """The images that could not be read."""
    names: tuple[str, str] = ("A", "B")
    """The names of the two."""
    images: Sequence[Any] = field(default=(), repr=False)
    """What shows each image again, such as its path; None for images that need not be shown. If it is empty,
    ``sources`` are taken for paths."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise DataError("no image could be read by both, so there is nothing to compare")
        lengths = [len(column) for column in (self.sources, self.truth, self.a, self.b)]
        if len(set(lengths)) > 1:
            raise DataError(f"sources, truth, a and b have {lengths} entries; expected one for each image")
        if len(self.images) not in (0, self.count):
            raise DataError(f"images has {len(self.images)} entries; expected one for each of {self.count} images")

    @classmethod
    def from_results(
        cls,
        a: str | os.PathLike[str],
        b: str | os.PathLike[str],
        source: LabeledImages,
        labels: Sequence[str] | None = None,
    ) -> Comparison:
        """Compare two files of results, without any network.

        Args:
            a: A file that `write_results` or ``classify --output`` wrote. It contains the images of ``source``, and may
                contain others.
            b: Another such file.
            source: As for `Classifier.evaluate`.
            labels: As for `Classifier.evaluate`.

        Raises DataError if a file does not exist or lacks an image of ``source``, and if its classes are others.

        >>> Comparison.from_results("old.csv", "new.csv", [("examples/images/clock.png", "analog_clock")])
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.DataError: old.csv does not exist; write it with `pretrained-cnn classify` or \
write_results
        """
        return compare(Path(a), Path(b), source, labels)

    @property
    def count(self) -> int:
        """Number of images that both have classified."""
        return len(self.sources)

    @cached_property
    def a_right(self) -> NDArray[np.bool_]:
        """Bool ``(N,)``: which images A classifies correctly."""
        return _same(self.a, self.truth)

    @cached_property
    def b_right(self) -> NDArray[np.bool_]:
        """Bool ``(N,)``: which images B classifies correctly."""
        return _same(self.b, self.truth)

    @property
    def a_accuracy(self) -> float:
        """The share of the images that A classifies correctly, 0 to 1."""
        return float(self.a_right.mean())

    @property
    def b_accuracy(self) -> float:
        """The share of the images that B classifies correctly, 0 to 1."""
        return float(self.b_right.mean())

    @property
    def a_interval(self) -> tuple[float, float]:
        """The confidence interval of `a_accuracy`, 95 %, by Wilson."""
        return wilson(int(self.a_right.sum()), self.count)

    @property
    def b_interval(self) -> tuple[float, float]:
        """The confidence interval of `b_accuracy`, 95 %, by Wilson."""
        return wilson(int(self.b_right.sum()), self.count)

    @property
    def only_a(self) -> int:
        """Number of images that only A classifies correctly."""
        return int((self.a_right & ~self.b_right).sum())

    @property
    def only_b(self) -> int:
        """Number of images that only B classifies correctly."""
        return int((self.b_right & ~self.a_right).sum())

    @property
    def difference(self) -> float:
        """The accuracy of B minus that of A, -1 to 1."""
        return (self.only_b - self.only_a) / self.count

    @property
    def p_value(self) -> float:
        """The probability that chance alone makes a difference at least as large, 0 to 1: McNemar's exact test,
        two-sided.

        (McNemar, Psychometrika 12, 1947, p. 153, with the binomial distribution.)
        """
        return exact_mcnemar(self.only_a, self.only_b)

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        """What can be said of B: ``"better"`` or ``"worse"`` than A if `p_value` is below 0.05."""
        if self.p_value >= LEVEL:
            return "not told apart"
        return "better" if self.only_b > self.only_a else "worse"

    @property
    def images_needed(self) -> int | None:
        """Number of images that are needed to tell the two apart in four of five tests, if they differ as they do here.

        None if they are right equally often here. The number is an estimate from the `difference` on these
        images. (Connor, Biometrics 43, 1987, p. 207: level 0.05, two-sided, power 80 %.)
        """
        gap, either = abs(self.difference), (self.only_a + self.only_b) / self.count
        if not gap:
            return None
        return math.ceil(((Z * math.sqrt(either) + POWER_Z * math.sqrt(either - gap**2)) / gap) ** 2)

    @property
    def detectable(self) -> float:
        """The smallest difference of accuracy, 0 to 1, that this number of images shows in four of five tests.

        The inverse of `images_needed`, for classifiers that disagree as often as these do.
        """
        n, either = self.count, (self.only_a + self.only_b) / self.count
        root = math.sqrt(n * Z**2 - (n + POWER_Z**2) * (Z**2 - POWER_Z**2)) if n > Z**2 else 0.0
        return min(1.0, math.sqrt(either) * (math.sqrt(n) * Z + root) / (n + POWER_Z**2))

    def right_only_in_a(self) -> list[Disagreement]:
        """The images that only A classifies correctly, in their order: the losses of a change from A to B."""
        return self._disagreements(self.a_right & ~self.b_right)

    def right_only_in_b(self) -> list[Disagreement]:
        """The images that only B classifies correctly, in their order: the gains of a change from A to B.

        >>> Comparison(["x.jpg"], ["cat"], a=["dog"], b=["cat"]).right_only_in_b()
        [Disagreement(source='x.jpg', label='cat', a='dog', b='cat')]
        """
        return self._disagreements(self.b_right & ~self.a_right)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON.

        >>> Comparison(["x.jpg"], ["cat"], a=["dog"], b=["cat"]).to_dict()["verdict"]
        'not told apart'
        """
        return {
            "images": self.count,
            "a": {"name": self.names[0], "accuracy": self.a_accuracy, "interval": list(self.a_interval)},
            "b": {"name": self.names[1], "accuracy": self.b_accuracy, "interval": list(self.b_interval)},
            "only_a": self.only_a,
            "only_b": self.only_b,
            "p_value": self.p_value,
            "verdict": self.verdict,
            "images_needed": self.images_needed,
            "detectable": self.detectable,
            "right_only_in_a": [each._asdict() for each in self.right_only_in_a()],
            "right_only_in_b": [each._asdict() for each in self.right_only_in_b()],
            "failed": [str(error) for error in self.failed],
        }

    def write_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a page that shows the verdict, each class, and the images that exactly one of the two classifies
        correctly.

        The page is self-contained, with thumbnails of up to 500 images for each of the two. For an image that
        cannot be read again, the page shows the reason in place of a thumbnail.

        Args:
            path: The HTML file.
            overwrite: Replace the file, if it exists.

        Raises OutputError if the file cannot be written.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "compare.html"
        >>> Comparison(["examples/images/clock.png"], ["clock"], a=["candle"], b=["clock"]).write_html(path)
        >>> "Right only in" in path.read_text()
        True
        """
        lost, gained = (self.a_right & ~self.b_right), (self.b_right & ~self.a_right)
        write_page(
            Path(path),
            self.to_dict(),
            self.sentence(),
            self._classes(),
            self._shown(gained, self.a),
            self._shown(lost, self.b),
            overwrite=overwrite,
        )

    def sentence(self) -> str:
        """The verdict and its evidence in one sentence.

        >>> print(Comparison(["x.jpg"], ["cat"], a=["dog"], b=["cat"]).sentence())
        0 right only in A, 1 only in B, p = 1.000: A and B are not told apart
        """
        a, b = self.names
        found = {
            "better": f"{b} is better than {a}",
            "worse": f"{b} is worse than {a}",
            "not told apart": f"{a} and {b} are not told apart",
        }
        p_value = f"p = {format_p_value(self.p_value)}".replace("= <", "< ")
        return f"{self.only_a:,} right only in {a}, {self.only_b:,} only in {b}, {p_value}: {found[self.verdict]}"

    @override
    def __str__(self) -> str:
        """The accuracy of both, the verdict, what it takes to tell, and what each classifies correctly alone."""
        room = max(map(len, self.names))
        lines = [f"{self.count:,} images"]
        for name, share, (low, high) in (
            (self.names[0], self.a_accuracy, self.a_interval),
            (self.names[1], self.b_accuracy, self.b_interval),
        ):
            lines.append(f"{name:<{room}}  {100 * share:5.1f} %  (95 %: {100 * low:.1f} to {100 * high:.1f})")
        lines += ["", self.sentence()]
        needed = self.images_needed
        if self.verdict == "not told apart":
            lines.append(f"{self.count:,} images show differences from about {100 * self.detectable:.1f} points on")
            if needed is not None:
                lines.append(f"it takes about {needed:,} images to tell, if they differ as they do here")
        for name, found in zip(self.names, (self.right_only_in_a(), self.right_only_in_b()), strict=True):
            if found:
                lines += ["", f"right only in {name}"]
                lines += [f"{each.label}: {each.a} | {each.b}  {each.source}" for each in found[:10]]
                lines += [f"and {len(found) - 10:,} more"] if len(found) > 10 else []
        if self.failed:
            lines += ["", f"could not be read: {len(self.failed)}", *map(str, self.failed)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and images that exactly one of the two classifies correctly."""
        a, b = self.names
        shown = [(b, each) for each in self._shown(self.b_right & ~self.a_right, self.a)[:CARDS]]
        shown += [(a, each) for each in self._shown(self.a_right & ~self.b_right, self.b)[:CARDS]]
        cards = [
            drawing.card(each.source, each.image, [f"right only in {name}: {each.label}", f"not {each.wrong}"])
            for name, each in shown
        ]
        return drawing.text_html(str(self), cards)

    @override
    def __repr__(self) -> str:
        return f"Comparison({self.count} images: {self.sentence()})"

    def _classes(self) -> list[ClassCounts]:
        """A row for each class; with several labels, for each set of labels."""
        names, place = np.unique(np.array(self.truth, dtype=object).astype(str), return_inverse=True)
        a, b = self.a_right, self.b_right
        columns = (np.bincount(place, each, len(names)).astype(int) for each in (None, a, b, a & ~b, b & ~a))
        return [ClassCounts(str(name), *map(int, row)) for name, *row in zip(names, *columns, strict=True)]

    def _shown(self, which: NDArray[np.bool_], wrong: Sequence[str]) -> list[Shown]:
        images = self.images or self.sources
        return [Shown(self.sources[i], self.truth[i], wrong[i], images[i]) for i in np.flatnonzero(which).tolist()]

    def _disagreements(self, which: NDArray[np.bool_]) -> list[Disagreement]:
        columns = (self.sources, self.truth, self.a, self.b)
        return [Disagreement(*(column[i] for column in columns)) for i in np.flatnonzero(which).tolist()]


CARDS = 6
"""The number of images for each of the two that a notebook shows."""


def compare(
    a: Competitor,
    b: Competitor,
    source: LabeledImages,
    labels: Any = None,
    columns: Columns = Columns(),
    *,
    names: tuple[str, str] = ("A", "B"),
    batch_size: int | None = None,
) -> Comparison:
    """Compare two networks, or files of results; the arguments are those of `Classifier.compare`.

    ``names`` are what the two are called where the comparison is shown.
    """
    found = ask_both(a, b, source, labels, columns, batch_size=batch_size)
    return Comparison(found.sources, found.truth, found.a, found.b, found.failed, names, found.images)


def _same(given: Sequence[str], truth: Sequence[str]) -> NDArray[np.bool_]:
    return np.fromiter((x == y for x, y in zip(given, truth, strict=True)), bool, len(truth))
