"""The confusion matrix and the reliability diagram as figures of matplotlib, made without pyplot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._statistics import wilson
from pretrained_cnn.errors import MissingDependencyError
from pretrained_cnn.evaluate.metrics import ReliabilityBin

try:
    from matplotlib.axes import Axes
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    from pretrained_cnn._figure import NotebookFigure
except ImportError:
    raise MissingDependencyError("matplotlib", extra="plot") from None

__all__ = ["draw_confusion", "draw_reliability"]

LONGEST = 24
"""Maximum number of characters of a class name in a drawing."""
MOST_NUMBERS = 25
"""Up to this number of classes, the cells show numbers."""
MOST_NAMES = 80
"""Up to this number of classes, the axes show names."""


def draw_confusion(matrix: NDArray[np.intp], names: Sequence[str], ax: Axes | None) -> Figure:
    """Draw a confusion matrix ``(C, C)``, rows the true classes, colored by the share of the row."""
    count = len(names)
    if ax is None:
        side = min(16.0, max(3.2, (0.32 if count <= MOST_NUMBERS else 0.2) * count + 1.6))
        ax = NotebookFigure(figsize=(side + 1.0, side), layout="constrained").add_subplot()
    parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(parts, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # so that a few mistakes among many are seen
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(image, ax=ax, label="share of the true class (square-root scale)", fraction=0.05)
    ax.set(xlabel="predicted", ylabel="true", title=f"{matrix.sum():,} images, {np.trace(matrix):,} correct")
    if count <= MOST_NAMES:
        size = 9 if count <= MOST_NUMBERS else 7
        short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
        # A class may be named with dollar signs: it is not a formula.
        ax.set_xticks(range(count), short, rotation=90, fontsize=size, parse_math=False)
        ax.set_yticks(range(count), short, fontsize=size, parse_math=False)
    else:
        ax.set_xticks([])
        ax.set_yticks([])
    if count <= MOST_NUMBERS:
        for row, column in np.argwhere(matrix):
            color = "white" if parts[row, column] > 0.3 else "black"
            number = f"{matrix[row, column]}"
            ax.text(column, row, number, ha="center", va="center", color=color, fontsize=8 if len(number) < 4 else 6)
    return figure


def draw_reliability(bins: Sequence[ReliabilityBin], title: str, ax: Axes | None) -> Figure:
    """Draw accuracy over probability, a point with its 95 % interval for each bin, and the diagonal."""
    if ax is None:
        ax = NotebookFigure(figsize=(4.4, 4.4), layout="constrained").add_subplot()
    ax.plot([0, 1], [0, 1], linestyle="--", color="gray", label="perfectly calibrated")
    accuracies = np.array([bin_.accuracy for bin_ in bins])
    ends = np.array([wilson(round(bin_.accuracy * bin_.images), bin_.images) for bin_ in bins])
    spread = np.clip(np.stack([accuracies - ends[:, 0], ends[:, 1] - accuracies]), 0, None)  # rounding may be below 0
    confidences = [bin_.confidence for bin_ in bins]
    ax.errorbar(confidences, accuracies, spread, marker="o", capsize=3, label="images, with 95 % interval")
    ax.set(xlabel="probability of the best class", ylabel="share of images that are right", title=title)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="upper left", fontsize=8)
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure
