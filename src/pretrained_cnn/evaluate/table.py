"""The common base of evaluations: a table of classes, and images that could not be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pretrained_cnn.errors import ImageError, import_package
from pretrained_cnn.labels import Label
from pretrained_cnn.results import drawing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WORST", "Table", "more"]

WORST = 20
"""The number of classes that are shown, the worst ones first."""

SHOWN = 12
"""The number of worst mistakes that are drawn in a notebook."""


class Table:
    """A row for each class, by its id."""

    labels: Sequence[Label]
    sources: Sequence[str]
    failed: Sequence[ImageError]
    images: Mapping[int, Any]
    classes: Any

    @property
    def count(self) -> int:
        """Number of evaluated images."""
        return len(self.sources)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each class in tables and plots, with its id if another class has the same name."""
        count = Counter(name for _, name in self.labels)
        return tuple(name if count[name] == 1 else f"{name} ({id_})" for id_, name in self.labels)

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with a row of `classes` for each class, indexed by id.

        Raises MissingDependencyError without pandas.

        >>> import numpy as np
        >>> from pretrained_cnn import Evaluation, Label
        >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
        >>> result = Evaluation(labels, targets=[0, 1], scores=np.eye(2), sources=["a.jpg", "b.jpg"])
        >>> int(result.to_frame().loc["cat", "support"])
        1
        """
        frame = import_package("pandas", extra="pandas").DataFrame(self.classes, columns=list(self.classes[0]._fields))
        return frame.set_index("id")

    def _table(self) -> list[str]:
        """The lines of the table as text: the totals, and the worst classes."""
        raise NotImplementedError

    def _worst(self, top: int) -> list[tuple[int, str]]:
        """The place and a line of text of each of the ``top`` worst mistakes, worst first."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """For notebooks: the table, and the worst mistakes with their images."""
        cards = [drawing.card(self.sources[place], self._image(place), [line]) for place, line in self._worst(SHOWN)]
        return drawing.text_html("\n".join([*self._table(), *self._failures()]), cards)

    def _kept_images(self) -> dict[int, Any]:
        """The images of the worst mistakes, so that the others need not stay in memory."""
        return {place: self.images[place] for place, _ in self._worst(SHOWN) if place in self.images}

    def _image(self, place: int) -> Any:
        """The source for showing an image again; None without one."""
        source = self.sources[place]
        return self.images.get(place, source if os.path.isfile(source) else None)

    def _text(self, mistakes: str) -> str:
        lines = self._table()
        if worst := self._worst(5):
            lines += ["", mistakes, *(f"{line}  {self.sources[place]}" for place, line in worst)]
        return "\n".join([*lines, *self._failures()])

    def _failures(self) -> Iterator[str]:
        """The last lines of the table as text: the images that could not be read, if there are any."""
        if self.failed:
            yield from ("", f"could not be read: {len(self.failed)}", *map(str, self.failed))


def more(count: int, what: str) -> list[str]:
    """The line below a table that does not show all of ``count`` rows."""
    return [f"and {count - WORST} more {what}; to_frame() has all"] if count > WORST else []
