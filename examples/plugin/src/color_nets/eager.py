"""The runtime: Keras layer by layer, nothing traced, so that a debugger stops where one tells it to."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray


class Eager:
    """Runs a serving graph as plain Python calls."""

    def __init__(self, graph: keras.Model, outputs: Sequence[str]) -> None:
        self._graph: keras.Model | None = graph
        self._outputs = outputs

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        if self._graph is None:
            raise ValueError("this runtime is closed")
        found = self._graph(batch, training=False)
        return tuple(np.asarray(keras.ops.convert_to_numpy(found[name]), np.float32) for name in self._outputs)

    def close(self) -> None:
        """Let go of the graph."""
        self._graph = None
