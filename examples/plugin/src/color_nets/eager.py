"""The runtime: Keras layer by layer, nothing traced, so that a debugger stops where one tells it to."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray


class Eager:
    """Runs a serving graph as plain Python calls."""

    def __init__(self, graph: keras.Model) -> None:
        self._graph: keras.Model | None = graph

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        if self._graph is None:
            raise ValueError("this runtime is closed")
        return np.asarray(keras.ops.convert_to_numpy(self._graph(batch, training=False)), np.float32)

    def close(self) -> None:
        """Let go of the graph."""
        self._graph = None
