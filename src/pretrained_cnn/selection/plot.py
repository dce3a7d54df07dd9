"""Accuracy on some images against time, as a figure of matplotlib, made without pyplot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pretrained_cnn.bench.plot import Point, new_figure, write_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pretrained_cnn.selection.candidate import Candidate, Verdict

__all__ = ["accuracy_and_time"]

COLORS: dict[Verdict, str] = {
    "chosen": "#2f6fb3",
    "not told apart": "#3f8f5b",
    "worse": "#c8553d",
    "over budget": "#6a6a6a",
}


ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 5, "frameon": False}
"""Where the legend is: beside no candidate's bars."""


def accuracy_and_time(candidates: Sequence[Candidate], images: int, budget_ms: float | None) -> Figure:
    """Draw each candidate's accuracy, with its interval, against its time; the budget is a line."""
    figure, ax = new_figure()
    points = []
    lowest = min(100 * each.interval[0] for each in candidates if each.interval is not None)
    for each in candidates:
        color, x, y = COLORS[each.verdict], each.milliseconds, lowest
        if each.interval is None or each.accuracy is None:
            ax.plot(x, y, "x", color=color, ms=8, label=each.verdict)
        else:
            y = 100 * each.accuracy
            low, high = (100 * end for end in each.interval)
            ax.plot([x, x], [low, high], "_-", color=color, lw=1.4, ms=9)
            ax.plot(each.spread, [y, y], "|-", color=color, lw=1.4, ms=7)
            ax.plot(x, y, "o", color=color, ms=7, label=each.verdict)
        points.append(Point(each.name, x, y, each.verdict == "chosen", color))
    if budget_ms is not None:
        ax.axvline(budget_ms, color="#6a6a6a", ls="--", lw=1, label="budget")
    ax.set(
        xlabel="milliseconds for one of these images, measured here",
        ylabel=f"% of {images:,} images classified correctly,\neach by a head that has not seen it",
    )
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ax.legend(handles.values(), handles.keys(), title="bars: 95 % interval, quartiles", **ABOVE)
    write_names(figure, ax, points)
    return figure
