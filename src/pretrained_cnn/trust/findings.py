"""The findings of an audit: `Audit`, as a table, as clean data and as a page."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from typing_extensions import override

from pretrained_cnn._check import check_free, choice
from pretrained_cnn._files import atomic_write
from pretrained_cnn._process import warn
from pretrained_cnn.errors import DataError, OutputError, import_package
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item, is_address
from pretrained_cnn.results import drawing
from pretrained_cnn.results.names import escape
from pretrained_cnn.trust.audit_page import write_page

if TYPE_CHECKING:
    import pandas

__all__ = ["KINDS", "Audit", "Finding", "Kind"]

Kind = Literal["label", "duplicate", "leak", "outlier", "dark", "blurred", "tiny", "broken", "small_class"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CARDS = 4
"""The number of findings of each kind that a notebook shows."""
"""What can be found, in the order in which it is listed."""

COLUMNS = {
    "source": "string",
    "kind": "string",
    "class": "string",
    "suggested": "string",
    "score": "Float64",
    "other": "string",
    "reason": "string",
}
"""The columns of `Audit.to_frame`, and the type that each has in pandas."""


class Finding(NamedTuple):
    """A problem to look at before training.

    >>> Finding(None, "small_class", "skirt", None, 0.8, None, "2 images are too few to learn from").kind
    'small_class'
    """

    source: str | None
    """The image, as it was given; None for a class that is too small."""
    kind: Kind
    """The kind of the problem."""
    label: str
    """The class that the image is in."""
    suggested: str | None
    """The class that it may belong to, for a wrong label or a copy of an image of another class."""
    score: float
    """How suspicious, 0 to 1; scores of different kinds cannot be compared."""
    other: str | None
    """For a duplicate or a leak, the other image."""
    reason: str
    """The reason, in a sentence."""
    place: int | None = None
    """The place of the image among those that were audited, from 0; None for a class, and for an image of
    ``against``."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The findings of `pretrained_cnn.audit` in labeled images.

    A finding is a suspicion: look at the image before you drop or relabel it. An image that is not listed may still
    have a wrong label. Consistently wrong labels, such as those of a misunderstood class, are not found. Neither are
    rotated copies, and copies of less than about four fifths of an image.

    >>> found = Finding("b.jpg", "label", "shoe", "hat", 0.9, None, "a head gives hat 0.85 and shoe 0.05", 1)
    >>> print(Audit("clothes", ["a.jpg", "b.jpg"], ["hat", "shoe"], [found]))
    2 images of 2 classes, 1 of them marked
    label 1
    <BLANKLINE>
    label      b.jpg: shoe; a head gives hat 0.85 and shoe 0.05
    """

    name: str
    """The name of the images: their folder or CSV file."""
    sources: Sequence[str] = field(repr=False)
    """The name of each image that was audited, as it was given."""
    labels: Sequence[str] = field(repr=False)
    """The class of each image."""
    findings: Sequence[Finding] = field(repr=False)
    """All findings: kind by kind in the order of ``KINDS``, the most suspicious first within a kind."""
    items: Sequence[Item] = field(default=(), repr=False)
    """The images themselves, not decoded."""
    others: Sequence[Item] = field(default=(), repr=False)
    """The images of ``against``, not decoded."""
    image_policy: ImagePolicy = field(default=ImagePolicy(), repr=False)
    """How they are read."""
    weights: Sequence[float] | None = field(default=None, repr=False)
    """The weight of each image in training, if the source has weights."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind.

        >>> Audit("clothes", [], [], [Finding(None, "small_class", "hat", None, 0.9, None, "1 image")]).counts["label"]
        0
        """
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in KINDS}

    def marked(self, kinds: Collection[Kind] = KINDS) -> list[int]:
        """The places of the images with a finding of one of these kinds, in order.

        Of copies in one class, the first is not marked; of copies in different classes, all are.

        >>> Audit("clothes", ["a.jpg"], ["hat"], [Finding("a.jpg", "dark", "hat", None, 0.9, None, "dark", 0)]).marked()
        [0]
        """
        wanted = {choice("kinds", kind, KINDS) for kind in ([kinds] if isinstance(kinds, str) else kinds)}
        return sorted({each.place for each in self.findings if each.place is not None and each.kind in wanted})

    def to_frame(self) -> pandas.DataFrame:
        """The findings as a pandas table with the columns ``source, kind, class, suggested, score, other, reason``.

        The rows are in the order of `findings`. Missing values are ``<NA>``. Raises MissingDependencyError
        without pandas (extra ``pandas``).

        >>> Audit("clothes", ["a.jpg"], ["hat"], []).to_frame().columns.tolist()
        ['source', 'kind', 'class', 'suggested', 'score', 'other', 'reason']
        """
        pd = import_package("pandas", extra="pandas")
        rows = [row_of(finding) for finding in self.findings]
        columns = {name: pd.array([row[name] for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
        frame: pandas.DataFrame = pd.DataFrame(columns)
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON.

        >>> Audit("clothes", ["a.jpg"], ["hat"], []).to_dict()["images"]
        1
        """
        return {
            "name": self.name,
            "images": len(self.sources),
            "classes": dict(sorted(Counter(self.labels).items())),
            "counts": self.counts,
            "findings": [row_of(finding) for finding in self.findings],
        }

    def write_csv(
        self, path: str | os.PathLike[str], *, kinds: Collection[Kind] = KINDS, overwrite: bool = False
    ) -> int:
        """Write a CSV file to train with, without the images that are `marked`. Returns the number of its images.

        Args:
            path: The file, with the columns ``path`` and ``label`` that `pretrained_cnn.Classifier.train` takes, and
                ``weight`` if the source has weights. The path of an image below the folder of the file is relative to
                it, else absolute.
            kinds: The kinds of findings that are left out, such as ``("duplicate", "leak", "broken")``.
            overwrite: Replace a file that is there already.

        Warns of classes that have no image left (`PretrainedCNNWarning`). Raises DataError if no image is left, and for
        images that are in no file; OutputError if the file cannot be written.

        >>> import tempfile
        >>> Audit("clothes", ["a.jpg"], ["hat"], []).write_csv(tempfile.mkdtemp() + "/clean.csv")
        1
        """
        path = Path(path)
        check_free(path, overwrite=overwrite)
        dropped = set(self.marked(kinds))
        kept = [i for i in range(len(self.sources)) if i not in dropped]
        if not kept:
            raise DataError(f"all {len(self.sources):,} images are marked; leave out less with kinds=...")
        if missing := sorted(set(self.labels) - {self.labels[i] for i in kept}):
            warn(f"all images of {', '.join(map(repr, missing))} are marked, so {path} lacks them")
        if spaced := next((label for label in self.labels if label != label.strip()), None):
            raise DataError(
                f"the class {spaced!r} begins or ends with a space, which a CSV file does not keep; rename the class"
            )
        folder = os.path.abspath(path.parent)
        weights = self._weights()
        rows = [["path", "label"], *([_path_for(self._item(i), folder), self.labels[i]] for i in kept)]
        if weights is not None:
            rows = [[*row, cell] for row, cell in zip(rows, ["weight", *(weights[i] for i in kept)], strict=True)]
        text = "".join(",".join(map(_cell, row)) + "\n" for row in rows)
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            line = escape(str(error.object)[: error.end].rpartition("\n")[2])
            raise DataError(f"{line}...: a CSV file holds no name that is not UTF-8; rename the file") from None
        try:
            with atomic_write(path) as file:
                file.write(content)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
        return len(kept)

    def write_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a page with the images of all findings, in which you mark which to drop and which to relabel.

        The page saves all other images, with their classes and absolute paths, as a CSV file to train with. Nothing is
        marked at first. The page is self-contained, with thumbnails of up to 500 findings of each kind.

        Args:
            path: The HTML file.
            overwrite: Replace a file that is there already.

        Raises OutputError if the file cannot be written.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "audit.html"
        >>> Audit("clothes", ["a.jpg"], ["hat"], []).write_html(path)
        >>> "Audit of clothes" in path.read_text()
        True
        """
        others = {item.name: item.image for item in (*self.others, *self.items)}
        findings = [
            (
                row_of(each),
                each.place,
                None if each.place is None else self._item(each.place).image,
                None if each.other is None else others.get(each.other),
            )
            for each in self.findings
        ]
        items = map(self._item, range(len(self.sources)))
        images = [(_absolute(item.path), label) for item, label in zip(items, self.labels, strict=True)]
        write_page(Path(path), self.to_dict(), images, self._weights(), findings, overwrite=overwrite)

    @override
    def __str__(self) -> str:
        """How much was found of each kind, and the most suspicious of each."""
        counts = {kind: count for kind, count in self.counts.items() if count}
        lines = [
            f"{len(self.sources):,} images of {len(set(self.labels)):,} classes, {len(self.marked()):,} of them marked",
            ", ".join(f"{kind} {count:,}" for kind, count in counts.items()) or "nothing was found",
        ]
        for kind, count in counts.items():
            found = [finding for finding in self.findings if finding.kind == kind]
            lines += ["", *map(_line, found[:10])]
            lines += [f"and {count - 10:,} more"] if count > 10 else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the counts, and the images of the most suspicious findings of each kind."""
        cards = []
        for kind in KINDS:
            found = [each for each in self.findings if each.kind == kind and each.place is not None]
            for each in found[:CARDS]:
                assert each.place is not None
                lines = [f"{kind}: {each.label}", each.reason]
                cards.append(drawing.card(str(each.source), self._item(each.place).image, lines))
        return drawing.text_html(str(self), cards)

    @override
    def __repr__(self) -> str:
        found = ", ".join(f"{kind} {count}" for kind, count in self.counts.items() if count)
        return f"Audit({len(self.sources)} images: {found or 'nothing was found'})"

    def _weights(self) -> list[str] | None:
        """The weights as they stand in a CSV file."""
        return None if self.weights is None else [repr(float(weight)) for weight in self.weights]

    def _item(self, index: int) -> Item:
        return self.items[index] if self.items else Item(index, self.sources[index], self.sources[index])


def _cell(text: str) -> str:
    """A cell of a CSV file; the module csv leaves a carriage return without quotes where lines end in a line feed."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def row_of(finding: Finding) -> dict[str, Any]:
    """A finding as a row of plain data with the columns of `Audit.to_frame`."""
    source, kind, label, suggested, score, other, reason, _ = finding
    return dict(zip(COLUMNS, [source, kind, label, suggested, score, other, reason], strict=True))


def _line(finding: Finding) -> str:
    where = finding.label if finding.source is None else f"{finding.source}: {finding.label}"
    other = "" if finding.other is None else f"  {finding.other}"
    return f"{finding.kind:<10} {where}; {finding.reason}{other}"


def _absolute(path: str | None) -> str | None:
    """What the CSV file of a page calls an image; None for one that is in no file, or whose name is not UTF-8."""
    if path is None or is_address(path):
        return path
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return None
    return absolute


def _path_for(item: Item, folder: str) -> str:
    """What a CSV file in ``folder`` says of an image. Raises DataError for one that is in no file."""
    path = item.path
    if path is None:
        raise DataError(f"{item.name} is in no file of its own; a CSV file holds paths only. Save the images as files")
    if is_address(path):
        return path
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute, folder) if absolute.startswith(os.path.join(folder, "")) else absolute
    return relative if relative == relative.strip() else absolute  # readers of CSV files drop spaces around a cell
