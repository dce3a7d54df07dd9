"""Accuracy against time, as a figure of matplotlib.

The figure is made without pyplot: nothing of its state changes, no display is needed, and nothing has to be closed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrained_cnn.bench.timing import Timing
from pretrained_cnn.errors import MissingDependencyError

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter
    from matplotlib.transforms import Bbox

    from pretrained_cnn._figure import NotebookFigure
except ImportError:
    raise MissingDependencyError("matplotlib", extra="plot") from None

__all__ = ["FORMATS", "Point", "accuracy_and_time", "new_figure", "write_names"]

FORMATS = ("png", "svg", "pdf")
"""What a drawing can be written as, by the end of the file's name."""


def accuracy_and_time(rows: Sequence[Timing], best: Sequence[Timing]) -> Figure:
    """Draw each row's published accuracy against its time, and a line through the ``best`` of each runtime."""
    figure, ax = new_figure()
    points = []
    for runtime, look in zip(dict.fromkeys(row.runtime for row in rows), itertools.cycle(LOOKS)):
        known = [
            Point(row.name, row.milliseconds, row.top1, row in best, look.color)
            for row in rows
            if row.runtime == runtime and row.top1 is not None
        ]
        line = sorted((point.x, point.y) for point in known if point.best)
        ax.plot(*np.array(line).reshape(-1, 2).T, f"{look.marker}-", color=look.color, ms=7, lw=1.2, label=runtime)
        for point in known:
            if not point.best:
                ax.plot(point.x, point.y, look.marker, color=look.color, markerfacecolor="white", ms=7)
        points += known
    ax.set(xlabel="milliseconds for one image, measured here", ylabel="top-1 accuracy on ImageNet in %, as published")
    ax.legend(title="filled: on the frontier", loc="lower right")
    write_names(figure, ax, points)
    return figure


def new_figure() -> tuple[Figure, Axes]:
    """An empty drawing of something against time, which is logarithmic."""
    figure = NotebookFigure(figsize=(9, 6), layout="constrained")
    ax = figure.add_subplot()
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(3, 0.5)))  # as many as there is room for
    ax.tick_params(axis="x", which="both", labelsize=8)
    ax.margins(0.1)
    ax.grid(alpha=0.25, which="both", lw=0.5)
    return figure, ax


class Look(NamedTuple):
    """Of the points of one runtime."""

    color: str
    marker: str


LOOKS = tuple(map(Look, ("#2f6fb3", "#c8553d", "#3f8f5b", "#8a5aa8", "#9a7209", "#4a4a4a"), "osD^vP"))


class Point(NamedTuple):
    """A backbone in the drawing."""

    name: str
    x: float
    y: float
    best: bool
    color: str


ROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Where a name may stand, seen from its point: right, left, above, below, and between."""


def write_names(figure: Figure, ax: Axes, points: Sequence[Point]) -> None:
    """Write each name as near its point as it covers nothing else; if not right beside it, with a thin line to it."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's is not typed
    figure.draw_without_rendering()  # now everything has its place
    taken = [
        Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in (ax.transData.transform(point[1:3]) for point in points)
    ]
    taken += [legend.get_window_extent(renderer) for legend in (ax.get_legend(),) if legend is not None]
    lines = [line.get_path().transformed(line.get_transform()) for line in ax.lines]
    for point in points:
        for distance, (right, up) in itertools.product((7, 14, 24, 36, 50), ROUND):
            text = ax.annotate(
                point.name,
                (point.x, point.y),
                (right * distance, up * distance),
                textcoords="offset points",
                ha=("right", "center", "left")[right + 1],
                va=("top", "center", "bottom")[up + 1],
                fontsize=8,
                color=point.color,
                parse_math=False,
                arrowprops={"arrowstyle": "-", "lw": 0.6, "color": point.color} if distance > 7 else None,
            )
            text.set_in_layout(False)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # that of an annotation would have the line in it
            inside = ax.bbox.contains(box.x0, box.y0) and ax.bbox.contains(box.x1, box.y1)
            crossed = any(line.intersects_bbox(box, filled=False) for line in lines)
            if inside and not crossed and not box.count_overlaps(taken):
                break
            text.remove()
        else:
            continue  # there is no room: the table has it
        taken.append(box)
