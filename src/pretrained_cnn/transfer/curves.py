"""What training did, as figures of matplotlib, made without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import MissingDependencyError

try:
    from matplotlib.figure import Figure

    from pretrained_cnn._figure import NotebookFigure
except ImportError:
    raise MissingDependencyError("matplotlib", extra="plot") from None

__all__ = ["draw_copies", "draw_history"]


def draw_history(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw loss and accuracy over the epochs or strengths, a row of axes for each stage; dots mark the best."""
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    figure = NotebookFigure(figsize=(9.0, 3.2 * len(stages)), layout="constrained")
    metrics = ["loss", *(name for name in ("accuracy", "mean_average_precision") if f"validation_{name}" in rows[0])]
    grid = figure.subplots(len(stages), len(metrics), squeeze=False)
    for line, stage in zip(grid, stages, strict=True):
        of_stage = [row for row in rows if row["stage"] == stage]
        over = "C" if "C" in of_stage[0] else "epoch"
        best = min(of_stage, key=lambda row: row["validation_loss"])[over]
        for ax, metric in zip(line, metrics, strict=True):
            for label, key in (("train", metric), ("validation", f"validation_{metric}")):
                ax.plot(
                    [row[over] for row in of_stage], [row.get(key, np.nan) for row in of_stage], label=label, marker="."
                )
            ax.axvline(best, color="gray", linestyle=":")
            ax.set(xlabel=over, ylabel=metric.replace("_", " "), title=stage)
            if over == "C":
                ax.set_xscale("log")
            ax.legend()
    return figure


def draw_copies(images: NDArray[np.uint8]) -> Figure:
    """Draw images ``(n, H, W, channels)`` side by side, four in a row; the first one is the image as it is."""
    columns = min(4, len(images))
    lines = -(-len(images) // columns)
    figure = NotebookFigure(figsize=(2.2 * columns, 2.4 * lines), layout="constrained")
    for i, ax in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        ax.set_axis_off()
        if i < len(images):
            ax.imshow(images[i], cmap="gray")
            ax.set_title("as it is" if i == 0 else f"copy {i}")
    return figure
