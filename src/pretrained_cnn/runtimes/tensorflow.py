"""TensorFlow on a SavedModel, as TensorFlow Serving runs it; Keras is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


class TensorFlowRuntime:
    """Runs the signature ``serving_default`` of the SavedModel in ``path/1``, on the device that TensorFlow chooses."""

    def __init__(self, path: Path) -> None:
        self._model: Any = tf.saved_model.load(str(path / "1"))  # a signature keeps its variables only weakly
        signature = self._model.signatures["serving_default"]
        (self._input,) = signature.structured_input_signature[1]
        (self._output,) = signature.structured_outputs
        self._call: Any = signature

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        if self._call is None:
            raise ValueError("this runtime is closed")
        scores: NDArray[np.float32] = self._call(**{self._input: tf.constant(batch)})[self._output].numpy()
        return scores

    def close(self) -> None:
        """Let go of the model."""
        self._call = self._model = None
