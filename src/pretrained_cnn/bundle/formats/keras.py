"""Keras's own format: can be trained further, and every runtime takes it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from pretrained_cnn.bundle.formats.base import Dtype, Format

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pretrained_cnn.spec import ModelSpec

__all__ = ["Keras"]


class Keras(Format):
    """``model.keras``: the graph as Keras describes it, and its weights."""

    name = "keras"
    file = "model.keras"

    @override
    def write(
        self, graph: keras.Model, path: Path, spec: ModelSpec, *, dtype: Dtype, images: NDArray[np.uint8] | None
    ) -> None:
        """Save the graph."""
        graph.save(path)

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names in the description of the graph. Nothing is built."""
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("config.json"))
        return list(description["config"]["output_layers"])
