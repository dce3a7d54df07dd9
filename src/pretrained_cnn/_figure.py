"""A matplotlib figure that a notebook displays. Import this module only where a missing matplotlib is handled."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["NotebookFigure", "png"]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


class NotebookFigure(Figure):
    """A figure that shows itself in a notebook, without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)
