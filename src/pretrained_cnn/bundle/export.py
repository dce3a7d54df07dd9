"""From a serving graph to files in a folder, checked for their outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pretrained_cnn.bundle.convert import convert
from pretrained_cnn.bundle.formats import Dtype, Format
from pretrained_cnn.errors import BundleError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pretrained_cnn.spec import ModelSpec

__all__ = ["export"]


def export(
    graph: keras.Model,
    folder: Path,
    *,
    format: Format,
    spec: ModelSpec,
    dtype: Dtype = "float32",
    images: NDArray[np.uint8] | None = None,
) -> None:
    """Write a serving graph to ``folder``, under the name that ``format`` gives it.

    ``images``, uint8 ``(N, H, W, C)``, are what ``dtype="int8"`` takes ranges of values from. Raises BundleError if the
    format cannot express what the graph does, or if the model that was written has any other outputs than the graph.
    """
    found = convert(graph, folder, format=format, spec=spec, dtype=dtype, images=images)
    if sorted(found) != sorted(graph.output):
        raise BundleError(
            f"{spec.name} was not saved: in format={format.name!r} it gives the outputs {', '.join(found[:8])}"
            f"{' ...' if len(found) > 8 else ''} ({len(found)}), and exactly {', '.join(graph.output)} were expected"
        )
