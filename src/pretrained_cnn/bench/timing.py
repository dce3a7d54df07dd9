"""The measurements of a backbone, and the rows that no other row beats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Timing", "frontier"]


@dataclass(frozen=True)
class Timing:
    """The time of a backbone on a runtime, and other facts to choose it by.

    >>> Timing("MobileNetV2", "keras", (224, 224), 3_538_984, 71.3, 22.0, (21.5, 22.7), 90.0).top1
    71.3
    """

    name: str
    """The backbone's."""
    runtime: str
    """The runtime's."""
    input_size: tuple[int, int]
    """``(height, width)`` in pixels: the size for which the accuracy was published, where that is known."""
    parameters: int | None
    """Number of weights."""
    top1: float | None
    """Percent on ImageNet's validation set, as published; None if nothing was. It is never measured here."""
    milliseconds: float
    """From one image to its labels: the median."""
    spread: tuple[float, float]
    """The first and the third quartile of these times."""
    per_second: float
    """How many images are classified a second, in batches: by the median."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)


def frontier(rows: Iterable[Timing]) -> list[Timing]:
    """The rows on the Pareto frontier of each runtime, the fastest first.

    A row is left out if another row of its runtime is at least as fast and as accurate, and better in one of
    the two. Rows without a published accuracy are also left out.

    >>> row = Timing("A", "keras", (224, 224), None, 71.0, 20.0, (20.0, 20.0), 80.0)
    >>> slower = dataclasses.replace(row, name="B", milliseconds=30.0)
    >>> better = dataclasses.replace(row, name="C", milliseconds=40.0, top1=75.0)
    >>> [row.name for row in frontier([better, slower, row])]
    ['A', 'C']
    """
    known = [(row.runtime, row.milliseconds, -row.top1, row) for row in rows if row.top1 is not None]
    best = [
        row
        for runtime, time_, error, row in known
        if not any(
            other == runtime
            and other_time <= time_
            and other_error <= error
            and (other_time, other_error) != (time_, error)
            for other, other_time, other_error, _ in known
        )
    ]
    return sorted(best, key=lambda row: row.milliseconds)
