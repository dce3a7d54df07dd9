"""What the evaluations have in common: a table of classes, and images that could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import ImageError, import_package

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "ratio"]


class Table:
    """A row for each class, by its id."""

    sources: Sequence[str]
    failed: Sequence[ImageError]
    classes: Any

    @property
    def count(self) -> int:
        """How many images were evaluated."""
        return len(self.sources)

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with a row of `classes` for each class, indexed by id.

        Raises MissingDependencyError without pandas.

        >>> from pretrained_cnn import Evaluation, Label
        >>> labels = [Label("cat", "cat"), Label("dog", "dog")]
        >>> result = Evaluation(labels, targets=[0, 1], scores=np.eye(2), sources=["a.jpg", "b.jpg"])
        >>> int(result.to_frame().loc["cat", "support"])
        1
        """
        frame = import_package("pandas", extra="pandas").DataFrame(self.classes, columns=list(self.classes[0]._fields))
        return frame.set_index("id")

    def failures(self) -> Iterator[str]:
        """The last lines of the table as text: the images that could not be read, if there are any."""
        if self.failed:
            yield from ("", f"could not be read: {len(self.failed)}", *map(str, self.failed))


def ratio(part: NDArray[np.intp], whole: NDArray[np.intp]) -> list[float]:
    """``part / whole``, and 0 where that is 0 / 0."""
    found: list[float] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0).tolist()
    return found
